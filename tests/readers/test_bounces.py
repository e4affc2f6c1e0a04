"""What comes back: reports of delivery, believed only of digests that went out from here."""

import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from paperround.db import read, write
from paperround.errors import UsageError
from paperround.readers.bounces import is_for_good, local_part, note_bounces, read_report
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import keep_subscriber, keep_subscription, subscriber_at
from paperround.readers.tables import DigestTable
from paperround.readers.times import Cadence, Hours

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ADA = "ada@lab.example"
NAME = "2026-07-01.0123456789abcdef"

# As Postfix writes them; the addresses and the servers are made up.
REPORT = """\
From: MAILER-DAEMON@mx.lab.example (Mail Delivery System)
To: bounces@papers.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="B"

--B
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--B
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.lab.example
Arrival-Date: Wed, 1 Jul 2026 07:00:01 +0000

Final-Recipient: rfc822; {recipient}
Original-Recipient: rfc822;{recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {says}

--B
Content-Type: {returned}

From: Paperround <papers@papers.example>
To: {recipient}
Message-ID: <{name}@papers.example>
Subject: 3 papers

--B--
"""


def report(**changes: str) -> io.BytesIO:
    values = {
        "recipient": ADA,
        "action": "failed",
        "status": "5.1.1",
        "says": "550 5.1.1 <ada@lab.example>: no such user",
        "name": NAME,
        "returned": "text/rfc822-headers",
    }
    return io.BytesIO(REPORT.format(**{**values, **changes}).encode())


@pytest.fixture
def suspended(engine: Engine) -> Callable[[], bool]:
    with write(engine) as connection:
        held = keep_subscriber(connection, ADA, None, Hours(), NOON)
        keep_subscription(connection, held, Subject(Kind.TRENDING), Cadence.DAILY, NOON)
        connection.execute(
            insert(DigestTable).values(
                subscriber_id=held,
                day=date(2026, 7, 1),
                message_id=NAME,
                state="sent",
                papers=[1],
                claimed_at=NOON,
                due_at=NOON,
            )
        )

    def is_suspended() -> bool:
        with read(engine) as connection:
            found = subscriber_at(connection, ADA)
        assert found is not None
        return found.suspended_at is not None

    return is_suspended


@pytest.mark.parametrize("returned", ["text/rfc822-headers", "message/rfc822"])
def test_an_address_that_is_none_gets_no_more(
    engine: Engine, suspended: Callable[[], bool], returned: str
) -> None:
    found = read_report(report(returned=returned))
    assert [(each.message_id, each.email, each.for_good) for each in found] == [(NAME, ADA, True)]
    assert note_bounces(engine, found, NOON) == (1, 1)
    assert suspended()
    # The same report once more is none of ours any more.
    assert note_bounces(engine, found, NOON) == (0, 0)


@pytest.mark.parametrize(
    "made_up",
    [
        {"name": "2026-07-01.another"},
        {"name": ""},
        {"recipient": "bo@lab.example"},
        {"recipient": ""},
    ],
)
def test_a_report_that_was_made_up_stops_nobody_s_mail(
    engine: Engine, suspended: Callable[[], bool], made_up: dict[str, str]
) -> None:
    assert note_bounces(engine, read_report(report(**made_up)), NOON) == (0, 0)
    assert not suspended()


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", ""])
def test_what_is_no_failure_is_none(action: str) -> None:
    assert read_report(report(action=action)) == []


def test_a_full_box_counts_and_does_not_suspend_at_once(
    engine: Engine, suspended: Callable[[], bool]
) -> None:
    full = read_report(report(status="5.2.2", says="552 5.2.2 mailbox full"))
    assert note_bounces(engine, full, NOON) == (1, 0)
    assert not suspended()


@pytest.mark.parametrize(
    ("code", "says", "for_good"),
    [
        (550, "5.1.1 no such user", True),
        (550, "5.1.10 null mx", True),
        (550, "5.2.1 this box is disabled", True),
        (550, "no such user", True),
        (553, "what address?", True),
        (550, "5.7.1 we do not know you", False),
        (550, "5.7.26 not signed", False),
        (552, "5.2.2 full", False),
        (554, "no", False),
        (550, "5.1.7 bad sender", False),
        (550, "5.1.8 bad sender's system", False),
    ],
)
def test_what_is_said_of_the_address_is_told_from_what_is_said_of_us(
    code: int, says: str, for_good: bool
) -> None:
    assert is_for_good(code, says) is for_good


def test_any_mail_that_is_no_report_is_refused() -> None:
    mail = EmailMessage()
    mail.set_content("Dear all, I am away.")
    with pytest.raises(UsageError, match="no report"):
        read_report(io.BytesIO(mail.as_bytes()))
    with pytest.raises(UsageError, match="too large"):
        read_report(io.BytesIO(b"x" * (2 << 20)))


@given(noise=st.binary(max_size=400), at=st.integers(0, 900))
def test_any_bytes_are_a_report_or_refused(noise: bytes, at: int) -> None:
    whole = report().getvalue()
    for content in (noise, whole[:at] + noise + whole[at:]):
        try:
            found = read_report(io.BytesIO(content))
        except UsageError:
            continue
        for each in found:
            assert isinstance(each.reason, str)


def test_a_digest_is_known_by_what_stands_before_the_at() -> None:
    assert local_part(" <a.b@c.de> ") == "a.b"
