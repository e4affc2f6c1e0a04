"""What readers hold and this place keeps as a hash only: sessions, links, tokens, passwords."""

import hashlib
import itertools
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from paperround.errors import UsageError

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


def check_password(password: str, *parts_of_account: str) -> None:
    """Raises UsageError for a password that is too short, too long, or easily guessed.

    `parts_of_account` are words that it must not consist of, such as the account's name.
    """
    if len(password) < MIN_PASSWORD:
        raise UsageError(f"a password has at least {MIN_PASSWORD} characters; a sentence is good")
    if len(password) > MAX_PASSWORD:
        raise UsageError(f"a password has at most {MAX_PASSWORD} characters")
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
