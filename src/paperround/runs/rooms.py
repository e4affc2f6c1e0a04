"""Runnable papers, found through the entry points `paperround.papers`; imports no paper's code."""

import difflib
import importlib
import importlib.util
import math
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path

from paperround.errors import CardError, NotFoundError
from paperround.runs.card import Card, card_sha256, read_card
from paperround.runs.reproduction import Run

GROUP = "paperround.papers"

_LOOK_INTERVAL_S = 2.0


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

    @property
    def generates(self) -> bool:
        """Whether `paperround generate --method SLUG` decodes by this room's method."""
        return (self.folder / "generator.py").is_file()

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


class InstalledRooms:
    """The rooms as they are installed at any moment, for a program that goes on for weeks.

    A package that is installed, changed or removed meanwhile shows within seconds. (One installed
    as editable shows after a restart: Python reads the paths of those when it starts.)
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        on_change: Callable[[Collection[Room]], None] = lambda rooms: None,
    ) -> None:
        self._monotonic, self._on_change = monotonic, on_change
        self._lock = threading.Lock()
        self._look_at = -math.inf
        self._state: object = None
        self._found: tuple[dict[str, Room], dict[str, str]] = ({}, {})

    def now(self) -> tuple[dict[str, Room], dict[str, str]]:
        """What `find_rooms` says; cheap, as long as nothing was installed or edited."""
        with self._lock:
            if self._monotonic() >= self._look_at:
                self._look_at = self._monotonic() + _LOOK_INTERVAL_S
                # Where a broken card lies is not known: as long as there is one, all are read.
                if self._found[1] or self._state_now() != self._state:
                    importlib.invalidate_caches()
                    self._found = find_rooms()
                    # Taken again: by now it is known which cards there are.
                    self._state = self._state_now()
                    self._on_change(self._found[0].values())
            return self._found

    def _state_now(self) -> object:
        cards = [room.folder / "card.toml" for room in self._found[0].values()]
        return [(str(path), _changed_at(path)) for path in [*map(Path, sys.path), *cards]]


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


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
