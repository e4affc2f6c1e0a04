"""Results that travel: a file that another Paperround reads, and what is believed of such a file.

Believed: what was measured, on what, when; nobody here can know better, and the page says where it
came from. Not believed: verdicts, which are computed again from the card that the file carries;
the card's checksum and the result's own address, which are computed and compared.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ValidationError,
    model_validator,
)
from sqlalchemy import Connection

from paperround.errors import CardError, UsageError
from paperround.runs.card import Card, Scale, Slug, card_sha256
from paperround.runs.events import ALL_EVENTS_LIMIT_BYTES, read_event
from paperround.runs.records import Origin, keep_result
from paperround.runs.reproduction import Event
from paperround.runs.results import Result
from paperround.runs.rooms import Room

# A result of all that a run may give, with its card, and base64 within JSON.
FILE_LIMIT_BYTES = ALL_EVENTS_LIMIT_BYTES + (4 << 20)

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Short = Annotated[str, Field(max_length=300)]
_Fact = _Short | FiniteFloat | int | None


class _Environment(BaseModel):
    """What a result was measured on; other facts may stand beside those that pages count with."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Fact | dict[_Short, _Short]]

    processor: _Short | None = None
    cores: Annotated[int, Field(ge=1, le=10**6)] | None = None
    memory_gb: Annotated[FiniteFloat, Field(ge=0, le=10**9)] | None = None
    paperround: _Short | None = None
    commit: _Short | None = None
    room: _Short | None = None
    versions: Annotated[dict[_Short, _Short], Field(max_length=200)] = {}

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        others = self.__pydantic_extra__ or {}
        if len(others) > 60 or any(len(name) > 60 for name in others):
            raise ValueError("more than 60 facts, or a fact with a name that long")
        return self


class _File(BaseModel):
    """The shape of an exported file; what is inside an event is checked where events are read."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    id: _Sha256 | None = None
    paper: _Short
    slug: Slug
    scale: Scale
    status: Literal["finished", "failed", "cancelled", "lost"]
    reason: Annotated[str, Field(max_length=4_000)]
    started_at: AwareDatetime
    seconds: Annotated[FiniteFloat, Field(ge=0)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(max_length=1_000)]
    claims: list[dict[str, JsonValue]]
    environment: _Environment
    card_sha256: _Sha256
    card: dict[str, JsonValue] | None = None
    measurements: list[dict[str, JsonValue]]
    tables: list[dict[str, JsonValue]]
    series: list[dict[str, JsonValue]]
    samples: list[dict[str, JsonValue]]
    notes: list[str]
    stages: list[dict[str, JsonValue]]
    assets: dict[_Short, _Sha256]

    @model_validator(mode="after")
    def _is_of_this_age(self) -> Self:
        # A date near the ends of the calendar has no time in another zone.
        if not 2000 <= self.started_at.year < 2200:
            raise ValueError(f"it began in the year {self.started_at.year}")
        return self


@dataclass(frozen=True)
class Foreign:
    """A result from a file. `corrections` says which verdicts the file had otherwise."""

    result: Result
    corrections: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """What became of a file: its result, whether it is new here, and what was corrected."""

    result: Result
    is_new: bool
    corrections: tuple[str, ...]


def export_json(result: Result) -> str:
    """The file that `paperround result import` reads elsewhere; ends with a line break."""
    data = {"id": result.id, **result.to_json()}
    return json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def import_result(
    connection: Connection, path: Path, rooms: Iterable[Room] = (), note: str = ""
) -> Imported:
    """What became of the file, in the caller's transaction. Imported twice, it is there once.

    `note` says where it comes from; the file's name unless given. Raises CardError for a file that
    is not a result or does not agree with itself, UsageError for one that cannot be read.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= FILE_LIMIT_BYTES else b""
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if size > FILE_LIMIT_BYTES:
        raise UsageError(f"{path}: {size >> 20} MB; a result has at most {FILE_LIMIT_BYTES >> 20}")
    try:
        foreign = read_foreign(data, rooms)
    except CardError as error:
        raise CardError(f"{path}: {error}") from error
    is_new = keep_result(
        connection, foreign.result, Origin.IMPORTED, note=(note or path.name)[:300]
    )
    return Imported(foreign.result, is_new, foreign.corrections)


def read_foreign(data: bytes, rooms: Iterable[Room] = ()) -> Foreign:
    """The result in an exported file, its verdicts computed here.

    `rooms` lends its card to a file without one, where the checksums say that it is the same.
    Raises CardError with the first thing that is wrong.
    """
    try:
        raw = json.loads(data, parse_constant=_refuse_constant)
        file = _File.model_validate_json(data, strict=True)
    except RecursionError as error:
        raise CardError("not a result: nested too deeply") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise CardError(f"not a result: {place}: {fault['msg']}") from error
    except ValueError as error:
        raise CardError(f"not a result: {error}") from error
    card = _card_of(file, rooms)
    if (file.paper, file.slug) != (card.paper, card.slug):
        raise CardError(f"it says that it is of {file.slug}, and its card is of {card.slug}")
    result = Result.from_events(
        card,
        file.scale,
        _events(file, card),
        status=file.status,
        reason=file.reason,
        started_at=file.started_at,
        seconds=file.seconds,
        seeds=file.seeds,
        environment=raw["environment"],
        card_sha256=file.card_sha256,
    )
    # As the file has them: the address is computed over the very same words.
    result = replace(result, card=raw.get("card"), seconds=raw["seconds"])
    if file.id is not None and file.id != result.id:
        raise CardError(
            f"its contents have the checksum {result.id[:12]}…, and it says {file.id[:12]}…: "
            "it was changed after it was exported"
        )
    said = {str(claim.get("id")): claim.get("verdict") for claim in file.claims}
    corrections = tuple(
        f"{claim.id}: the file says '{said[claim.id]}', its measurements say '{claim.verdict}'"
        for claim in result.claims
        if claim.id in said and said[claim.id] != claim.verdict.value
    )
    return Foreign(result, corrections)


def _card_of(file: _File, rooms: Iterable[Room]) -> Card:
    if file.card is None:
        for room in rooms:
            if room.slug == file.slug and room.card_sha256 == file.card_sha256:
                return room.card
        raise CardError(f"it carries no card, and no paper '{file.slug}' here has the one it names")
    try:
        card = Card.model_validate(file.card)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the card"
        raise CardError(f"its card cannot be read: {place}: {fault['msg']}") from error
    if card_sha256(card) != file.card_sha256:
        raise CardError(
            f"its card has the checksum {card_sha256(card)[:12]}…, "
            f"and it was measured with {file.card_sha256[:12]}…"
        )
    return card


def _events(file: _File, card: Card) -> Iterable[Event]:
    """The file's parts as the events that they were, each checked as it is in a live run."""
    kinds: tuple[tuple[str, list[dict[str, JsonValue]]], ...] = (
        ("stage-end", file.stages),
        ("measure", file.measurements),
        ("table", file.tables),
        ("series", file.series),
        ("sample", file.samples),
        ("note", [{"text": text} for text in file.notes]),
        ("asset", [{"name": name, "sha256": sha} for name, sha in file.assets.items()]),
    )
    for kind, parts in kinds:
        for part in parts:
            event: dict[str, Any] = {**part, "kind": kind}
            yield read_event(json.dumps(event).encode(), card, file.seeds)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON has")
