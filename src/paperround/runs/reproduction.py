"""The object that a paper's `reproduce(run)` gets, and the events that it emits.

A reproduction returns nothing and prints nothing: it calls `run.measure`, `run.stage` and so on,
and each call becomes one event, a JSON-ready dict. Where events go is the caller's choice: a pipe
to the worker (`child.py`), a list in a test.
"""

import base64
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paperround.errors import CardError
from paperround.kit.assets import find_asset
from paperround.runs.card import Card, Scale
from paperround.runs.images import ALL_IMAGES_LIMIT_BYTES, png_of

Event = dict[str, Any]
Number = float | int
Cell = str | float | int | bool | None

# A stage that advances a million times must not send a million events.
_PROGRESS_INTERVAL_S = 0.1


class Stage:
    """The part of a run that is under way; `advance` moves its progress."""

    def __init__(self, name: str, total: int | None, emit: Callable[[Event], None]) -> None:
        self._name, self._total, self._emit = name, total, emit
        self._done, self._sent_at = 0, 0.0

    def advance(self, n: int = 1) -> None:
        """Counts `n` more of the stage's total as done."""
        self._done += int(n)
        now = time.monotonic()
        if now - self._sent_at >= _PROGRESS_INTERVAL_S or self._done == self._total:
            self._sent_at = now
            self._emit(
                {"kind": "progress", "stage": self._name, "done": self._done, "total": self._total}
            )


class Run:
    """One execution of a reproduction, as the reproduction sees it.

    `scale` says how large, `seeds` is all the randomness there is, `scratch` is an empty folder
    that is thrown away afterwards, `threads` how many processor threads the run may use.
    """

    def __init__(
        self,
        card: Card,
        scale: Scale,
        seeds: Sequence[int],
        scratch: Path,
        emit: Callable[[Event], None],
        threads: int = 2,
    ) -> None:
        self.card, self.scale, self.seeds = card, Scale(scale), tuple(seeds)
        self.scratch, self.threads = scratch, threads
        self._emit = emit
        self._image_bytes = 0

    def asset(self, name: str) -> Path:
        """The folder of an asset, its checksums verified.

        Raises CardError when the card does not name the asset for this scale (the worker fetches
        what the card names before the run's time starts), AssetError when it cannot be had.
        """
        if name not in self.card.scales[self.scale].assets:
            raise CardError(
                f"{self.card.slug}: the card does not name the asset '{name}' at {self.scale}; "
                f"add it to assets in [scales.{self.scale}]"
            )
        found = find_asset(name)
        self._emit({"kind": "asset", "name": name, "sha256": found.sha256})
        return found.folder

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """A named part of the run, with `total` steps where the number is known.

        Use as `with run.stage("train", total=epochs) as stage: ... stage.advance()`.
        """
        total = None if total is None else int(total)
        self._emit({"kind": "stage", "stage": name, "total": total})
        started = time.monotonic()
        yield Stage(name, total, self._emit)
        seconds = round(time.monotonic() - started, 3)
        self._emit({"kind": "stage-end", "stage": name, "seconds": seconds})

    def measure(
        self,
        claim: str,
        value: Number,
        *,
        baseline: Number | None = None,
        seed: int | None = None,
    ) -> None:
        """One measured value for a claim of the card.

        `baseline` is what the claim's baseline gave in this same run, in the unit of `value` or of
        the figure that `value` compares. `seed` is the one of `run.seeds` that gave the value.
        Raises CardError for an unknown claim, a value that is not finite, or a foreign seed.
        """
        self.card.claim(claim)
        for what, number in (("value", value), ("baseline", baseline)):
            if number is not None and not math.isfinite(number):
                raise CardError(f"{self.card.slug}: the {what} of '{claim}' is {number}")
        if seed is not None and seed not in self.seeds:
            raise CardError(f"{self.card.slug}: '{claim}' names seed {seed}, not one of the run's")
        self._emit(
            {
                "kind": "measure",
                "claim": claim,
                "value": float(value),
                "baseline": None if baseline is None else float(baseline),
                # A seed that went through NumPy is no `int` to JSON.
                "seed": None if seed is None else int(seed),
            }
        )

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], note: str = ""
    ) -> None:
        """A table for the paper's page. Numbers stay numbers; each row has a cell per column."""
        cells = [[_plain(cell) for cell in row] for row in rows]
        if uneven := [row for row in cells if len(row) != len(columns)]:
            raise CardError(f"table '{title}': {uneven[0]} does not have {len(columns)} cells")
        self._emit(
            {"kind": "table", "title": title, "columns": list(columns), "rows": cells, "note": note}
        )

    def series(
        self,
        title: str,
        lines: Mapping[str, Sequence[tuple[Number, Number]]],
        *,
        x_label: str,
        y_label: str,
        x_log: bool = False,
        y_log: bool = False,
        note: str = "",
    ) -> None:
        """A chart: named lines of (x, y) points, with what the axes show and in which unit."""
        points = {name: [[float(x), float(y)] for x, y in line] for name, line in lines.items()}
        for name, line in points.items():
            if not all(math.isfinite(number) for point in line for number in point):
                raise CardError(
                    f"chart '{title}': the line '{name}' has a point that is not finite"
                )
        self._emit(
            {
                "kind": "series",
                "title": title,
                "lines": points,
                "x_label": x_label,
                "y_label": y_label,
                "x_log": x_log,
                "y_log": y_log,
                "note": note,
            }
        )

    def sample(self, title: str, parts: Mapping[str, Any], note: str = "") -> None:
        """Something a person wants to see: named texts or images, side by side.

        A part is a text, an image, or a list of images, which is shown as a grid. An image is PNG
        as bytes or an array (`images.png_of`). Of texts, the differences are marked. Raises
        CardError for an image above 1 MiB, or where the run's images pass 12 MiB together.
        """
        shown: list[dict[str, Any]] = []
        for label, part in parts.items():
            if isinstance(part, str):
                shown.append({"label": label, "text": part})
                continue
            several = isinstance(part, list | tuple)
            try:
                pngs = [png_of(image) for image in (part if several else [part])]
            except CardError as error:
                raise CardError(f"sample '{title}': '{label}': {error}") from error
            self._image_bytes += sum(map(len, pngs))
            if self._image_bytes > ALL_IMAGES_LIMIT_BYTES:
                raise CardError(
                    f"sample '{title}': the run's images have more than "
                    f"{ALL_IMAGES_LIMIT_BYTES >> 20} MiB together"
                )
            texts = [base64.b64encode(png).decode("ascii") for png in pngs]
            shown.append({"label": label, **({"pngs": texts} if several else {"png": texts[0]})})
        self._emit({"kind": "sample", "title": title, "parts": shown, "note": note})

    def note(self, text: str) -> None:
        """A sentence that a reader of the result should know."""
        self._emit({"kind": "note", "text": text})


def _plain(cell: Any) -> Cell:
    if cell is None or isinstance(cell, str | bool | int):
        return cell
    number = float(cell)
    # JSON has no NaN; an empty cell says "no value" to every reader of the file.
    return number if math.isfinite(number) else None
