"""Subscribers, papers, and a real SMTP server that keeps what arrives."""

import itertools
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import Engine, insert

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import PaperTable
from paperround.db import read, write
from paperround.discovery.searching import Searcher
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import (
    Subscriber,
    keep_subscriber,
    keep_subscription,
    subscriber_by_id,
)
from paperround.readers.times import Cadence, Hours
from paperround.settings import MailServer, Settings

# Papers are of the first of July, a Wednesday; digests come at seven in UTC the day after.
BEGAN = datetime(2026, 7, 1, 12, tzinfo=UTC)
MORNING = datetime(2026, 7, 2, 7, tzinfo=UTC)
DAY = date(2026, 7, 1)
SEVEN = Hours("UTC", 7, 0)
CL = Subject(Kind.CATEGORY, "cs.CL")

AddPaper = Callable[..., PaperId]
AddSubscriber = Callable[..., Subscriber]


class Postbox:
    """What has arrived. `answers` says what the server answers to an address, `on` is called at
    each step with its name.
    """

    def __init__(self) -> None:
        self.port = 0
        self.arrived: list[tuple[str, EmailMessage]] = []
        self.senders: list[str] = []
        self.answers: dict[str, str] = {}
        self.on: Callable[[str], str | None] = lambda step: None

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        envelope.mail_from = address
        self.senders.append(address)
        return self.on("MAIL") or "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.on("RCPT") or answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = self.on("DATA") or "250 OK"
        if answer.startswith("250"):
            message = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(message, EmailMessage)
            (recipient,) = envelope.rcpt_tos
            self.arrived.append((recipient, message))
        return answer

    def to(self, recipient: str) -> list[EmailMessage]:
        """What has arrived for one address."""
        return [message for address, message in self.arrived if address == recipient]


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    yield from _serving(Postbox())


@pytest.fixture
def mail_settings(settings: Settings, postbox: Postbox) -> Settings:
    """Settings whose mail goes to the server of the test."""
    return with_mail(settings, postbox.port)


def with_mail(settings: Settings, port: int) -> Settings:
    server = MailServer(
        host="127.0.0.1",
        port=port,
        security="none",
        sender="papers@lab.example",
        bounces="bounces@lab.example",
    )
    return settings.model_copy(update={"mail": server, "public_url": "https://papers.example"})


def _serving(box: Postbox) -> Iterator[Postbox]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    box.port = port
    yield box
    controller.stop()


@pytest.fixture
def searcher(engine: Engine, settings: Settings) -> Searcher:
    return Searcher(engine, settings)


@pytest.fixture
def paper(engine: Engine) -> AddPaper:
    """Adds papers of the first of July in cs.CL, unless said otherwise."""
    numbers = itertools.count(1)

    def add(title: str | None = None, **changes: object) -> PaperId:
        number = next(numbers)
        title = title or f"Paper number {number}"
        values: dict[str, object] = {
            "key": f"2607.{number:05d}",
            "title": title,
            "title_text": title,
            "title_key": title.lower(),
            "abstract": "",
            "abstract_text": f"About the matter of {title}.",
            "authors": ["Ada Ay", "Bo Bee"],
            "categories": ["cs.CL"],
            "day": DAY,
            "published": DAY,
            "votes": 100 - number,
            "added_at": MORNING,
            "updated_at": MORNING,
        }
        with write(engine) as connection:
            done = connection.execute(insert(PaperTable).values(**{**values, **changes}))
            return PaperId(done.inserted_primary_key[0])

    return add


@pytest.fixture
def subscriber(engine: Engine) -> AddSubscriber:
    """Adds confirmed subscribers, of cs.CL every day unless said otherwise."""

    def add(
        email: str = "ada@lab.example",
        *subjects: Subject,
        cadence: Cadence = Cadence.DAILY,
        hours: Hours = SEVEN,
        at: datetime = BEGAN,
    ) -> Subscriber:
        with write(engine) as connection:
            held = keep_subscriber(connection, email, None, hours, at)
            for subject in subjects or (CL,):
                keep_subscription(connection, held, subject, cadence, at)
        with read(engine) as connection:
            return subscriber_by_id(connection, held)

    return add
