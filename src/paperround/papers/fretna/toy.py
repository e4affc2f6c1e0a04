"""A toy language for the quick scale: every text has one translation, and the verb waits.

A source clause is "a subject verb a object", its translation "subject object verb": as long as
the object has not come, the verb stands where it cannot stay, which is what makes re-translation
flicker. Articles follow the class of the noun that comes after them.
"""

import random
from typing import NamedTuple

from paperround.kit.translation import Pair


class Noun(NamedTuple):
    """A noun, its translation, and that one's class."""

    source: str
    target: str
    kind: str


_NOUNS = (
    Noun("dog", "taru", "o"),
    Noun("cat", "miso", "a"),
    Noun("bird", "pelu", "o"),
    Noun("child", "neka", "a"),
    Noun("king", "doma", "o"),
    Noun("fox", "rilu", "a"),
    Noun("horse", "gaso", "o"),
    Noun("fish", "vemi", "a"),
)
_VERBS = {"sees": "lat", "finds": "mor", "likes": "sit", "calls": "ver", "draws": "kun"}
_ARTICLES = {"o": "lo", "a": "la"}
_AND = ("and", "ke")


def toy_pairs(
    n: int, seed: int, *, most_clauses: int = 2, without: frozenset[str] = frozenset()
) -> list[Pair]:
    """That many different pairs of one clause up to `most_clauses`, none of them in `without`."""
    rng = random.Random(f"toy language {seed}")
    pairs: dict[str, Pair] = {}
    while len(pairs) < n:
        clauses = [_clause(rng) for _ in range(rng.randint(1, most_clauses))]
        pair = Pair(
            *(
                f" {word} ".join(side) + " ."
                for word, side in zip(_AND, zip(*clauses, strict=True), strict=True)
            )
        )
        if pair.source not in without:
            pairs.setdefault(pair.source, pair)
    return list(pairs.values())


def _clause(rng: random.Random) -> Pair:
    subject, thing = rng.choice(_NOUNS), rng.choice(_NOUNS)
    verb = rng.choice(list(_VERBS))
    return Pair(
        f"a {subject.source} {verb} a {thing.source}",
        f"{_with_article(subject)} {_with_article(thing)} {_VERBS[verb]}",
    )


def _with_article(noun: Noun) -> str:
    return f"{_ARTICLES[noun.kind]} {noun.target}"
