"""Papers by mail in a real Chromium: the pages, narrow and wide, and the mail itself."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from paperround.db import open_database, read, write
from paperround.readers.secrets import place_key
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import (
    keep_subscriber,
    keep_subscription,
    manage_path,
    stop_path,
    subscriber_at,
)
from paperround.readers.tables import OutboxTable, SubscriberTable
from paperround.readers.times import Cadence, Hours
from paperround.settings import Settings

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
EMAIL = "ada@lab.example"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mail-home")


@pytest.fixture(scope="module")
def address(home: Path, start_server: Callable[..., tuple[str, str]]) -> Iterator[str]:
    """A server that is to send mail, to a port where nobody listens."""
    names = {
        "PAPERROUND_MAIL__HOST": "127.0.0.1",
        "PAPERROUND_MAIL__PORT": "1",
        "PAPERROUND_MAIL__SECURITY": "none",
        "PAPERROUND_MAIL__SENDER": "papers@lab.example",
        "PAPERROUND_PUBLIC_URL": "http://127.0.0.1:8000",
    }
    os.environ.update(names)
    try:
        yield start_server(home)[0]
    finally:
        for name in names:
            os.environ.pop(name)


def findings(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def test_papers_by_mail_without_javascript(open_page: OpenPage, address: str, home: Path) -> None:
    page = open_page(f"{address}/search?q=counting", java_script_enabled=False)
    page.get_by_role("link", name="Get new ones by mail").click()
    expect(page.locator(".lead")).to_have_text("Papers for “counting”, when there are new ones.")
    page.get_by_label("Every week").check()
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    page.get_by_label("Address of mail").first.fill(EMAIL)
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator(".note")).to_contain_text("A link is on its way")
    engine = open_database(Settings(home=home))
    with read(engine) as connection:
        text = connection.scalars(select(OutboxTable.text)).one()
    link = text[text.index("/subscribe/") :].split()[0]
    page.goto(f"{address}{link}")
    page.get_by_role("button", name="Yes, subscribe").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Subscribed")
    page.get_by_role("link", name="Change or end it").click()
    page.get_by_label("What").select_option("category")
    page.get_by_label("Which").fill("cs.CL")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator(".subscribed li")).to_have_count(2)

    with read(engine) as connection:
        held = subscriber_at(connection, EMAIL)
    assert held is not None
    key = place_key(home)
    manage, stop = manage_path(key, held.id, held.seed), stop_path(key, held.id, held.seed)
    looked = open_page(f"{address}/subscribe", bypass_csp=True)
    paths = ("/subscribe", "/subscribe?kind=trending", manage, stop)
    for scheme in ("light", "dark"):
        looked.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for path in paths:
            looked.goto(f"{address}{path}")
            assert findings(looked) == [], (scheme, path)
    for width in (320, 390, 1280):
        looked.set_viewport_size({"width": width, "height": 800})
        for path in paths:
            looked.goto(f"{address}{path}")
            wide = looked.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (width, path, wide)

    page.goto(f"{address}{stop}")
    page.get_by_role("button", name="Yes, end them all").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Unsubscribed")
    with read(engine) as connection:
        assert connection.execute(select(SubscriberTable)).all() == []
    engine.dispose()


def test_the_digest_looks_right_in_narrow_windows_and_in_the_dark(
    browser: Browser, address: str, home: Path, tmp_path: Path
) -> None:
    # In a copy: the server sends what is due by itself.
    own = tmp_path / "home"
    own.mkdir()
    there = sqlite3.connect(home / "paperround.sqlite3")
    copied = sqlite3.connect(own / "paperround.sqlite3")
    there.backup(copied)
    there.close()
    copied.close()
    engine = open_database(Settings(home=own))
    now = datetime(2026, 7, 1, 7, tzinfo=UTC)
    with write(engine) as connection:
        began = now - timedelta(days=30)
        held = keep_subscriber(connection, "bo@lab.example", None, Hours(), began)
        for subject in (Subject(Kind.TRENDING), Subject(Kind.CATEGORY, "cs.CL")):
            keep_subscription(connection, held, subject, Cadence.DAILY, began)
    engine.dispose()
    out = tmp_path / "out"
    subprocess.run(
        [
            *(sys.executable, "-m", "paperround.cli", "digest", "send"),
            *("--dry-run", str(out), "--at", now.isoformat()),
        ],
        env={**os.environ, "PAPERROUND_HOME": str(own)},
        check=True,
    )
    (path,) = out.iterdir()
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    html = message.get_body(("html",)).get_content()
    seen = tmp_path / "digest.html"
    seen.write_text(html, encoding="utf-8")
    for scheme in ("light", "dark"):
        for width in (320, 390, 600, 1280):
            context = browser.new_context(
                viewport={"width": width, "height": 800},
                color_scheme=scheme,  # type: ignore[arg-type]
                java_script_enabled=True,
            )
            page = context.new_page()
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))  # noqa: B023
            page.goto(seen.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("h3").count() > 5
            assert findings(page) == [], (scheme, width)
            assert asked == [seen.as_uri()]
            context.close()
