"""How long the digests of many subscribers take, and how much memory: `make bench-digest`.

A catalogue whose papers are all of the last week (the starter's, with their days moved there), and
subscribers with one to four subscriptions each: to what trends, to categories, authors and
organisations of these papers, and to searches, a thousand of them different. First all digests are
composed and written as mail, in one process on one core, and thrown away; then they are sent, by
the code that a worker runs, to an SMTP server in a process of its own. Memory is taken after every
thousand: it must not grow with their number. Writes benchmarks/results/digest.json and digest.md.
"""

import argparse
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, select, update

from paperround.catalogue.tables import PaperTable
from paperround.cli.finding import searcher_over
from paperround.cli.preparing import prepare_catalogue
from paperround.db import open_database, read, write
from paperround.discovery.digest.sending import composed, place_of, send_digests
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import keep_subscriber, keep_subscription
from paperround.readers.times import Cadence, Hours
from paperround.runs.environment import describe_environment
from paperround.settings import MailServer, Settings

RESULTS = Path(__file__).with_name("results")
GOAL_S = 300.0
MORNING = datetime(2026, 7, 2, 7, tzinfo=UTC)
_DAYS = 7
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata")
_SEARCHES, _AUTHORS = 1_000, 2_000

SINK = """
import sys
from aiosmtpd.controller import Controller
class Sink:
    async def handle_DATA(self, server, session, envelope):
        return "250 OK"
controller = Controller(Sink(), hostname="127.0.0.1", port=int(sys.argv[1]))
controller.start()
print("ready", flush=True)
sys.stdin.read()
controller.stop()
"""


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="subscribers")
    parser.add_argument("--show", action="store_true", help="print the results, and write no files")
    options = parser.parse_args()
    # Before anything starts threads for each core that it sees.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as home, sink() as port:
        mail = MailServer(host="127.0.0.1", port=port, security="none", sender="p@papers.example")
        settings = Settings(
            home=Path(home),
            cache=Settings().cache_dir,
            mail=mail,
            public_url="https://papers.example",
        )
        engine = open_database(settings)
        prepare_catalogue(engine)
        papers = move_days(engine)
        subscribe(engine, options.n)
        searcher = searcher_over(engine)
        # The index and the model are made and loaded once, whatever is asked of them.
        searcher.search("warm", n=1)
        rows = [compose_all(engine, settings, searcher), send_all(engine, settings, searcher)]
    results = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(1),
        "load_average": list(os.getloadavg()),
        "papers": papers,
        "subscribers": options.n,
        "goal_s": GOAL_S,
        "rows": rows,
    }
    print(report(results))
    if not options.show:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(results, indent=1) + "\n"
        RESULTS.joinpath("digest.json").write_text(text, encoding="utf-8")
        RESULTS.joinpath("digest.md").write_text(report(results), encoding="utf-8")


@contextmanager
def sink() -> Iterator[int]:
    """The port of an SMTP server in a process of its own, which takes all and keeps nothing."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    command = [sys.executable, "-c", SINK, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield port


def move_days(engine: Engine) -> int:
    """How many papers there are, which are now of the seven days before the morning."""
    last = MORNING.date()
    with write(engine) as connection:
        ids = connection.scalars(select(PaperTable.id).order_by(PaperTable.id)).all()
        for n in range(_DAYS):
            day: date = last - timedelta(days=n)
            connection.execute(
                update(PaperTable).where(PaperTable.id % _DAYS == n).values(day=day, published=day)
            )
    return len(ids)


def subscribe(engine: Engine, n: int) -> None:
    """Makes so many subscribers, as different as those of a place that many use."""
    rng = random.Random(7)
    subjects = subjects_of(engine, rng)
    with write(engine) as connection:
        for number in range(n):
            began = MORNING - timedelta(days=rng.randrange(2, 60))
            hours = Hours(rng.choice(_ZONES), 0, 0)
            held = keep_subscriber(connection, f"reader{number}@lab.example", None, hours, began)
            kinds = rng.sample(list(subjects), rng.randint(1, 4))
            for kind in kinds:
                cadence = Cadence.WEEKLY if rng.random() < 0.2 else Cadence.DAILY
                chosen = rng.choice(subjects[kind])
                keep_subscription(connection, held, chosen, cadence, began)


def subjects_of(engine: Engine, rng: random.Random) -> dict[Kind, list[Subject]]:
    """What can be subscribed to in this catalogue, by its kind."""
    categories: set[str] = set()
    authors: set[str] = set()
    organisations: set[str] = set()
    queries: set[str] = set()
    with read(engine) as connection:
        rows = connection.execute(
            select(
                PaperTable.title_text,
                PaperTable.authors,
                PaperTable.categories,
                PaperTable.organisation,
            )
        )
        for row in rows:
            categories.update(row.categories)
            authors.update(row.authors[:3])
            if row.organisation:
                organisations.add(row.organisation)
            words = re.findall(r"[a-z]{4,}", row.title_text.lower())
            queries.update(f"{a} {b}" for a, b in pairwise(words))
    searches = rng.sample(sorted(queries), _SEARCHES)
    names = rng.sample(sorted(authors), min(_AUTHORS, len(authors)))
    return {
        Kind.TRENDING: [Subject(Kind.TRENDING)],
        Kind.CATEGORY: [Subject(Kind.CATEGORY, name) for name in sorted(categories)],
        Kind.AUTHOR: [Subject(Kind.AUTHOR, name) for name in names],
        Kind.ORGANISATION: [Subject(Kind.ORGANISATION, name) for name in sorted(organisations)]
        or [Subject(Kind.TRENDING)],
        Kind.SEARCH: [Subject(Kind.SEARCH, query, "both") for query in searches],
    }


def compose_all(engine: Engine, settings: Settings, searcher: Any) -> dict[str, Any]:
    """All digests composed and written as mail, one after the other."""
    process, sizes, memory = psutil.Process(), [], []
    begun, processor = time.perf_counter(), time.process_time()
    for n, (_, message) in enumerate(composed(engine, searcher, place_of(settings), MORNING), 1):
        sizes.append(len(message.as_bytes()))
        if n % 1_000 == 0:
            memory.append(round(process.memory_info().rss / 1e6, 1))
    return {
        "what": "composed",
        "digests": len(sizes),
        "seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "median_kilobytes": round(statistics.median(sizes) / 1e3, 1),
        "memory_mb": memory,
    }


def send_all(engine: Engine, settings: Settings, searcher: Any) -> dict[str, Any]:
    """The same sent: claimed, composed, handed over and noted, two commits for each."""
    begun, processor = time.perf_counter(), time.process_time()
    done = send_digests(engine, settings, searcher, lambda: MORNING)
    return {
        "what": "sent",
        "digests": done.sent,
        "empty": done.empty,
        "seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "memory_mb": [round(psutil.Process().memory_info().rss / 1e6, 1)],
    }


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = results["environment"]
    made, sent = results["rows"]
    memory = made["memory_mb"]
    lines = [
        "# Digests",
        "",
        f"Measured {results['measured_at']} on {machine['processor']}, one process on one core, at "
        f"a load of {results['load_average'][0]:.1f}; again with `make bench-digest`. "
        f"{results['subscribers']:,} subscribers of a catalogue with {results['papers']:,} papers "
        f"in a week; goal: composed within {results['goal_s']:.0f} s.",
        "",
        "| | digests | seconds | of the processor | ms each |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['what']} | {row['digests']:,} | {row['seconds']} | {row['processor_seconds']} "
        f"| {1e3 * row['seconds'] / max(row['digests'], 1):.1f} |"
        for row in (made, sent)
    ]
    told = f"from {memory[0]} to {memory[-1]}" if memory else "not measured"
    lines += [
        "",
        f"A digest has {made['median_kilobytes']} kB in the median. Memory of the process, MB, "
        f"from the first thousand to the last: {told}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
