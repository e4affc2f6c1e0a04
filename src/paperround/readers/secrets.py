"""What readers hold and this place keeps as a hash only: sessions, links, tokens, passwords."""

import base64
import binascii
import hashlib
import hmac
import itertools
import os
import secrets
import unicodedata
import uuid
from functools import lru_cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from paperround.errors import PaperroundError, UsageError
from paperround.readers.common_passwords import is_common

MIN_PASSWORD = 10
MAX_PASSWORD = 200
# What OWASP's Password Storage Cheat Sheet asks for: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# Of a password that nobody has: an account that is not there takes as long to refuse.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(32))


def new_token() -> str:
    """A new secret of 256 random bits, fit for an address."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What is kept of a secret. It is random and long, so that a plain hash hides it."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


@lru_cache(maxsize=8)
def place_key(home: Path) -> bytes:
    """The key of this place, 32 bytes in a file beside the database; made where there is none.

    Links that mails repeat for years are made with it, so that the database alone opens none.
    """
    path = home / "links.key"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".links.key.{uuid.uuid4().hex}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, unlike a renaming, leaves a key that another process has made meanwhile.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise PaperroundError(f"{path} holds no key of 32 bytes; put its backup in its place")
    return key


def lasting_token(key: bytes, purpose: str, number: int, seed: bytes) -> str:
    """A secret for an address that stays good as long as what `number` names and its seed."""
    mac = hmac.new(key, f"{purpose} {number} ".encode() + seed, hashlib.sha256).digest()[:24]
    return base64.urlsafe_b64encode(number.to_bytes(6, "big") + mac).decode()


def number_in(token: str) -> int | None:
    """What a lasting token says that it is of, before anybody has checked it; None for others."""
    try:
        content = base64.urlsafe_b64decode(token.encode("ascii"))
    except (ValueError, binascii.Error):
        return None
    return int.from_bytes(content[:6], "big") if len(content) == 30 else None


def is_lasting_token(token: str, key: bytes, purpose: str, number: int, seed: bytes) -> bool:
    """Whether it is the one that `lasting_token` makes of these."""
    right = lasting_token(key, purpose, number, seed)
    return hmac.compare_digest(token.encode("utf-8", "replace"), right.encode())


def check_password(password: str, *parts_of_account: str) -> None:
    """Raises UsageError for a password that is too short, too long, or easily guessed.

    `parts_of_account` are words that it must not consist of, such as the account's name.
    """
    if len(password) < MIN_PASSWORD:
        raise UsageError(f"a password has at least {MIN_PASSWORD} characters; a sentence is good")
    if len(password) > MAX_PASSWORD:
        raise UsageError(f"a password has at most {MAX_PASSWORD} characters")
    if is_common(password):
        raise UsageError("that password is one of the most used; take words that belong to you")
    rest = _same_letters(password)
    for part in ("paperround", "password", *parts_of_account):
        if len(part) > 2:
            rest = rest.replace(_same_letters(part), "")
    runs = sum(abs(ord(b) - ord(a)) <= 1 for a, b in itertools.pairwise(rest))
    if len(set(rest)) < 5 or runs > len(rest) / 2:
        raise UsageError("that password is easily guessed; take several words that belong to you")


def hash_password(password: str) -> str:
    """The password's argon2id hash with its parameters and its salt. Takes tens of milliseconds."""
    return _HASHER.hash(unicodedata.normalize("NFC", password))


def is_password(stored: str | None, password: str) -> bool:
    """Whether it is the password. Takes the same time where there is none to compare with."""
    try:
        right = _HASHER.verify(
            stored or _NOBODY, unicodedata.normalize("NFC", password[: MAX_PASSWORD + 1])
        )
    except (VerificationError, InvalidHashError):
        return False
    return right and stored is not None


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with other parameters than a new one would be."""
    return _HASHER.check_needs_rehash(stored)


def _same_letters(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
