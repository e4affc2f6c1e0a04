"""A word that no paper has, and the nearest that some have: "recomender" finds recommenders."""

from collections.abc import Mapping

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
    if len(stem) < SHORTEST or not stem.isalpha():
        return None
    slips = 2 if len(stem) >= 8 else 1
    found = process.extract(
        stem, vocabulary.keys(), scorer=OSA.distance, score_cutoff=slips, limit=None
    )
    near = [(distance, -vocabulary[word], word) for word, distance, _ in found if word.isalpha()]
    return min(near)[2] if near else None
