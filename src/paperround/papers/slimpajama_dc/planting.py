"""Copies planted among real documents, with known truth: what a deduplicator should find.

Of every source, 10 % of the documents get an exact copy beside them, 10 % a near copy (random words
exchanged until the Jaccard similarity of the shingles is about 0.95, 0.9, 0.8 or 0.6; the true
value is measured and kept), 10 % an exact copy in another source, and 2 % a mirror in another
source: the same text in other lines and capitals. No document is copied twice.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paperround.papers.slimpajama_dc.minhash import NGRAM, char_shingles, clean_text

Kind = Literal["exact", "near", "cross", "mirror"]

SHARES: dict[Kind, float] = {"exact": 0.10, "near": 0.10, "cross": 0.10, "mirror": 0.02}
NEAR_TARGETS = (0.95, 0.9, 0.8, 0.6)


@dataclass(frozen=True)
class Document:
    """A document of a source. Ids are distinct within a corpus."""

    id: str
    source: str
    text: str


@dataclass(frozen=True)
class Copy:
    """A planted copy: of which document, how, and how similar (true Jaccard similarity)."""

    id: str
    original: str
    kind: Kind
    jaccard: float


def near_copy(text: str, target: float, words: Sequence[str], rng: random.Random) -> str:
    """The text with words exchanged for others until about `target` of its shingles stay common.

    A Jaccard similarity of J means that (1 - J) / (1 + J) of either text's shingles are its own.
    """
    tokens = clean_text(text).split()
    starts = np.cumsum([0, *(len(token) + 1 for token in tokens)])
    touched = np.zeros(max(int(starts[-1]) - NGRAM, 1), dtype=bool)
    for i in rng.sample(range(len(tokens)), len(tokens)):
        if touched.mean() >= (1.0 - target) / (1.0 + target):
            break
        # Every shingle that reaches into the exchanged word changes.
        touched[max(int(starts[i]) - NGRAM + 1, 0) : int(starts[i]) + len(tokens[i])] = True
        tokens[i] = rng.choice([word for word in rng.sample(words, 4) if word != tokens[i]])
    return " ".join(tokens)


def shingle_jaccard(ours: set[str], text: str) -> float:
    """The Jaccard similarity of a set of shingles and a text's; for one text against many."""
    theirs = set(char_shingles(text))
    shared = len(ours & theirs)
    return shared / max(len(ours) + len(theirs) - shared, 1)


def frequent_words(documents: Sequence[Document]) -> list[str]:
    """Distinct words of the documents, the 5,000 most frequent ones: what is put into copies."""
    counts = Counter(word for doc in documents for word in clean_text(doc.text).split())
    return [word for word, _ in counts.most_common(5_000)]


def plant(
    documents: Sequence[Document], words: Sequence[str], seed: int
) -> tuple[list[Document], list[Copy]]:
    """The documents with their copies among them, in random order, and the truth about each copy.

    Raises ValueError when there are fewer than two sources: no other one to copy into.
    """
    rng = random.Random(seed)
    sources = sorted({doc.source for doc in documents})
    if len(sources) < 2:
        raise ValueError("copies in another source need at least two sources")
    corpus, copies = list(documents), list[Copy]()
    for source in sources:
        own = [doc for doc in documents if doc.source == source]
        rng.shuffle(own)
        total = len(own)
        for kind, share in SHARES.items():
            n = round(share * total)
            chosen, own = own[:n], own[n:]
            for i, original in enumerate(chosen):
                copy, jaccard = _copied(original, kind, NEAR_TARGETS[i % 4], words, sources, rng)
                corpus.append(copy)
                copies.append(Copy(copy.id, original.id, kind, jaccard))
    rng.shuffle(corpus)
    return corpus, copies


def _copied(
    original: Document,
    kind: Kind,
    target: float,
    words: Sequence[str],
    sources: Sequence[str],
    rng: random.Random,
) -> tuple[Document, float]:
    source = original.source
    if kind in ("cross", "mirror"):
        source = rng.choice([other for other in sources if other != source])
    text, jaccard = original.text, 1.0
    if kind == "near":
        text = near_copy(original.text, target, words, rng)
        jaccard = shingle_jaccard(set(char_shingles(original.text)), text)
    elif kind == "mirror":
        # Another site's layout: one line per sentence, everything in capitals, the same words.
        text = original.text.upper().replace(". ", ".\n\n")
        jaccard = shingle_jaccard(set(char_shingles(original.text)), text)
    return Document(f"{original.id}+{kind}", source, text), jaccard
