"""How fast a real server answers, and how much memory it takes: `make bench-web`.

A server process over a fresh home with the starter catalogue, a client on a kept connection, one
request at a time. Each kind of page is asked for until warm, then timed, at other addresses every
time where there are others: searches never repeat a query, so that the query's embedding is
included. Writes benchmarks/results/web.json and web.md.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import httpx2
import psutil
from sqlalchemy import insert

from paperround.catalogue.queries import paper_by_key
from paperround.clock import utc_now
from paperround.db import open_database, write
from paperround.readers.accounts import add_reader
from paperround.readers.queries import reader_by_id
from paperround.readers.sessions import begin_session
from paperround.readers.tables import CommentTable
from paperround.readers.tokens import add_token
from paperround.runs.environment import describe_environment
from paperround.settings import Settings

RESULTS = Path(__file__).with_name("results")
# What issue 2 asks of a warm server, by the median.
GOALS_MS = {"front page": 50.0, "search by words": 100.0, "search by words and meaning": 100.0}
_STARTS_WITHIN_S = 120.0
_WARM_REQUESTS = 10
_VOTERS, _COMMENTS = 50, 500


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100, help="timed requests per kind of page")
    n = parser.parse_args().n
    with tempfile.TemporaryDirectory() as home, serving(Path(home)) as (address, process, started):
        with httpx2.Client(base_url=address, timeout=60.0) as client:
            rows = [
                timed(client, kind, address_of, n) for kind, address_of in kinds(client).items()
            ]
            paper = client.get("/api/v1/papers?limit=1").json()["papers"][0]["key"]
            session, tokens = add_readers(Path(home) / "home", paper)
            talked = f"/papers/{paper}"
            rows.append(timed(client, "a paper with 500 comments", lambda: talked, n))
        with httpx2.Client(base_url=address, timeout=60.0, cookies={"paperround": session}) as ada:
            rows.append(timed(ada, "front page, signed in", lambda: "/", n))
            rows.append(timed(ada, "a paper with 500 comments, signed in", lambda: talked, n))
            rows.append(timed(ada, "trending", lambda: "/trending?period=month", n))
        voting = vote_at_once(address, paper, tokens)
        memory = process.memory_info().rss + sum(
            child.memory_info().rss for child in process.children(recursive=True)
        )
    results = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(os.cpu_count() or 1),
        "load_average": list(os.getloadavg()),
        "starts_in_seconds": round(started, 2),
        "memory_mb": round(memory / 1e6, 1),
        "rows": rows,
        "voting": voting,
    }
    RESULTS.mkdir(exist_ok=True)
    RESULTS.joinpath("web.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    RESULTS.joinpath("web.md").write_text(report(results), encoding="utf-8")
    print(report(results))


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """A server's address, its process, and the seconds from its start to its first answer."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "paperround.cli", "serve", "--port", "0"]
    environment = {**os.environ, "PAPERROUND_HOME": str(home / "home")}
    log = home / "log"
    with (
        log.open("w") as said,
        subprocess.Popen(command, env=environment, stderr=said) as server,
    ):
        try:
            address = None
            while address is None:
                if server.poll() is not None or time.monotonic() - begun > _STARTS_WITHIN_S:
                    raise SystemExit(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.05)
                address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            httpx2.get(f"{address[0]}/healthz").raise_for_status()
            yield address[0], psutil.Process(server.pid), time.monotonic() - begun
        finally:
            server.terminate()


def add_readers(home: Path, paper: str) -> tuple[str, list[str]]:
    """A session and the API tokens of 50 readers, who have left 500 comments on the paper."""
    engine, now = open_database(Settings(home=home)), utc_now()
    tokens = []
    with write(engine) as connection:
        ids = [add_reader(connection, f"reader-{n}", now) for n in range(_VOTERS)]
        session = begin_session(connection, ids[0], "benchmark", now)
        detail = paper_by_key(connection, paper)
        assert detail is not None
        text = "A comment of *some* length, with $x^2 < y$ in it and a word on the method. " * 4
        for n in range(_COMMENTS):
            row = {"paper_id": detail.paper.id, "reader_id": ids[n % _VOTERS], "created_at": now}
            connection.execute(insert(CommentTable).values(**row, text=f"{n}: {text}"))
        readers = [reader_by_id(connection, reader_id) for reader_id in ids]
    for reader in readers:
        assert reader is not None
        tokens.append(add_token(engine, reader, "benchmark", ["vote"], 1, now))
    engine.dispose()
    return session, tokens


def vote_at_once(address: str, paper: str, tokens: list[str]) -> dict[str, Any]:
    """All of them vote for one paper at the same moment: how long it takes, and the count."""
    start = threading.Barrier(len(tokens))

    def vote(token: str) -> float:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(base_url=address, timeout=60.0, headers=headers) as client:
            client.get("/api/v1/me/votes")
            start.wait()
            begun = time.perf_counter()
            client.put(f"/api/v1/papers/{paper}/vote").raise_for_status()
            return (time.perf_counter() - begun) * 1e3

    with ThreadPoolExecutor(len(tokens)) as pool:
        taken = list(pool.map(vote, tokens))
    headers = {"Authorization": f"Bearer {tokens[0]}"}
    with httpx2.Client(base_url=address, headers=headers, timeout=60.0) as client:
        counted = client.put(f"/api/v1/papers/{paper}/vote").json()["votes_here"]
    return {
        "readers": len(tokens),
        "counted": counted,
        "median_ms": round(statistics.median(taken), 1),
        "slowest_ms": round(max(taken), 1),
    }


def kinds(client: httpx2.Client) -> dict[str, Callable[[], str]]:
    """The kinds of pages, each with what gives the next address of it."""
    papers = client.get("/api/v1/papers?limit=200").json()["papers"]
    if not papers:
        raise SystemExit("the catalogue is empty; `paperround import` something first")
    keys = cycle(paper["key"] for paper in papers)
    runnable = cycle(room["paper"] for room in client.get("/api/v1/runnable").json()["runnable"])
    titles = iter(two_words(papers))
    days = cycle(sorted({paper["listed"] for paper in papers if paper["listed"]}) or ["2026-06-30"])

    def search(mode: str) -> str:
        return f"/search?q={next(titles)}&mode={mode}"

    return {
        "front page": lambda: "/",
        "a day": lambda: f"/day/{next(days)}",
        "a paper": lambda: f"/papers/{next(keys)}",
        "a paper that runs": lambda: f"/papers/{next(runnable)}",
        "papers that run": lambda: "/runnable",
        "search by words": lambda: search("words"),
        "search by words and meaning": lambda: search("both"),
        "API: a page of papers": lambda: "/api/v1/papers",
        "API: a paper": lambda: f"/api/v1/papers/{next(keys)}",
    }


def two_words(papers: list[dict[str, Any]]) -> list[str]:
    """Queries of two words from titles, none twice."""
    words = [re.findall(r"[a-zA-Z]{4,}", paper["title"].lower()) for paper in papers]
    pairs = (f"{a}+{b}" for title in words for a, b in pairwise(title))
    return list(dict.fromkeys(pairs))


def timed(
    client: httpx2.Client, kind: str, address_of: Callable[[], str], n: int
) -> dict[str, Any]:
    """Median, 95th percentile and size of a kind of page."""
    milliseconds, sizes = [], []
    for place in range(_WARM_REQUESTS + n):
        address = address_of()
        begun = time.perf_counter()
        answer = client.get(address)
        seconds = time.perf_counter() - begun
        answer.raise_for_status()
        if place >= _WARM_REQUESTS:
            milliseconds.append(seconds * 1e3)
            sizes.append(len(answer.content))
    return {
        "kind": kind,
        "median_ms": round(statistics.median(milliseconds), 1),
        "p95_ms": round(statistics.quantiles(milliseconds, n=20)[-1], 1),
        "kilobytes": round(statistics.median(sizes) / 1e3, 1),
        "goal_ms": GOALS_MS.get(kind),
    }


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = results["environment"]
    lines = [
        "# The web server's answer times",
        "",
        f"Measured {results['measured_at']} on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, at a load of {results['load_average'][0]:.1f}; "
        "again with `make bench-web`.",
        "",
        "| page | median, ms | 95th percentile, ms | goal for the median, ms | size, kB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['kind']} | {row['median_ms']} | {row['p95_ms']} "
        f"| {row['goal_ms'] or ''} | {row['kilobytes']} |"
        for row in results["rows"]
    ]
    voting = results["voting"]
    lines += [
        "",
        f"{voting['readers']} readers voted for one paper at once: {voting['counted']} votes were "
        f"counted, the median answer came after {voting['median_ms']} ms, the last after "
        f"{voting['slowest_ms']} ms.",
        "",
        f"The server answered {results['starts_in_seconds']} s after its start on an empty home, "
        f"starter catalogue included, and took {results['memory_mb']} MB afterwards.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
