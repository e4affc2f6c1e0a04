"""Texts that readers ask a language model for: queued, looked at, deleted.

What is asked for waits in a row of its own; `generating.py` is what a worker makes of it. Who has
a generation's id may see it: the id is random, and nobody else is shown it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select

from paperround.db import write
from paperround.errors import NotFoundError, TooOftenError, UsageError
from paperround.kit.language_models.declarations import Declaration
from paperround.readers import limits
from paperround.readers.records import Reader
from paperround.readers.tables import GenerationTable, ReaderTable
from paperround.runs.generation import Asked, Report
from paperround.runs.queries import is_running
from paperround.runs.queue import new_run_id
from paperround.runs.rights import (
    THIS_MACHINE,
    Asker,
    check_may_delete_generation,
    check_may_generate,
)
from paperround.settings import Settings

MAX_PROMPT = 20_000
MAX_NEW_TOKENS = 256
MAX_SEED = 2**32 - 1
# So many may wait at a time, and so many of one reader: each takes up to two minutes.
MAX_OPEN = 20
MAX_OPEN_EACH = 5
# So many that have ended are kept.
KEPT = 500

_OPEN = ("waiting", "working")
_MAX_OPTION = 200
# What JSON and a database agree on.
_MAX_NUMBER = 2**53


@dataclass(frozen=True)
class Generation:
    """A generation as it stands. `owner` is a reader's name, or this machine's."""

    id: str
    asked: Asked
    owner: str
    state: str
    at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str
    report: Report | None

    @property
    def is_open(self) -> bool:
        """Whether it still waits or is worked on."""
        return self.state in _OPEN


def queue_generation(
    engine: Engine,
    reader: Reader | None,
    asked: Asked,
    now: datetime,
    *,
    asker: Asker,
    declared: Mapping[str, Declaration],
    settings: Settings,
) -> str:
    """The id of a generation that waits for a worker; `declared` are the methods there are.

    `reader` is None for this machine. Raises UsageError for what no worker could do, ForbiddenError
    where the asker may not, TooOftenError where too much waits already or was asked for lately.
    """
    check_may_generate(asker)
    asked = checked(asked, declared, settings)
    owner_id = None if reader is None else reader.id
    with write(engine) as connection:
        # Both counts stand on the index of `state`.
        waiting = select(func.count()).where(GenerationTable.state.in_(_OPEN))
        own = GenerationTable.reader_id.is_not_distinct_from(owner_id)
        if (connection.scalar(waiting) or 0) >= MAX_OPEN:
            raise TooOftenError(f"{MAX_OPEN} texts are waited for already; try again later", 120)
        if (connection.scalar(waiting.where(own)) or 0) >= MAX_OPEN_EACH:
            raise TooOftenError(f"you wait for {MAX_OPEN_EACH} texts already", 60)
        if reader is not None:
            limits.spend(connection, limits.GENERATIONS, f"{reader.id}", now)
        generation_id = new_run_id(now)
        connection.execute(
            insert(GenerationTable).values(
                id=generation_id,
                reader_id=owner_id,
                model=asked.model,
                method=asked.method,
                options=dict(asked.options),
                prompt=asked.prompt,
                is_chat=asked.is_chat,
                max_new_tokens=asked.max_new_tokens,
                seed=asked.seed,
                state="waiting",
                attempts=0,
                at=now,
                reason="",
            )
        )
    return generation_id


def checked(asked: Asked, declared: Mapping[str, Declaration], settings: Settings) -> Asked:
    """The same with its model and all the method's options filled in. Raises UsageError."""
    models = settings.generation.models
    if not models:
        raise UsageError("this place offers no model to generate with")
    model = asked.model or next(iter(models))
    if model not in models:
        raise UsageError(f"no model '{model[:60]}'; there are {', '.join(models)}")
    if asked.method not in declared:
        raise UsageError(f"no method '{asked.method[:60]}'; there are {', '.join(declared)}")
    if not asked.prompt:
        raise UsageError("write a prompt: the text to go on with")
    if len(asked.prompt) > MAX_PROMPT:
        raise UsageError(f"the prompt has {len(asked.prompt):,} characters; at most {MAX_PROMPT:,}")
    if not 1 <= asked.max_new_tokens <= MAX_NEW_TOKENS:
        raise UsageError(
            f"max_new_tokens is {asked.max_new_tokens}; it is between 1 and {MAX_NEW_TOKENS}"
        )
    if not 0 <= asked.seed <= MAX_SEED:
        raise UsageError(f"seed is {asked.seed}; it is between 0 and {MAX_SEED}")
    for name, value in asked.options.items():
        _check_option(name, value)
    options = declared[asked.method].complete(asked.options)
    return replace(asked, model=model, options=options)


def delete_generation(engine: Engine, generation_id: str, *, asker: Asker) -> None:
    """Removes it; one that is worked on ends within seconds.

    Raises NotFoundError, ForbiddenError where it is not the asker's.
    """
    with write(engine) as connection:
        found = find_generation(connection, generation_id)
        check_may_delete_generation(asker, found.owner)
        connection.execute(delete(GenerationTable).where(GenerationTable.id == generation_id))


# --- reads


def find_generation(connection: Connection, generation_id: str) -> Generation:
    """The generation of that id (index: primary). Raises NotFoundError."""
    row = connection.execute(GENERATIONS.where(GenerationTable.id == generation_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"no generation '{generation_id[:40]}'")
    return generation_from_row(row)


def generations_of(
    connection: Connection, reader_id: int | None, before: str | None, n: int
) -> list[Generation]:
    """A reader's, or this machine's for None, the newest first, from before that id.

    Stands on the index of `reader_id`.
    """
    query = GENERATIONS.where(GenerationTable.reader_id.is_not_distinct_from(reader_id))
    if before is not None:
        query = query.where(GenerationTable.id < before)
    rows = connection.execute(query.order_by(GenerationTable.id.desc()).limit(n))
    return [generation_from_row(row) for row in rows]


def what_is_before(connection: Connection, generation: Generation) -> tuple[int, bool]:
    """How many are open that came before it (index: state), and whether a run is measured."""
    earlier = select(func.count()).where(
        GenerationTable.state.in_(_OPEN), GenerationTable.id < generation.id
    )
    return connection.scalar(earlier) or 0, is_running(connection)


# A generation with its reader's name; `generation_from_row` reads it.
GENERATIONS: Select[*tuple[Any, ...]] = select(
    GenerationTable.id,
    GenerationTable.model,
    GenerationTable.method,
    GenerationTable.options,
    GenerationTable.prompt,
    GenerationTable.is_chat,
    GenerationTable.max_new_tokens,
    GenerationTable.seed,
    GenerationTable.reader_id,
    ReaderTable.name.label("reader"),
    GenerationTable.state,
    GenerationTable.attempts,
    GenerationTable.at,
    GenerationTable.started_at,
    GenerationTable.ended_at,
    GenerationTable.reason,
    GenerationTable.report,
).outerjoin(ReaderTable, ReaderTable.id == GenerationTable.reader_id)


def generation_from_row(row: Row[*tuple[Any, ...]]) -> Generation:
    """The view of a row of `GENERATIONS`."""
    return Generation(
        id=row.id,
        asked=Asked(
            prompt=row.prompt,
            method=row.method,
            options=row.options,
            model=row.model,
            is_chat=row.is_chat,
            max_new_tokens=row.max_new_tokens,
            seed=row.seed,
        ),
        owner=THIS_MACHINE.name if row.reader_id is None else row.reader,
        state=row.state,
        at=row.at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        reason=row.reason,
        report=None if row.report is None else Report.model_validate(row.report),
    )


def _check_option(name: str, value: Any) -> None:
    is_plain = value is None or isinstance(value, bool | int | float | str)
    if not is_plain or (isinstance(value, str) and len(value) > _MAX_OPTION):
        raise UsageError(f"{name[:40]} is a number, a word, or true or false")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise UsageError(f"{name[:40]} is no number between -{_MAX_NUMBER} and {_MAX_NUMBER}")
