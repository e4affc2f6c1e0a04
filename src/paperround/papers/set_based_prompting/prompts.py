r"""Prompts with sets in them: what is plain text, and which texts have no order.

    SetPrompt(["Which one flies?", set_of(["\n- stone", "\n- crow"]), "\nAnswer:"])

A member of a set is a text or again a prompt with sets. Written down, the three markers of the
authors' program separate the parts; `SetPrompt.parse` reads them and `marked` writes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Self, Union

START, SPLIT, END = "<|start_2d|>", "<|split_2d|>", "<|end_2d|>"
_MARKERS = (START, SPLIT, END)

Member = Union[str, "SetPrompt"]


@dataclass(frozen=True)
class SetPart:
    """Members without an order among each other. One that stands twice counts twice."""

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("a set has no member; leave the set out, or give it one")
        for place, member in enumerate(self.members):
            if isinstance(member, str):
                _require_no_marker(member, f"member {place + 1} of a set")
            elif not isinstance(member, SetPrompt):
                raise TypeError(
                    f"member {place + 1} of a set is a {type(member).__name__}, "
                    "not a text or a SetPrompt"
                )


def set_of(members: Iterable[Member]) -> SetPart:
    """The part of a prompt that holds these members as a set. Raises ValueError without any."""
    if isinstance(members, str):
        raise TypeError("set_of takes a list of texts, not one text; its letters are no members")
    return SetPart(tuple(members))


@dataclass(frozen=True)
class SetPrompt:
    """A prompt: plain texts and sets, in this order.

    Separators such as a newline belong at the beginning of each member: texts are tokenised one by
    one, so nothing may lean on a neighbour. Letters or numbers before options would bring their
    order back. Raises ValueError for a text that contains one of the markers.
    """

    parts: tuple[str | SetPart, ...]

    def __init__(self, parts: Iterable[str | SetPart]) -> None:
        object.__setattr__(self, "parts", (parts,) if isinstance(parts, str) else tuple(parts))
        for part in self.parts:
            if isinstance(part, str):
                _require_no_marker(part, "a text of the prompt")
            elif not isinstance(part, SetPart):
                raise TypeError(
                    f"a part of the prompt is a {type(part).__name__}; "
                    "write set_of([...]) for a set, or a text"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The prompt that a text with markers describes; sets may stand within members.

        Raises ValueError, with the marker's place in the text, where a set is not closed or a
        marker stands outside of one.
        """
        reader = _Reader(text)
        prompt = cls(reader.sequence())
        if reader.marker is not None:
            raise ValueError(
                f"{reader.marker} at character {reader.marker_at} stands outside of a set"
            )
        return prompt

    @property
    def sets(self) -> list[SetPart]:
        """All sets in reading order, those within members after the one that they stand in."""
        found = []
        for part in self.parts:
            if isinstance(part, SetPart):
                found.append(part)
                for member in part.members:
                    if isinstance(member, SetPrompt):
                        found += member.sets
        return found

    @property
    def text(self) -> str:
        """The plain text, with the members of each set one after another as they were given."""
        return "".join(_plain(part) for part in self.parts)

    def marked(self) -> str:
        """The text with markers; `SetPrompt.parse` reads it back."""
        return "".join(
            part
            if isinstance(part, str)
            else START + SPLIT.join(_marked(member) for member in part.members) + END
            for part in self.parts
        )

    def permuted(self, order: Sequence[int], part: int = 0) -> "SetPrompt":
        """The prompt with one set's members in another order; `order[i]` comes at place i.

        `part` counts the sets as `sets` lists them. Raises ValueError where the set does not exist
        or `order` is not a permutation of its members.
        """
        sets = self.sets
        if not 0 <= part < len(sets):
            raise ValueError(f"the prompt has {len(sets)} sets; there is no set {part}")
        n_members = len(sets[part].members)
        if sorted(order) != list(range(n_members)):
            raise ValueError(f"{list(order)} is not an order of {n_members} members, 0 to n - 1")
        return _permuted(self, count(), part, order)


def _permuted(
    prompt: SetPrompt, numbers: Iterator[int], part: int, order: Sequence[int]
) -> SetPrompt:
    parts: list[str | SetPart] = []
    for piece in prompt.parts:
        if isinstance(piece, str):
            parts.append(piece)
            continue
        number = next(numbers)
        members = [
            member if isinstance(member, str) else _permuted(member, numbers, part, order)
            for member in piece.members
        ]
        parts.append(
            SetPart(tuple(members[i] for i in order) if number == part else tuple(members))
        )
    return SetPrompt(parts)


def _plain(part: str | SetPart) -> str:
    if isinstance(part, str):
        return part
    return "".join(m if isinstance(m, str) else m.text for m in part.members)


def _marked(member: Member) -> str:
    return member if isinstance(member, str) else member.marked()


def _require_no_marker(text: str, what: str) -> None:
    for marker in _MARKERS:
        if marker in text:
            raise ValueError(
                f"{what} contains the marker {marker}, which would end or begin a set: "
                f"{text[:60]!r}; take it out, or use SetPrompt.parse if it is meant as one"
            )


class _Reader:
    """Reads a marked text from left to right; `marker` is the one that ended the last sequence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.marker: str | None = None
        self.marker_at = 0

    def sequence(self) -> list[str | SetPart]:
        """The parts up to a marker that does not begin a set, or to the end of the text."""
        parts: list[str | SetPart] = []
        while True:
            text = self._upto_marker()
            if text:
                parts.append(text)
            if self.marker != START:
                return parts
            parts.append(self._set(self.marker_at))

    def _set(self, opened_at: int) -> SetPart:
        members: list[Member] = []
        while True:
            parts = self.sequence()
            nested = any(isinstance(part, SetPart) for part in parts)
            members.append(SetPrompt(parts) if nested else "".join(map(str, parts)))
            if self.marker == END:
                return SetPart(tuple(members))
            if self.marker is None:
                raise ValueError(f"the set that begins at character {opened_at} has no {END}")

    def _upto_marker(self) -> str:
        """The text before the next marker, which is read as well."""
        places = [(at, m) for m in _MARKERS if (at := self._text.find(m, self._at)) >= 0]
        begin = self._at
        if not places:
            self.marker, self._at = None, len(self._text)
            return self._text[begin:]
        self.marker_at, self.marker = min(places)
        self._at = self.marker_at + len(self.marker)
        return self._text[begin : self.marker_at]
