"""`paperround digest`, as an operator's scripts use it."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import insert, update

from paperround import cli
from paperround.catalogue.tables import PaperTable
from paperround.db import open_database, write
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import keep_subscriber, keep_subscription
from paperround.readers.times import Cadence, Hours
from paperround.settings import Settings

Output = pytest.CaptureFixture[str]
BEGAN = datetime(2026, 6, 20, tzinfo=UTC)
DAY = date(2026, 7, 1)


def digest(*arguments: str) -> int:
    return cli.call(["digest", *arguments])


@pytest.fixture(autouse=True)
def _due(settings: Settings) -> None:
    """One subscriber, who is due, and one paper."""
    engine = open_database(settings)
    with write(engine) as connection:
        held = keep_subscriber(connection, "ada@lab.example", None, Hours(), BEGAN)
        keep_subscription(connection, held, Subject(Kind.CATEGORY, "cs.CL"), Cadence.DAILY, BEGAN)
        connection.execute(
            insert(PaperTable).values(
                key="2607.00001",
                title="Kites",
                title_text="Kites",
                title_key="kites",
                abstract="",
                abstract_text="",
                authors=["Ada Ay"],
                categories=["cs.CL"],
                day=DAY,
                added_at=BEGAN,
                updated_at=BEGAN,
            )
        )
    engine.dispose()


def test_a_dry_run_writes_files_that_mail_programs_open(tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        arguments = ("send", "--dry-run", str(out), "--at", "2026-07-02T07:00Z", "--json")
        assert digest(*arguments) == 0
        assert json.loads(capsys.readouterr().out) == {"written": 1, "folder": str(out)}
    (path,) = out.glob("*.eml")
    message = message_from_bytes(path.read_bytes())
    assert (message["To"], message["Subject"]) == ("ada@lab.example", "1 paper: Kites")


@pytest.mark.parametrize(
    "arguments",
    [
        ("send",),
        ("send", "--at", "2026-07-02T07:00Z"),
        ("send", "--dry-run", "x", "--at", "tomorrow"),
        ("send", "--dry-run", "x", "--at", "2026-07-02T07:00"),
        ("bounce",),
    ],
)
def test_what_cannot_be_is_a_line_on_standard_error(
    arguments: tuple[str, ...], capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert digest(*arguments) == 2
    said = capsys.readouterr()
    assert (said.out, bool(said.err)) == ("", True)


def test_a_bounce_that_is_none_is_named_and_the_others_are_read(
    tmp_path: Path, capsys: Output
) -> None:
    wrong, gone = tmp_path / "wrong.eml", tmp_path / "gone.eml"
    wrong.write_text("Subject: hello\n\nI am away.\n")
    report = (
        "Content-Type: multipart/report; boundary=B\n\n--B\n"
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
        "Final-Recipient: rfc822; ada@lab.example\nAction: failed\nStatus: 5.1.1\n\n--B--\n"
    )
    good = tmp_path / "good.eml"
    good.write_text(report)
    assert digest("bounce", str(wrong), str(gone), str(good), "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"failures": 1, "known": 0, "suspended": 0, "wrong": 2}
    assert "wrong.eml" in said.err
    assert "gone.eml" in said.err


def test_a_bounce_comes_by_standard_input_too(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"Subject: x\n\ny")))
    assert digest("bounce", "-") == 1
    assert "no report" in capsys.readouterr().err


def test_the_status_counts(capsys: Output) -> None:
    assert digest("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {}


class Box:
    def __init__(self) -> None:
        self.arrived: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.arrived += envelope.rcpt_tos
        return "250 OK"


def test_two_commands_at_once_send_each_digest_once(settings: Settings) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    now = datetime.now(UTC)
    engine = open_database(settings)
    with write(engine) as connection:
        connection.execute(update(PaperTable).values(day=now.date()))
        # The hour has begun in every zone in which it is the same day.
        for n in range(30):
            held = keep_subscriber(
                connection, f"reader{n}@lab.example", None, Hours("UTC", 0), BEGAN
            )
            subject = Subject(Kind.CATEGORY, "cs.CL")
            keep_subscription(connection, held, subject, Cadence.DAILY, now - timedelta(days=3))
    engine.dispose()
    box = Box()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    environment = {
        **os.environ,
        "PAPERROUND_PUBLIC_URL": "https://papers.example",
        "PAPERROUND_MAIL__HOST": "127.0.0.1",
        "PAPERROUND_MAIL__PORT": str(port),
        "PAPERROUND_MAIL__SECURITY": "none",
        "PAPERROUND_MAIL__SENDER": "papers@lab.example",
    }
    command = [sys.executable, "-m", "paperround.cli", "digest", "send", "--json"]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [json.loads(process.communicate(timeout=200)[0]) for process in running]
    controller.stop()
    assert [process.returncode for process in running] == [0, 0]
    everybody = [f"reader{n}@lab.example" for n in range(30)]
    assert sorted(a for a in box.arrived if a.startswith("reader")) == sorted(everybody)
    assert sum(each["sent"] for each in said) == len(box.arrived)
