"""A word that no paper has, and the nearest that some have: "recomender" finds recommenders."""

from collections.abc import Iterable, Mapping

from rapidfuzz import process
from rapidfuzz.distance import OSA

# A shorter word is near to too many others.
SHORTEST = 4
# A word that few papers have is as likely a slip of theirs.
IN_PAPERS = 3


def nearest(stem: str, vocabulary: Mapping[str, int]) -> str | None:
    """The stem of the vocabulary that it was most likely meant to be; None where none is near.

    One slip (a letter wrong, missing, too many, or two swapped) in a short word, two in one of
    eight letters or more. Of equally near ones, what most papers have. `vocabulary` says how many.
    """
    return nearest_of([(stem, vocabulary)])


def nearest_of(spellings: Iterable[tuple[str, Mapping[str, int]]]) -> str | None:
    """The same of several spellings, each with its own vocabulary; of equals the first one's."""
    found = [_near(word, vocabulary) for word, vocabulary in spellings]
    near = [(distance, place, word) for place, (distance, word) in enumerate(found) if word]
    return min(near)[2] if near else None


def _near(word: str, vocabulary: Mapping[str, int]) -> tuple[int, str]:
    if len(word) < SHORTEST or not word.isalpha():
        return 0, ""
    slips = 2 if len(word) >= 8 else 1
    found = process.extract(
        word, vocabulary.keys(), scorer=OSA.distance, score_cutoff=slips, limit=None
    )
    near = [
        (distance, -vocabulary[other], other) for other, distance, _ in found if other.isalpha()
    ]
    return (min(near)[0], min(near)[2]) if near else (0, "")
