"""Sends digests in a process of its own, over and over: what test_killing.py kills.

Each line of standard input is a moment; a child is forked that sends what is due then, as
`paperround digest send` does. Its number is printed when it starts, and how it ended.
"""

import os
import signal
import sys
from datetime import datetime
from functools import partial

from paperround.db import connect
from paperround.discovery.digest import send_digests
from paperround.discovery.searching import Searcher
from paperround.log import configure
from paperround.settings import get_settings


def main() -> None:
    # Log goes to standard error; what is said on standard output is for the test.
    configure()
    for line in sys.stdin:
        now = datetime.fromisoformat(line.strip())
        child = os.fork()
        if child == 0:
            # Stands still until its number has been said, so that it can be killed at any step.
            signal.raise_signal(signal.SIGSTOP)
            engine = connect(get_settings().database)
            send_digests(engine, get_settings(), Searcher(engine), partial(_the, now))
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


def _the(moment: datetime) -> datetime:
    return moment


if __name__ == "__main__":
    main()
