"""Search by words: what a person typed becomes an FTS5 expression, and papers ranked by bm25.

The person's text never reaches FTS5 as syntax: it is cut into words and phrases here, and each goes
in as a quoted string. A paper need not hold every word; the more, and the rarer, the better it
ranks. What stands "in quotes" must occur. Highlights are in `highlights.py`.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from paperround.catalogue.records import PaperId
from paperround.discovery import queries

# Of title, abstract and authors; where they were chosen stands in benchmarks/search.py.
WEIGHTS = (3.0, 1.0, 0.5)
# FTS5 reads the list of papers of every word: a pasted page must not cost seconds.
MAX_WORDS = 32
# So many matches are ranked before a query's common words alone no longer make a match.
ENOUGH_PAPERS = 3000

# The words that nearly every abstract holds: they cost most and say least.
# fmt: off
_STOP_WORDS = frozenset({
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but",
    "by", "can", "could", "did", "do", "does", "for", "from", "had", "has", "have", "how", "i",
    "if", "in", "into", "is", "it", "its", "may", "more", "most", "no", "not", "of", "on",
    "one", "or", "other", "our", "should", "so", "some", "such", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "under", "use", "used",
    "using", "was", "we", "were", "what", "when", "where", "whether", "which", "while", "who",
    "why", "will", "with", "within", "would", "you", "your",
})
# fmt: on
# What unicode61 makes tokens of: letters and digits of any script. Each goes in alone: on SciFact's
# training queries "state-space" as two words found more than as a phrase (nDCG@10 .705, .695).
_WORD = re.compile(r"[^\W_]+")
_PAIR_OF_QUOTES = re.compile(r'["“”„]([^"“”„]*)["“”„]')


@dataclass(frozen=True)
class WordQuery:
    """What is searched for: words of which the more the better, and phrases that must occur.

    `cut` says that words beyond the limit were left out.
    """

    words: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    cut: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to search for."""
        return bool(self.words or self.phrases)

    def without_quotes(self) -> "WordQuery":
        """The same with the words of its phrases as plain words."""
        return parse(" ".join((*self.words, *self.phrases)))


def parse(query: str) -> WordQuery:
    """The words and quoted phrases of any text; an unpaired quotation mark is a space.

    Stop words are left out where other words remain.
    """
    query = unicodedata.normalize("NFC", printable(query))
    phrases = [
        " ".join(phrase.split())
        for phrase in _PAIR_OF_QUOTES.findall(query)
        if _WORD.search(phrase)
    ]
    words = _WORD.findall(_PAIR_OF_QUOTES.sub(" ", query))
    telling = [word for word in words if word.casefold() not in _STOP_WORDS]
    if telling or phrases:
        words = telling
    first_of = {word.casefold(): word for word in reversed(words)}
    words = [word for word in dict.fromkeys(words) if first_of[word.casefold()] == word]
    phrases = list(dict.fromkeys(phrases))
    n_phrases = min(len(phrases), MAX_WORDS)
    n_words = MAX_WORDS - n_phrases
    return WordQuery(
        tuple(words[:n_words]),
        tuple(phrases[:n_phrases]),
        cut=len(phrases) > n_phrases or len(words) > n_words,
    )


def printable(text: str) -> str:
    """The text without what SQLite and the tokenizers stumble on: controls and lone surrogates."""
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Cs") else character for character in text
    )


def match_expression(query: WordQuery) -> str:
    """The FTS5 expression of a query that is not empty."""
    if not query.phrases:
        return _any_of(query.words)
    required = phrases_expression(query)
    if not query.words:
        return required
    # A phrase that is required anyway stands among the alternatives too: the words then add to
    # the rank of a paper with the phrase and are not demanded of it.
    return f"({required}) AND ({_any_of([query.phrases[0], *query.words])})"


def phrases_expression(query: WordQuery) -> str:
    """The FTS5 expression that demands every phrase of a query that has some."""
    return " AND ".join(_quoted(phrase) for phrase in query.phrases)


def rank_by_words(connection: Connection, query: WordQuery, n: int) -> list[tuple[PaperId, float]]:
    """The n best papers with their bm25 scores, best first; none for an empty query.

    FTS5 scores every paper that matches, and most papers of a large catalogue hold some common
    word of a query. Where more than 3,000 match, a paper must therefore hold one of the rarest
    words, as many of them as are needed for 3,000 matches; the common words still add to its score.
    """
    if not query:
        return []
    expression = match_expression(query)
    enough = max(ENOUGH_PAPERS, 2 * n)
    if not query.phrases and queries.count_matching(connection, expression) > enough:
        rare = _rarest(connection, query.words, enough)
        if len(rare) < len(query.words):
            expression = f"({_any_of(rare)}) AND ({expression})"
    return queries.ids_by_words(connection, expression, WEIGHTS, n)


def _rarest(connection: Connection, words: Sequence[str], enough: int) -> list[str]:
    """The rarest words, up to the one with which `enough` papers have one of them."""
    found_in = {word: queries.count_matching(connection, _quoted(word)) for word in words}
    rare: list[str] = []
    for word in sorted(words, key=lambda word: found_in[word]):
        rare.append(word)
        if queries.count_matching(connection, _any_of(rare)) >= enough:
            break
    return rare


def _any_of(words: Sequence[str]) -> str:
    return " OR ".join(map(_quoted, words))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
