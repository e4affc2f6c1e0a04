"""A real server in a process of its own, and a real Chromium."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from queue import Empty, Queue

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from paperround.catalogue.actions import import_records
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.schedule import import_due
from paperround.db import open_database
from paperround.discovery.embedding import embed_missing, load_embedder
from paperround.settings import ScheduledSource, Settings, get_settings

LITTLE_ROOM = Path(__file__).parents[1] / "web" / "little_room"
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_STARTS_WITHIN_S = 180.0

OpenPage = Callable[..., Page]
StartServer = Callable[[Path], tuple[str, str]]


def chromium() -> str | None:
    """Where a Chromium is, None where there is none."""
    named = os.environ.get("PAPERROUND_CHROMIUM")
    if named:
        return named
    return next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser, started once."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on the PATH; PAPERROUND_CHROMIUM may name one")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def little_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the Python path, with the little room installed in it, slow enough to watch."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(LITTLE_ROOM, site / "little_room", ignore=shutil.ignore_patterns("__pycache__"))
    site.joinpath("little_room/step_s.txt").write_text("0.25")
    info = site / "little_room-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: little_room\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text("[paperround.papers]\nlittle = little_room\n")
    return site


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, start_server: StartServer) -> str:
    """The address of a server with a small catalogue, as `paperround serve` starts it."""
    return start_server(tmp_path_factory.mktemp("home"))[0]


@pytest.fixture(scope="session")
def start_server(little_site: Path) -> Iterator[StartServer]:
    """Starts servers on homes with the small catalogue: the address, and the admin's link."""
    with contextlib.ExitStack() as running:
        yield lambda home: running.enter_context(_serving(home, little_site))


@contextlib.contextmanager
def _serving(home: Path, little_site: Path) -> Iterator[tuple[str, str]]:
    home.mkdir(parents=True, exist_ok=True)
    # An import that went well, one that did not, as the page of sources shows them.
    home.joinpath("lab.jsonl").write_text(LAB, encoding="utf-8")
    home.joinpath("paperround.toml").write_text(SOURCES.format(home=home), encoding="utf-8")
    sources = tuple(
        ScheduledSource(**each) for each in tomllib.loads(SOURCES.format(home=home))["sources"]
    )
    settings = Settings(home=home, sources=sources)
    engine = open_database(settings)
    import_records(engine, RECORDS)
    import_due(engine, settings)
    # Else the papers that are similar would come whenever the server has found the time.
    embed_missing(engine, load_embedder())
    engine.dispose()
    environment = {
        **os.environ,
        "PAPERROUND_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(little_site), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: Queue[str] = Queue()
        threading.Thread(
            target=lambda: [lines.put(line) for line in process.stderr or ()], daemon=True
        ).start()
        try:
            yield _said(lines, r"http://127\.0\.0\.1:\d+"), _said(lines, r"http://\S+/join/\S+")
        finally:
            process.terminate()


LAB = '{"title": "From the laboratory", "listed": "2026-06-01"}\n{"title": ""}\n'
SOURCES = """
[[sources]]
name = "our laboratory"
source = "jsonl"
arguments = ["{home}/lab.jsonl"]
when = "0 6 1 1 *"

[[sources]]
source = "bibtex"
arguments = ["{home}/a-file-with-a-long-name-that-is-not-there-any-more.bib"]
when = "0 6 1 1 *"
"""

SERVE = """
from paperround.web.server import serve
serve(host="127.0.0.1", port=0, worker=True)
"""


def _said(lines: "Queue[str]", wanted: str) -> str:
    """What the server says that looks so."""
    said = ""
    while True:
        try:
            said += lines.get(timeout=_STARTS_WITHIN_S)
        except Empty:
            pytest.fail(f"the server did not start: {said}")
        if found := re.search(wanted, said):
            return found[0]


# An answer that says what is wrong with a request is none of the page's errors.
_ANSWERED = re.compile(r"responded with a status of (400|404) ")


@pytest.fixture
def open_page(browser: Browser, server: str) -> Iterator[OpenPage]:
    """Opens pages of the site; an error in a page's console fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_at(path: str, **options: object) -> Page:
        context = browser.new_context(base_url=server, **options)  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error" and not _ANSWERED.search(message.text)
                else None
            ),
        )
        page.goto(path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert errors == []


def _record(number: int, **changes: object) -> PaperRecord:
    key = f"2606.{number:05d}"
    fields: dict[str, object] = {
        "source": "jsonl",
        "source_key": key,
        "title": f"Paper number {number} on counting",
        "abstract": f"We count to {number} in a new way. The numbers grow one after another. " * 5,
        "authors": ("Ada Ay", "Bo Bee", "Cy Cee", "Dee Dee"),
        "listed": date(2026, 6, 30),
        "categories": ("cs.CL", "cs.LG"),
        "organisation": "The Institute of Very Long Names in Counting and Related Fields",
        "code_url": "https://example.org/code",
        "votes": number,
        "comments": 2,
        "identifiers": {"arxiv": key},
    }
    return PaperRecord(**{**fields, **changes})  # type: ignore[arg-type]


RECORDS = (
    _record(
        1,
        title=r"The $\mathcal{O}(n \log n)$ road & <script>alert('title')</script>",
        abstract=r"We show $\sum_{i=1}^{n} x_i^2 < \frac{a}{b}$ and $\badmacro{x}$ and more of it.",
        authors=tuple(f"Author{n} Surname{n}" for n in range(3303)),
        votes=500,
    ),
    _record(2, title="Diffusion" * 20, listed=date(2026, 6, 29)),
    *(_record(n) for n in range(10, 50)),
)


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()
