"""What a person typed, read: words, phrases in quotes, what must not occur, and filters.

    "exact phrase"   -word   -"phrase"   author:hinton   cat:cs.CL   org:"Google DeepMind"
    year:2024   year:2024..2026   year:..2019   has:code   source:openreview   title:"…"
    runs:yes   verdict:holds

A filter in front of which stands a minus keeps those papers out. What is no filter, or a filter
with a value that it cannot have, is words: nothing that is typed is an error.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Field = Literal["author", "title", "cat", "org", "year", "has", "source", "runs", "verdict"]

# Other words that people know from elsewhere.
_FIELDS: dict[str, Field] = {
    "author": "author", "au": "author",
    "title": "title", "ti": "title",
    "cat": "cat", "category": "cat",
    "org": "org", "organisation": "org", "organization": "org",
    "year": "year",
    "has": "has",
    "source": "source",
    "runs": "runs",
    "verdict": "verdict",
}  # fmt: skip
HAS = ("code", "model", "dataset", "project", "pdf")
RUNS = ("yes", "no")
VERDICTS = ("holds", "falls-short", "not-measured")
_VALUES: dict[Field, tuple[str, ...]] = {"has": HAS, "runs": RUNS, "verdict": VERDICTS}

# Every word costs a look-up: a pasted page must not cost seconds.
MAX_PARTS = 64

# The words that nearly every abstract holds: they cost most and say least.
# fmt: off
STOP_WORDS = frozenset({
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but",
    "by", "can", "could", "did", "do", "does", "for", "from", "had", "has", "have", "how", "i",
    "if", "in", "into", "is", "it", "its", "may", "more", "most", "no", "not", "of", "on",
    "one", "or", "other", "our", "should", "so", "some", "such", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "under", "use", "used",
    "using", "was", "we", "were", "what", "when", "where", "whether", "which", "while", "who",
    "why", "will", "with", "within", "would", "you", "your",
})
# fmt: on

_QUOTES = '"“”„'
_PART = re.compile(
    rf"""(?P<minus>-)?
         (?:(?P<field>[A-Za-z]+):)?
         (?: [{_QUOTES}](?P<phrase>[^{_QUOTES}]*)[{_QUOTES}] | (?P<word>[^\s{_QUOTES}]+) )""",
    re.VERBOSE,
)
WORD = re.compile(r"[^\W_]+")
_YEARS = re.compile(r"(\d{4})?(\.\.)?(\d{4})?")


@dataclass(frozen=True)
class Part:
    """One piece of a query: a word, a phrase, or a filter (`field` says which)."""

    # As it was typed, minus and field and all, to show and to leave out.
    typed: str
    value: str
    field: Field | None = None
    is_phrase: bool = False
    is_excluded: bool = False

    @property
    def years(self) -> tuple[int | None, int | None]:
        """First and last year of a `year:`, both included; None where it is open."""
        first, to, last = _years(self.value) or (None, "", None)
        return (first, last) if to else (first, first)

    @property
    def is_required(self) -> bool:
        """Whether a paper without it is no answer: a filter or a phrase."""
        return self.is_phrase or self.field is not None or self.is_excluded


@dataclass(frozen=True)
class Query:
    """A query in parts. `cut` says that there were more than are searched for."""

    parts: tuple[Part, ...]
    cut: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to search for."""
        return bool(self.parts)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of which the more the better, each once; stop words only where all are."""
        words = [
            word for part in self.parts if not part.is_required for word in WORD.findall(part.value)
        ]
        telling = [word for word in words if word.casefold() not in STOP_WORDS]
        if telling or any(part.is_required for part in self.parts):
            words = telling
        once: dict[str, str] = {}
        for word in words:
            once.setdefault(word.casefold(), word)
        # One part may hold many words: "a-b-c".
        return tuple(once.values())[:MAX_PARTS]

    @property
    def phrases(self) -> tuple[str, ...]:
        """What must occur word for word."""
        return tuple(
            part.value
            for part in self.parts
            if part.is_phrase and part.field is None and not part.is_excluded
        )

    @property
    def excluded(self) -> tuple[str, ...]:
        """Words and phrases that must not occur."""
        return tuple(part.value for part in self.parts if part.is_excluded and part.field is None)

    @property
    def filters(self) -> tuple[Part, ...]:
        """The parts that are filters."""
        return tuple(part for part in self.parts if part.field is not None)

    @property
    def required(self) -> tuple[Part, ...]:
        """The parts without which a paper is no answer."""
        return tuple(part for part in self.parts if part.is_required)

    @property
    def meaning(self) -> str:
        """What is searched for by meaning: the query in its order, without filters and minuses."""
        return " ".join(
            part.value for part in self.parts if part.field is None and not part.is_excluded
        )

    @property
    def typed(self) -> str:
        """The query as it would be typed again."""
        return " ".join(part.typed for part in self.parts)

    def without(self, part: Part) -> "Query":
        """The same without that part."""
        return Query(tuple(other for other in self.parts if other is not part), self.cut)

    def with_word(self, word: str, instead: str) -> "Query":
        """The same with another word in a word's place."""
        whole = re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", re.IGNORECASE)
        return Query(
            tuple(
                part
                if part.is_required
                else Part(whole.sub(instead, part.typed), whole.sub(instead, part.value))
                for part in self.parts
            ),
            self.cut,
        )

    def without_quotes(self) -> "Query":
        """The same with the words of its phrases as plain words."""
        return Query(
            tuple(
                Part(part.value, part.value)
                if part.is_phrase and part.field is None and not part.is_excluded
                else part
                for part in self.parts
            ),
            self.cut,
        )


def parse(text: str) -> Query:
    """The query that a text is; any text is one. An unpaired quotation mark is a space."""
    text = unicodedata.normalize("NFC", printable(text))
    parts: dict[tuple[str, str], Part] = {}
    cut = False
    position = 0
    while found := _PART.search(text, position):
        position = found.end()
        for part in _parts(
            found, at_word=found.start() > 0 and not text[found.start() - 1].isspace()
        ):
            if len(parts) >= MAX_PARTS:
                cut = True
                break
            parts.setdefault((part.typed.casefold(), part.value.casefold()), part)
    query = Query(tuple(parts.values()), cut)
    words = (WORD.findall(part.value) for part in query.parts if not part.is_required)
    n_words = len({word.casefold() for found in words for word in found})
    return query if n_words <= MAX_PARTS else Query(query.parts, cut=True)


def printable(text: str) -> str:
    """The text without what databases and tokenizers stumble on: controls and lone surrogates."""
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Cs") else character for character in text
    )


def _parts(found: re.Match[str], at_word: bool) -> list[Part]:
    """The part that a match is, or its words where it is none; a minus inside a word is none."""
    is_phrase = found["phrase"] is not None
    value = " ".join((found["phrase"] if is_phrase else found["word"]).split())
    minus = found["minus"] is not None and not at_word
    if not WORD.search(value):
        return []
    field = _FIELDS.get((found["field"] or "").lower())
    if field is not None:
        meant = _value(field, value)
        if meant is not None:
            # What does not run is all but what runs.
            excluded = minus != (field == "runs" and meant == "no")
            return [Part(found[0], meant, field, is_phrase, excluded)]
    if found["field"] and not is_phrase:
        value = f"{found['field']}:{value}"
    if minus:
        return [Part(found[0], value, None, is_phrase, True)]
    if is_phrase:
        named = [Part(found["field"], found["field"])] if found["field"] else []
        return [*named, Part(f'"{value}"', value, None, True)]
    return [Part(value, value)]


def _value(field: Field, value: str) -> str | None:
    """The value as the filter has it; None where it can have no such value."""
    if field in _VALUES:
        lowered = value.lower().replace(" ", "-")
        return lowered if lowered in _VALUES[field] else None
    if field == "year":
        return value if _years(value) else None
    if field in ("cat", "source"):
        return value.lower()
    return value


def _years(value: str) -> tuple[int | None, str, int | None] | None:
    found = _YEARS.fullmatch(value)
    if found is None or not (found[1] or found[3]) or (found[1] and found[3] and not found[2]):
        return None
    if found[3] and not found[2]:
        return None
    first, last = (int(year) if year else None for year in (found[1], found[3]))
    return first, found[2] or "", last
