"""What papers' rooms offer by name, and the options that such a thing is asked for with.

A room offers something by a module of a known name that has a mapping, as `recommender.py` with
`RECOMMENDERS` and `generator.py` with `GENERATORS`; it is imported when somebody asks, not before.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from paperround.errors import UsageError

ROOMS = "paperround.papers"


def offered(module: str, mapping: str) -> dict[str, Any]:
    """What all installed rooms have in that mapping of that module, rooms in alphabetical order."""
    found: dict[str, Any] = {}
    for _, name, _ in offering(module):
        found |= getattr(importlib.import_module(name), mapping)
    return found


def offering(module: str) -> Iterator[tuple[str, str, Path]]:
    """The rooms with a module of that name, in alphabetical order, none of them imported.

    Of each its slug, the module's whole name, and the folder in which it lies.
    """
    for point in sorted(entry_points(group=ROOMS), key=lambda point: point.name):
        name = f"{point.value}.{module}"
        try:
            # This imports the parent package, which costs nothing, and not the module itself.
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            # A room that was removed and not uninstalled; `paperround papers` names it.
            continue
        if spec is not None and spec.origin is not None:
            yield point.name, name, Path(spec.origin).parent


def completed(name: str, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of what has that name, the given ones in the place of the defaults.

    Raises UsageError for an option that is not there, and for a value of another type than the
    default's; None is every option's, and a default of None takes anything.
    """
    if unknown := sorted(set(options) - set(defaults)):
        known = ", ".join(defaults) or "none"
        raise UsageError(f"{name} has no option {unknown[0]!r}; its options are {known}")
    for option, value in options.items():
        default = defaults[option]
        if default is not None and value is not None and not _fits(value, default):
            raise UsageError(f"{name}: {option} is {type(default).__name__}, not {value!r}")
    return {**defaults, **options}


def option_from_text(text: str) -> Any:
    """What a person typed for an option: JSON where it is some, else the text itself."""
    try:
        return json.loads(text)
    # Also a number of more digits than Python reads.
    except ValueError:
        return text


def options_from_texts(texts: Iterable[str]) -> dict[str, Any]:
    """What `--set NAME=VALUE`, given any number of times, asks for. Raises UsageError without =."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not '{text}'")
        options[name] = option_from_text(value)
    return options


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))
