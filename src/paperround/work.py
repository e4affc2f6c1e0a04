"""What is done while nobody waits: runs, imports, submissions, texts, embeddings, mail, digests.

The server does it in threads of its own; `paperround worker` does it beside a server that does not.
"""

import threading

from sqlalchemy import Engine

from paperround.catalogue.schedule import keep_imported
from paperround.db import read
from paperround.discovery.digest import keep_digests_sent
from paperround.discovery.jobs import keep_embedded
from paperround.discovery.searching import Searcher
from paperround.readers.generating import keep_generated
from paperround.readers.mail import keep_sent
from paperround.readers.receiving import keep_submitted
from paperround.runs.queries import is_running
from paperround.runs.worker import Worker
from paperround.settings import Settings


def work_in_threads(
    engine: Engine, settings: Settings, stop: threading.Event, searcher: Searcher
) -> list[threading.Thread]:
    """The threads that do it, started; they end within seconds after `stop` is set.

    `searcher` finds the papers of digests; a server has one already.
    """

    def is_busy() -> bool:
        with read(engine) as connection:
            return is_running(connection)

    threads = [
        threading.Thread(
            target=Worker(engine, settings).run_forever, args=(stop,), name="runs", daemon=True
        ),
        threading.Thread(
            target=keep_embedded,
            args=(engine, settings, stop, is_busy),
            name="embeddings",
            daemon=True,
        ),
        threading.Thread(
            target=keep_imported,
            args=(engine, settings, stop, is_busy),
            name="imports",
            daemon=True,
        ),
        threading.Thread(
            target=keep_submitted, args=(engine, settings, stop), name="submissions", daemon=True
        ),
        threading.Thread(
            target=keep_generated, args=(engine, settings, stop), name="generations", daemon=True
        ),
        threading.Thread(target=keep_sent, args=(engine, settings, stop), name="mail", daemon=True),
        threading.Thread(
            target=keep_digests_sent,
            args=(engine, settings, searcher, stop),
            name="digests",
            daemon=True,
        ),
    ]
    for thread in threads:
        thread.start()
    return threads
