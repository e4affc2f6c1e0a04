"""Looks for faults of the database's own."""

from sqlalchemy import Engine, text

from paperround.db import read


def check_catalogue(engine: Engine) -> list[str]:
    """Every fault, each a sentence; empty when all is well. Changes nothing."""
    faults = []
    with read(engine) as connection:
        for row in connection.execute(text("PRAGMA integrity_check")):
            if row[0] != "ok":
                faults.append(f"the database: {row[0]}")
        for row in connection.execute(text("PRAGMA foreign_key_check")):
            faults.append(f"the database: a row of {row[0]} refers to {row[2]}, which lacks it")
    return faults
