"""What may come out of a run: the shape of every event, checked where it arrives.

`reproduction.py` writes events inside the run's own process; from there they come as lines of JSON
on a pipe that the run's code could also write to by itself. So each line is checked here, against
the shapes below and against the card, before anything is stored or computed from it.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from paperround.errors import CardError
from paperround.runs.card import Card
from paperround.runs.images import decoded
from paperround.runs.reproduction import Cell, Event

# A grid of images is the largest thing that belongs into an event.
EVENT_LIMIT_BYTES = 4 << 20
ALL_EVENTS_LIMIT_BYTES = 32 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class _Stage(_Strict):
    kind: Literal["stage"]
    stage: str
    total: int | None


class _Progress(_Strict):
    kind: Literal["progress"]
    stage: str
    done: int
    total: int | None


class _StageEnd(_Strict):
    kind: Literal["stage-end"]
    stage: str
    seconds: float


class _Asset(_Strict):
    kind: Literal["asset"]
    name: str
    sha256: str


class _Measure(_Strict):
    kind: Literal["measure"]
    claim: str
    value: float
    baseline: float | None
    seed: int | None


class _Table(_Strict):
    kind: Literal["table"]
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str


class _Series(_Strict):
    kind: Literal["series"]
    title: str
    lines: dict[str, list[Annotated[list[float], Field(min_length=2, max_length=2)]]]
    x_label: str
    y_label: str
    x_log: bool
    y_log: bool
    note: str


class _TextPart(_Strict):
    label: str
    text: str


# Base64, so that a page may put it into a data address as it is.
_Png = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class _ImagePart(_Strict):
    label: str
    png: _Png


class _GridPart(_Strict):
    label: str
    pngs: Annotated[list[_Png], Field(min_length=1, max_length=400)]


class _Sample(_Strict):
    kind: Literal["sample"]
    title: str
    parts: list[_TextPart | _ImagePart | _GridPart]
    note: str


class _Note(_Strict):
    kind: Literal["note"]
    text: str


class _End(_Strict):
    """The last event of a process: `reason` is empty where all went well."""

    kind: Literal["end"]
    reason: str


_EVENT: TypeAdapter[_Strict] = TypeAdapter(
    Annotated[
        _Stage
        | _Progress
        | _StageEnd
        | _Asset
        | _Measure
        | _Table
        | _Series
        | _Sample
        | _Note
        | _End,
        Field(discriminator="kind"),
    ]
)


def read_event(line: bytes, card: Card, seeds: Collection[int]) -> Event:
    """The event in one line of JSON. Raises CardError with what is wrong with it, in one line."""
    if len(line) > EVENT_LIMIT_BYTES:
        raise CardError(f"an event is larger than {EVENT_LIMIT_BYTES >> 20} MB")
    try:
        event: Event = _EVENT.validate_json(line).model_dump()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        shown = line[:60].decode("utf-8", "replace")
        raise CardError(f"a broken event, {shown!r}: {fault['msg']}") from error
    if event["kind"] == "measure":
        card.claim(event["claim"])
        if event["seed"] is not None and event["seed"] not in seeds:
            raise CardError(f"'{event['claim']}' names seed {event['seed']}, not one of the run's")
    if event["kind"] == "table" and any(len(r) != len(event["columns"]) for r in event["rows"]):
        raise CardError(f"table '{event['title']}': a row does not have a cell per column")
    if event["kind"] == "sample":
        for part in event["parts"]:
            for image in [part["png"]] if "png" in part else part.get("pngs", ()):
                decoded(image)
    return event
