"""What comes back: refusals of the mail server, and reports of other servers (RFC 3464).

A report is believed only where it names a digest that went to the address which it says it is
about: the name of a digest is random, so that nobody who makes reports up can stop another's mail.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email import message_from_binary_file, policy
from email.message import Message
from typing import BinaryIO

from sqlalchemy import Engine

from paperround.db import write
from paperround.errors import UsageError
from paperround.readers.digests import take_back_sent

# What enhanced codes (RFC 3463) say of the address itself: that it is none, that it has moved, that
# its box is disabled. All others say something of the mail, of the way, or of us.
_NO_SUCH_ADDRESS = re.compile(r"\b5\.(?:1\.[0-36]|1\.10|2\.1)\b")
_ENHANCED = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")
# The same of the plain codes, where a server gives no other.
_NO_SUCH_ADDRESS_PLAIN = (550, 551, 553)

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Bounce:
    """What a report says: which digest did not reach which address, and why."""

    message_id: str
    email: str
    reason: str
    for_good: bool


def is_for_good(code: int, says: str) -> bool:
    """Whether a refusal at delivery says that there is no such address, rather than anything else.

    `550 5.7.1`, by which servers refuse those whom they mistrust, says so of us.
    """
    if _ENHANCED.search(says):
        return _NO_SUCH_ADDRESS.search(says) is not None
    return code in _NO_SUCH_ADDRESS_PLAIN


def read_report(file: BinaryIO) -> list[Bounce]:
    """The failures in a report of delivery. Raises UsageError for what is none.

    Reports of delays and of success have none.
    """
    content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise UsageError("this mail is too large for a report of delivery")
    message = message_from_binary_file(io.BytesIO(content), policy=policy.compat32)
    status = next(_parts(message, "message/delivery-status"), None)
    if status is None:
        raise UsageError("this mail is no report of delivery (RFC 3464)")
    message_id = _digest_named(message)
    blocks = [part for part in status.get_payload() if isinstance(part, Message)]
    found = []
    for block in blocks:
        if str(block.get("Action", "")).strip().lower() != "failed":
            continue
        recipient = block.get("Original-Recipient") or block.get("Final-Recipient") or ""
        email = str(recipient).partition(";")[2].strip()
        code = str(block.get("Status", "")).strip()
        says = " ".join(str(block.get("Diagnostic-Code", "")).split())
        reason = f"{code} {says}".strip()
        found.append(Bounce(message_id, email, reason, is_for_good(0, reason)))
    return found


def note_bounces(engine: Engine, bounces: list[Bounce], now: datetime) -> tuple[int, int]:
    """How many of the bounces are of digests of ours, and how many addresses they suspend."""
    known = suspended = 0
    with write(engine) as connection:
        for bounce in bounces:
            done = take_back_sent(
                connection, bounce.message_id, bounce.email, bounce.reason, now, bounce.for_good
            )
            known += done is not None
            suspended += bool(done)
    return known, suspended


def _digest_named(report: Message) -> str:
    """The name of the mail that came back, as its headers in the report have it."""
    for kind in ("message/rfc822", "text/rfc822-headers"):
        for part in _parts(report, kind):
            payload = part.get_payload()
            if kind == "message/rfc822" and isinstance(payload, list) and payload:
                found = str(payload[0].get("Message-ID", ""))  # type: ignore[union-attr]
            else:
                named = re.search(r"^Message-ID:\s*(\S+)", str(payload), re.I | re.M)
                found = named[1] if named else ""
            if found:
                return local_part(found)
    return ""


def local_part(message_id: str) -> str:
    """The part of a Message-ID before the @, which is what digests are known by."""
    return message_id.strip().strip("<>").partition("@")[0]


def _parts(message: Message, kind: str) -> Iterator[Message]:
    return (part for part in message.walk() if part.get_content_type() == kind)
