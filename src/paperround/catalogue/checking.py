"""Looks for faults in the catalogue: the database's own, and derived things that have drifted."""

from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError

from paperround.db import read, write


def check_catalogue(engine: Engine) -> list[str]:
    """Every fault, each a sentence; empty when all is well. Changes nothing."""
    faults = []
    with read(engine) as connection:
        for row in connection.execute(text("PRAGMA integrity_check")):
            if row[0] != "ok":
                faults.append(f"the database: {row[0]}")
        for row in connection.execute(text("PRAGMA foreign_key_check")):
            faults.append(f"the database: a row of {row[0]} refers to {row[2]}, which lacks it")
    try:
        # The comparison is written as an insert; it stores nothing.
        with write(engine) as connection:
            connection.execute(
                text("INSERT INTO paper_words(paper_words, rank) VALUES ('integrity-check', 1)")
            )
    except DatabaseError:
        faults.append(
            "the word index differs from the papers; `paperround check --repair` remakes it"
        )
    return faults


def rebuild_words(engine: Engine) -> None:
    """Makes the word index anew from the papers."""
    with write(engine) as connection:
        connection.execute(text("INSERT INTO paper_words(paper_words) VALUES ('rebuild')"))
