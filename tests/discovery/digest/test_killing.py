"""Nothing is sent twice, however often the process that sends is killed and started again."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.readers.digests import HANDED_FOR, TAKEN_FOR
from paperround.readers.subscriptions import Subscriber
from paperround.readers.tables import DigestTable, SubscriberTable
from paperround.settings import Settings

AddPaper = Callable[..., PaperId]
AddSubscriber = Callable[..., Subscriber]
Postbox = Any
MORNING = datetime.fromisoformat("2026-07-02T07:00Z")
SENDER = Path(__file__).with_name("sender.py")
SUBSCRIBERS = 30
STEPS = ("MAIL", "RCPT", "DATA")


class Killed:
    """A process that sends, and is killed at a step of its talk with the mail server."""

    def __init__(self, settings: Settings, postbox: Postbox) -> None:
        assert settings.mail is not None
        environment = {
            **os.environ,
            "PAPERROUND_PUBLIC_URL": settings.public_url,
            "PAPERROUND_MAIL__HOST": "127.0.0.1",
            "PAPERROUND_MAIL__PORT": str(settings.mail.port),
            "PAPERROUND_MAIL__SECURITY": "none",
            "PAPERROUND_MAIL__SENDER": settings.mail.sender,
        }
        self._postbox = postbox
        self._process = subprocess.Popen(
            [sys.executable, str(SENDER)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, now: datetime, kill_at: tuple[str, int, float] | None = None) -> bool:
        """Whether it was killed: at the so manyeth step of a kind, so long after it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{now.isoformat()}\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        seen: Counter[str] = Counter()
        killers: list[threading.Thread] = []

        def kill(delay_s: float) -> None:
            time.sleep(delay_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

        def on(step: str) -> None:
            seen[step] += 1
            if kill_at is not None and (step, seen[step]) == kill_at[:2]:
                if kill_at[2] == 0:
                    # Before the server has answered: the client never learns.
                    os.kill(child, signal.SIGKILL)
                else:
                    killers.append(threading.Thread(target=kill, args=(kill_at[2],)))
                    killers[-1].start()

        self._postbox.on = on
        os.kill(child, signal.SIGCONT)
        said = self._process.stdout.readline().strip()
        for killer in killers:
            killer.join()
        assert said in ("killed", "0"), said
        return said == "killed"

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(60) == 0


@pytest.fixture
def sender(mail_settings: Settings, postbox: Postbox, engine: Engine) -> Iterator[Killed]:
    started = Killed(mail_settings, postbox)
    yield started
    started.end()


def states(engine: Engine) -> dict[tuple[str, date], str]:
    with read(engine) as connection:
        rows = connection.execute(
            select(SubscriberTable.email, DigestTable.day, DigestTable.state).join(
                SubscriberTable, SubscriberTable.id == DigestTable.subscriber_id
            )
        )
        found = {(row.email, row.day): row.state for row in rows}
    return found


def test_nothing_arrives_twice_and_what_may_be_lost_is_known(
    engine: Engine,
    postbox: Postbox,
    paper: AddPaper,
    subscriber: AddSubscriber,
    sender: Killed,
) -> None:
    for n in range(4):
        paper(f"Of the first day {n}")
    emails = [subscriber(f"reader{n}@lab.example").email for n in range(SUBSCRIBERS)]
    engine.dispose()
    rng = random.Random(7)
    now, kills = MORNING, 0
    plans = [(step, nth, delay) for step in STEPS for nth in (1, 3) for delay in (0, 0.004, 0.015)]
    rng.shuffle(plans)
    for plan in plans:
        kills += sender.send(now, plan)
        # What was taken and not handed over is free again.
        now += TAKEN_FOR
    while sender.send(now := now + HANDED_FOR):
        pass
    sender.send(now + HANDED_FOR + timedelta(minutes=1))
    assert kills >= len(plans) // 2

    arrived = Counter(address for address, _ in postbox.arrived)
    found = {email: state for (email, _), state in states(engine).items()}
    assert set(found) == set(emails)
    assert set(arrived.values()) == {1}
    ids = [message["Message-ID"] for _, message in postbox.arrived]
    assert len(set(ids)) == len(ids)
    # Whoever got nothing is one whose digest was being handed over when the process was killed.
    assert {email for email in emails if found[email] == "sent"} <= set(arrived)
    lost = set(emails) - set(arrived)
    assert {found[email] for email in lost} <= {"unknown"}
    assert set(found.values()) <= {"sent", "unknown"}

    # The day after everybody gets what is new, and nothing that they have.
    paper("Of the second day", day=date(2026, 7, 3))
    engine.dispose()
    before = len(postbox.arrived)
    sender.send(MORNING + timedelta(days=1, hours=9))
    second = postbox.arrived[before:]
    assert Counter(address for address, _ in second) == Counter(emails)
    for _, message in second:
        text = message.get_body(("plain",)).get_content()
        assert "Of the second day" in text
        assert "Of the first day" not in text
