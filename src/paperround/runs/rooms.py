"""Runnable papers, found through the entry points `paperround.papers`; imports no paper's code."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path

from paperround.errors import CardError, NotFoundError
from paperround.runs.card import Card, card_sha256, read_card
from paperround.runs.reproduction import Run

GROUP = "paperround.papers"


@dataclass(frozen=True)
class Room:
    """Where a runnable paper stands: its slug, its package, its folder."""

    slug: str
    package: str
    folder: Path

    @cached_property
    def card(self) -> Card:
        """The card, read once. Raises CardError."""
        card = read_card(self.folder / "card.toml")
        if card.slug != self.slug:
            raise CardError(
                f"{self.folder}: the entry point says '{self.slug}', the card '{card.slug}'"
            )
        return card

    @property
    def card_sha256(self) -> str:
        """The checksum of what the card measures as it stands now."""
        return card_sha256(self.card)

    @property
    def results_dir(self) -> Path:
        """The results that ship with the room, `<scale>.json` each."""
        return self.folder / "results"

    def reproduction(self) -> Callable[[Run], None]:
        """The room's `reproduce`. Imports the paper's code, and with it perhaps torch."""
        module = importlib.import_module(f"{self.package}.reproduction")
        reproduce: Callable[[Run], None] = module.reproduce
        return reproduce


def find_rooms() -> tuple[dict[str, Room], dict[str, str]]:
    """The rooms by slug in alphabetical order, and the broken ones with the reason.

    A broken room never hides the others: whoever lists papers shows the reason instead.
    """
    rooms: dict[str, Room] = {}
    broken: dict[str, str] = {}
    packages: dict[str, set[str]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        packages.setdefault(point.name, set()).add(point.value)
    for slug, names in packages.items():
        if len(names) > 1:
            # Taking one of them would show its results as the other's.
            broken[slug] = f"offered by several packages: {', '.join(sorted(names))}"
            continue
        try:
            rooms[slug] = _room(slug, next(iter(names)))
        # Looking for a package runs the packages around it, where anything may go wrong.
        except Exception as error:
            broken[slug] = str(error) or repr(error)
    return rooms, broken


def _room(slug: str, package: str) -> Room:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CardError(f"the package {package} cannot be found")
    room = Room(slug, package, Path(spec.origin).parent)
    _ = room.card
    return room


def find_room(slug: str) -> Room:
    """The room of that slug. Raises NotFoundError with near names, CardError if it is broken."""
    rooms, broken = find_rooms()
    if slug in broken:
        raise CardError(f"{slug}: {broken[slug]}")
    if slug not in rooms:
        near = difflib.get_close_matches(slug, rooms, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; see `paperround papers`"
        raise NotFoundError(f"no runnable paper '{slug}'{hint}")
    return rooms[slug]
