"""Readers who sign in by a provider of OpenID Connect."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from paperround.db import read
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers.identities import end_identity, join_identity, sign_in_as
from paperround.readers.queries import identities_of
from paperround.readers.records import Reader
from paperround.readers.sessions import find_session

AddReader = Callable[..., Reader]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ISSUER = "https://id.example"


def who_holds(engine: Engine, token: str) -> str | None:
    with read(engine) as connection:
        found = find_session(connection, token, NOON)
    return found[1].name if found else None


def test_somebody_known_elsewhere_gets_one_account(engine: Engine, add: AddReader) -> None:
    add("ada")

    def come(subject: str, name: str, *, may: bool = True) -> str | None:
        token = sign_in_as(
            engine, ISSUER, subject, wanted_name=name, may_sign_up=may, agent="", now=NOON
        )
        return who_holds(engine, token)

    with pytest.raises(ForbiddenError):
        come("1", "Ada", may=False)
    # The name is taken; the account of that name stays its owner's.
    assert come("1", "Ada") == "Ada-2"
    assert come("1", "renamed", may=False) == "Ada-2"
    assert come("2", "Дарья <b>") not in (None, "ada", "Ada-2")
    bo = add("bo")
    for _ in range(2):
        join_identity(engine, bo, ISSUER, "3", NOON)
    assert come("3", "bo", may=False) == "bo"
    with pytest.raises(UsageError):
        join_identity(engine, bo, ISSUER, "1", NOON)


def test_an_identity_is_ended_by_its_reader_unless_it_is_their_last_way_in(
    engine: Engine, add: AddReader
) -> None:
    ada, eve = add("ada"), add("eve")
    join_identity(engine, ada, ISSUER, "1", NOON)
    with read(engine) as connection:
        (held,) = identities_of(connection, ada.id)
    with pytest.raises(NotFoundError):
        end_identity(engine, eve, held.id)
    with pytest.raises(UsageError, match="choose a password first"):
        end_identity(engine, replace(ada, has_password=False), held.id)
    end_identity(engine, ada, held.id)
    with read(engine) as connection:
        assert identities_of(connection, ada.id) == []
    with pytest.raises(ForbiddenError):
        sign_in_as(engine, ISSUER, "1", wanted_name="x", may_sign_up=False, agent="", now=NOON)
