"""Texts that readers ask for: what is taken, who may, what waits, and what a worker makes of it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, insert, select, update

from paperround.db import read, write
from paperround.errors import (
    ForbiddenError,
    NotFoundError,
    TooOftenError,
    UsageError,
)
from paperround.kit.language_models.declarations import Declaration
from paperround.readers import generating
from paperround.readers.accounts import delete_reader
from paperround.readers.export import export_reader
from paperround.readers.generating import MAX_ATTEMPTS, work_on_next
from paperround.readers.generations import (
    KEPT,
    MAX_NEW_TOKENS,
    MAX_OPEN,
    MAX_OPEN_EACH,
    MAX_PROMPT,
    MAX_SEED,
    Generation,
    checked,
    delete_generation,
    find_generation,
    generations_of,
    queue_generation,
    what_is_before,
)
from paperround.readers.limits import GENERATIONS
from paperround.readers.records import Reader
from paperround.readers.tables import GenerationTable
from paperround.runs.card import Scale
from paperround.runs.child_process import Outcome
from paperround.runs.generation import Asked, Report
from paperround.runs.queue import TableQueue, new_run_id
from paperround.runs.rights import THIS_MACHINE, Asker, Role
from paperround.settings import Settings, TextGeneration

AddReader = Callable[..., Reader]
Queue = Callable[..., str]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
DECLARED = {
    "greedy": Declaration("greedy", "plain"),
    "mine": Declaration("mine", "mine", {"gamma": 3, "name": "a", "rate": 0.5}, slug="little"),
}
REPORT = Report.model_validate(
    {
        "prompt": "the prompt",
        "method": "mine",
        "options": {},
        "texts": [{"text": "x", "tokens": 1, "log_prob": None}],
        "passes": 1,
        "seconds": 0.5,
        "tokens_per_second": 2.0,
        "changed": "Nothing.",
        "figures": {},
        "greedy": None,
        "says": ["It is said."],
    }
)


@pytest.fixture
def queue(engine: Engine, settings: Settings) -> Queue:
    """Asks for a text."""

    def ask(reader: Reader | None = None, now: datetime = NOON, **changes: Any) -> str:
        asker = THIS_MACHINE if reader is None else Asker(reader.name, reader.role)
        return queue_generation(
            engine,
            reader,
            Asked(**{"prompt": "On and", "method": "mine", **changes}),
            now,
            asker=asker,
            declared=DECLARED,
            settings=settings,
        )

    return ask


@pytest.fixture
def decode(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Puts a stand-in where the process would be, and notes what it was asked."""
    asked: list[Asked] = []

    def stand_in(one: Asked, folder: Path, **_: object) -> tuple[Outcome, Report]:
        asked.append(one)
        return Outcome("finished", "", 0.5), REPORT

    monkeypatch.setattr(generating, "generate", stand_in)
    return asked


def found(engine: Engine, generation_id: str) -> Generation:
    with read(engine) as connection:
        return find_generation(connection, generation_id)


# --- asked for


def test_what_is_asked_for_waits_with_all_its_options(
    engine: Engine, queue: Queue, add: AddReader
) -> None:
    ada = add()
    one = found(engine, queue(ada, options={"gamma": 4}, is_chat=True, seed=MAX_SEED))
    assert one.asked.options == {"gamma": 4, "name": "a", "rate": 0.5}
    assert (one.asked.model, one.asked.is_chat, one.asked.seed) == ("smollm2-135m", True, MAX_SEED)
    assert (one.owner, one.state, one.is_open, one.report) == ("ada", "waiting", True, None)
    assert found(engine, queue()).owner == THIS_MACHINE.name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": ""}, "write a prompt"),
        ({"prompt": "x" * (MAX_PROMPT + 1)}, "20,001 characters; at most 20,000"),
        ({"method": "telepathy"}, "no method 'telepathy'; there are greedy, mine"),
        ({"model": "/etc/passwd"}, "no model '/etc/passwd'; there are smollm2-135m"),
        ({"options": {"wings": 1}}, "no option 'wings'"),
        ({"options": {"gamma": "three"}}, "gamma is int"),
        ({"options": {"gamma": [3]}}, "gamma is a number, a word"),
        ({"options": {"gamma": 10**5_000}}, "gamma is no number between"),
        ({"options": {"rate": float("nan")}}, "rate is no number between"),
        ({"options": {"rate": float("inf")}}, "rate is no number between"),
        ({"options": {"name": "x" * 201}}, "name is a number, a word"),
        ({"max_new_tokens": 0}, "between 1 and 256"),
        ({"max_new_tokens": MAX_NEW_TOKENS + 1}, "between 1 and 256"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": MAX_SEED + 1}, "seed is 4294967296"),
    ],
)
def test_what_nothing_can_be_done_with_is_refused(
    engine: Engine, queue: Queue, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError) as raised:
        queue(**changes)
    assert says in str(raised.value)
    with read(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(GenerationTable)) == 0


@given(
    name=st.text(max_size=50),
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    number=st.integers(),
)
def test_whatever_is_asked_is_taken_or_refused(name: str, value: Any, number: int) -> None:
    asked = Asked(
        "x", name and "mine", {"gamma": value, name: value}, max_new_tokens=number, seed=number
    )
    try:
        whole = checked(asked, DECLARED, Settings(home=Path("/nowhere")))
    except UsageError:
        return
    assert set(whole.options) == {"gamma", "name", "rate"}
    assert 1 <= whole.max_new_tokens <= MAX_NEW_TOKENS


def test_a_place_without_models_generates_nothing(settings: Settings) -> None:
    closed = settings.model_copy(update={"generation": TextGeneration(models={})})
    with pytest.raises(UsageError, match="offers no model"):
        checked(Asked("x"), DECLARED, closed)


@pytest.mark.parametrize(
    ("models", "is_right"),
    [
        ({"a": "smollm2-135m"}, True),
        ({"our-qwen.2": "/srv/models/qwen"}, True),
        ({"a": "~/models/qwen"}, True),
        ({"a": "models/qwen"}, False),
        ({"a b": "smollm2-135m"}, False),
        ({"../a": "smollm2-135m"}, False),
        ({"": "smollm2-135m"}, False),
    ],
)
def test_a_model_is_configured_by_a_name_and_a_whole_path(
    models: dict[str, str], is_right: bool
) -> None:
    if not is_right:
        with pytest.raises(ValueError, match="model"):
            TextGeneration(models=models)
        return
    assert all("~" not in where for where in TextGeneration(models=models).models.values())


# --- who may, and how much


def test_a_visitor_may_not_and_a_reader_may(queue: Queue, add: AddReader) -> None:
    with pytest.raises(ForbiddenError, match="a visitor may not"):
        queue(replace(add("eve"), role=Role.VISITOR))
    for role in (Role.READER, Role.MODERATOR, Role.ADMIN):
        queue(add(f"a-{role}", role))


def test_so_many_may_wait_of_one_reader_and_of_all(
    engine: Engine, queue: Queue, add: AddReader
) -> None:
    ada = add()
    for _ in range(MAX_OPEN_EACH):
        queue(ada)
    with pytest.raises(TooOftenError, match="you wait for 5"):
        queue(ada)
    for n in range(MAX_OPEN // MAX_OPEN_EACH - 1):
        more = add(f"more-{n}")
        for _ in range(MAX_OPEN_EACH):
            queue(more)
    with pytest.raises(TooOftenError, match="20 texts are waited for"):
        queue()
    with write(engine) as connection:
        connection.execute(update(GenerationTable).values(state="done"))
    queue(ada)


def test_a_reader_asks_for_so_many_within_an_hour(
    engine: Engine, queue: Queue, add: AddReader
) -> None:
    ada = add()
    for _ in range(GENERATIONS.n):
        queue(ada)
        with write(engine) as connection:
            connection.execute(update(GenerationTable).values(state="done"))
    with pytest.raises(TooOftenError, match="too often"):
        queue(ada)
    queue(ada, now=NOON + timedelta(hours=1, minutes=1))


def test_it_is_deleted_by_who_asked_or_a_moderator(
    engine: Engine, queue: Queue, add: AddReader
) -> None:
    ada, eve, mo = add("ada"), add("eve"), add("mo", Role.MODERATOR)
    first, second, third = queue(ada), queue(ada), queue()
    for generation_id, reader in ((first, eve), (third, ada)):
        with pytest.raises(ForbiddenError, match="only its owner"):
            delete_generation(engine, generation_id, asker=Asker(reader.name, reader.role))
    with pytest.raises(ForbiddenError):
        delete_generation(engine, first, asker=Asker("", Role.VISITOR))
    delete_generation(engine, first, asker=Asker("ada", Role.READER))
    delete_generation(engine, second, asker=Asker(mo.name, mo.role))
    delete_generation(engine, third, asker=THIS_MACHINE)
    with pytest.raises(NotFoundError):
        delete_generation(engine, first, asker=THIS_MACHINE)


def test_a_reader_takes_them_along_and_they_go_with_the_account(
    engine: Engine, queue: Queue, add: AddReader
) -> None:
    ada = add()
    add("admin", Role.ADMIN)
    mine, other = queue(ada, prompt="my own words"), queue()
    with read(engine) as connection:
        (exported,) = export_reader(connection, ada)["generations"]
    assert (exported["id"], exported["prompt"]) == (mine, "my own words")
    with write(engine) as connection:
        delete_reader(connection, ada)
    with pytest.raises(NotFoundError):
        found(engine, mine)
    assert found(engine, other).owner == THIS_MACHINE.name


def test_a_list_has_the_reader_s_own_the_newest_first(
    engine: Engine, queue: Queue, add: AddReader
) -> None:
    ada = add()
    mine = [queue(ada, now=NOON + timedelta(seconds=n)) for n in range(3)]
    theirs = queue()
    with read(engine) as connection:
        assert [each.id for each in generations_of(connection, ada.id, None, 9)] == mine[::-1]
        assert [each.id for each in generations_of(connection, ada.id, mine[2], 1)] == [mine[1]]
        assert [each.id for each in generations_of(connection, None, None, 9)] == [theirs]


# --- worked on


def test_they_are_done_one_after_the_other(
    engine: Engine, settings: Settings, queue: Queue, decode: list[Asked]
) -> None:
    late = queue(prompt="late", now=NOON + timedelta(minutes=1))
    early = queue(prompt="early", now=NOON)
    with read(engine) as connection:
        assert what_is_before(connection, find_generation(connection, late)) == (1, False)
    assert work_on_next(engine, settings)
    assert found(engine, early).report == REPORT
    assert found(engine, late).state == "waiting"
    assert work_on_next(engine, settings)
    assert not work_on_next(engine, settings)
    assert [one.prompt for one in decode] == ["early", "late"]
    assert found(engine, late).state == "done"


def test_only_one_process_of_a_home_works(
    engine: Engine, settings: Settings, queue: Queue, decode: list[Asked]
) -> None:
    queue()
    with FileLock(settings.home / "generations.lock"):
        assert not work_on_next(engine, settings)
    assert work_on_next(engine, settings)


def test_it_waits_while_a_run_is_measured(
    engine: Engine, settings: Settings, queue: Queue, decode: list[Asked]
) -> None:
    waiting = queue()
    TableQueue(engine).start("machine:1:2:worker", "little", Scale.QUICK, [0])
    assert not work_on_next(engine, settings)
    assert decode == []
    with read(engine) as connection:
        assert what_is_before(connection, find_generation(connection, waiting)) == (0, True)


@pytest.mark.parametrize("because", ["run", "stop", "deletion"])
def test_a_run_the_worker_s_end_or_a_deletion_ends_it_and_counts_for_no_attempt(
    engine: Engine,
    settings: Settings,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    because: str,
) -> None:
    waiting, stop = queue(), threading.Event()

    def under_way(asked: Asked, folder: Path, *, cancelled: Callable[[], bool], **_: object) -> Any:
        assert found(engine, waiting).state == "working"
        assert not cancelled()
        if because == "run":
            TableQueue(engine).start("machine:1:2:worker", "little", Scale.QUICK, [0])
        elif because == "stop":
            stop.set()
        else:
            delete_generation(engine, waiting, asker=THIS_MACHINE)
        monkeypatch.setattr(generating, "_LOOK_INTERVAL_S", 0.0)
        return (Outcome("cancelled", "", 0.0), None) if wait_until(cancelled) else None

    monkeypatch.setattr(generating, "generate", under_way)
    assert not work_on_next(engine, settings, stop)
    if because == "deletion":
        with pytest.raises(NotFoundError):
            found(engine, waiting)
        return
    again = found(engine, waiting)
    assert (again.state, again.started_at) == ("waiting", None)
    with read(engine) as connection:
        assert connection.scalar(select(GenerationTable.attempts)) == 0


def wait_until(says_yes: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(says_yes() or pause.wait(0.01) for _ in range(500))


def test_one_that_ends_its_worker_is_tried_again_and_then_given_up(
    engine: Engine, settings: Settings, queue: Queue, decode: list[Asked]
) -> None:
    left = queue()
    # As a worker that was killed leaves it.
    with write(engine) as connection:
        connection.execute(update(GenerationTable).values(state="working", attempts=1))
    assert work_on_next(engine, settings)
    assert found(engine, left).state == "done"
    with write(engine) as connection:
        connection.execute(update(GenerationTable).values(state="working", attempts=MAX_ATTEMPTS))
    assert work_on_next(engine, settings)
    given_up = found(engine, left)
    assert given_up.state == "failed"
    assert "again and again" in given_up.reason


def test_a_model_that_left_the_configuration_fails_it(
    engine: Engine, settings: Settings, queue: Queue
) -> None:
    left = queue()
    other = settings.model_copy(update={"generation": TextGeneration(models={"other": "other"})})
    assert work_on_next(engine, other)
    assert "does not offer the model 'smollm2-135m' any more" in found(engine, left).reason


def test_the_newest_that_have_ended_are_kept(
    engine: Engine, settings: Settings, queue: Queue, decode: list[Asked]
) -> None:
    waiting = queue(now=NOON - timedelta(days=2))
    work_on_next(engine, settings)
    with read(engine) as connection:
        row = dict(connection.execute(select(GenerationTable.__table__)).mappings().one())
    ids = [new_run_id(NOON + timedelta(seconds=n)) for n in range(KEPT + 10)]
    with write(engine) as connection:
        connection.execute(insert(GenerationTable), [{**row, "id": each} for each in ids])
    late = queue(now=NOON + timedelta(days=1))
    open_one = queue(now=NOON + timedelta(days=2))
    assert work_on_next(engine, settings)
    with read(engine) as connection:
        left = set(connection.scalars(select(GenerationTable.id)))
    assert left == {*ids[11:], late, open_one}
    assert waiting not in left


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_prompt_comes_back_as_it_was(engine: Engine, queue: Queue, prompt: str) -> None:
    kept = queue(prompt=prompt)
    assert found(engine, kept).asked.prompt == prompt
    delete_generation(engine, kept, asker=THIS_MACHINE)


def test_ids_cannot_be_guessed_from_one_another() -> None:
    assert len({new_run_id(NOON)[10:] for _ in range(1_000)}) == 1_000
