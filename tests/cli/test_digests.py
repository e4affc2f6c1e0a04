"""`paperround digest`, as an operator's scripts use it."""

import json
import sys
from datetime import UTC, date, datetime
from email import message_from_bytes
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from sqlalchemy import insert

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
