"""Samples as a person wants to see them: texts with their differences marked, images in a grid."""

import base64
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from paperround.runs.images import png_size
from paperround.runs.reproduction import Event

# Texts that have less than this in common are two texts, and not one with changes.
_ALIKE = 0.4
# Comparing takes time that grows with the square.
_MAX_WORDS = 4_000
# Smaller images than this are enlarged, in squares.
_SMALL_PX = 96


@dataclass(frozen=True)
class Span:
    """A piece of a text, and whether the other text has it otherwise."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Image:
    """An image's address and its size in pixels."""

    src: str
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        """Whether it is shown larger than it is."""
        return max(self.width, self.height) <= _SMALL_PX


@dataclass(frozen=True)
class Part:
    """A text as spans, or images. `note` says how a text compares to the one before it."""

    label: str
    spans: tuple[Span, ...]
    images: tuple[Image, ...]
    note: str


@dataclass(frozen=True)
class ShownSample:
    """One sample of a result."""

    title: str
    parts: tuple[Part, ...]
    note: str


def shown_samples(events: Sequence[Event], result_id: str | None = None) -> list[ShownSample]:
    """The samples of a result as they are shown.

    Images are addressed by their number within the result; without `result_id`, while the run is
    under way, they are in the page itself.
    """
    shown, number = [], 0
    for event in events:
        parts = []
        texts = [part["text"] for part in event["parts"] if "text" in part]
        seen = 0
        for part in event["parts"]:
            spans: tuple[Span, ...] = ()
            note = ""
            images = []
            if "text" in part:
                # Each text against the one before it; of two, the first against the second too.
                beside = texts[seen - 1] if seen else texts[1] if len(texts) == 2 else None
                spans, note = _compared(beside, part["text"])
                note = note if seen else ""
                seen += 1
            for png in part_images(part):
                images.append(_image(png, result_id, number))
                number += 1
            parts.append(Part(part["label"], spans, tuple(images), note))
        shown.append(ShownSample(event["title"], tuple(parts), event["note"]))
    return shown


def part_images(part: Event) -> list[str]:
    """The images of a sample's part, in base64: one, several, or none of a text."""
    return [part["png"]] if "png" in part else list(part.get("pngs", ()))


def result_images(events: Sequence[Event]) -> list[str]:
    """All images of a result's samples, in base64, in the order of their numbers."""
    return [png for event in events for part in event["parts"] for png in part_images(part)]


@lru_cache(maxsize=256)
def _compared(other: str | None, text: str) -> tuple[tuple[Span, ...], str]:
    """The text with what differs from the other marked, and what to say of it."""
    plain = (Span(text, False),)
    if other is None:
        return plain, ""
    if text == other:
        return plain, "the same text"
    before, after = _words(other), _words(text)
    if len(before) > _MAX_WORDS or len(after) > _MAX_WORDS:
        return plain, "too long to mark the differences"
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return plain, ""
    spans = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            spans.append(Span("".join(after[start:end]), kind != "equal"))
    return tuple(spans), "what differs is marked"


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _image(png: str, result_id: str | None, number: int) -> Image:
    width, height = png_size(base64.b64decode(png))
    src = (
        f"/results/{result_id}/images/{number}.png" if result_id else f"data:image/png;base64,{png}"
    )
    return Image(src, width, height)
