"""Search by words: what a person typed becomes an FTS5 expression, and papers ranked by bm25.

The person's text never reaches FTS5 as syntax: it is cut into words and phrases here, and each goes
in as a quoted string. A paper need not hold every word; the more, and the rarer, the better it
ranks. What stands "in quotes" must occur. Highlights are in `highlights.py`.
"""

import re
import unicodedata
from dataclasses import dataclass

from sqlalchemy import Connection

from paperround.catalogue.records import PaperId
from paperround.discovery import queries

# Of title, abstract and authors; chosen on SciFact's training queries, see benchmarks/search.py.
WEIGHTS = (3.0, 1.0, 0.5)
# FTS5 reads the list of papers of every word: a pasted page must not cost seconds.
MAX_WORDS = 32

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
    quoted_words = [_quoted(word) for word in query.words]
    if not query.phrases:
        return " OR ".join(quoted_words)
    required = phrases_expression(query)
    if not quoted_words:
        return required
    # A phrase that is required anyway stands among the alternatives too: the words then add to
    # the rank of a paper with the phrase and are not demanded of it.
    return f"({required}) AND ({' OR '.join([_quoted(query.phrases[0]), *quoted_words])})"


def phrases_expression(query: WordQuery) -> str:
    """The FTS5 expression that demands every phrase of a query that has some."""
    return " AND ".join(_quoted(phrase) for phrase in query.phrases)


def rank_by_words(connection: Connection, query: WordQuery, n: int) -> list[tuple[PaperId, float]]:
    """The n best papers with their bm25 scores, best first; none for an empty query."""
    if not query:
        return []
    return queries.ids_by_words(connection, match_expression(query), WEIGHTS, n)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
