"""Ids of any usual type as JSON, and back exactly: a list, and beside it what it holds."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from paperround.errors import UsageError

_TO_TEXT: Mapping[type, Callable[[Any], str]] = {
    bytes: lambda value: value.hex(),
    datetime: lambda value: value.isoformat(),
    date: lambda value: value.isoformat(),
    UUID: str,
}
_FROM_TEXT: Mapping[str, Callable[[str], Hashable]] = {
    "bytes": bytes.fromhex,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "UUID": UUID,
}


def ids_to_json(ids: Sequence[Hashable]) -> list[Any]:
    """JSON-ready forms: text, numbers and truth values as they are, others as [type, text].

    Raises UsageError for an id of a type that does not come back as it was.
    """
    return [_to_json(value) for value in ids]


def ids_from_json(values: Sequence[Any]) -> list[Hashable]:
    """The ids that `ids_to_json` wrote."""
    return [_from_json(value) for value in values]


def _to_json(value: Hashable) -> Any:
    kind = type(value)
    if kind in (str, int, bool) or (kind is float and value == value):
        return value
    if kind is tuple:
        assert isinstance(value, tuple)
        return ["tuple", [_to_json(part) for part in value]]
    if kind in _TO_TEXT:
        return [kind.__name__, _TO_TEXT[kind](value)]
    raise UsageError(
        f"the id {value!r} of type {kind.__name__} cannot be saved; ids may be texts, numbers, "
        "dates, UUIDs, bytes, or tuples of these"
    )


def _from_json(value: Any) -> Hashable:
    if isinstance(value, list):
        kind, held = value
        return tuple(map(_from_json, held)) if kind == "tuple" else _FROM_TEXT[kind](held)
    return value
