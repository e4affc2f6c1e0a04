"""The rest of the pipeline around deduplication: repair, mix, shuffle, hold out, decontaminate.

Steps 1, 8 and 9 of SlimPajama's pipeline, and a report on what a mixture is made of.
"""

import hashlib
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paperround.errors import MissingExtraError, UsageError
from paperround.papers.slimpajama_dc.deduplicator import MinHashDeduplicator
from paperround.papers.slimpajama_dc.minhash import clean_text

# The paper's pipeline: 20 piles, seed 42, 0.17 % of the documents each for validation and test.
PILES = 20
SHUFFLE_SEED = 42
HOLDOUT_SHARE = 0.0017


def repair_text(text: str) -> str:
    """The text with mojibake mended and in NFC: the pipeline's first step, by ftfy.

    Raises MissingExtraError where ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError as error:
        raise MissingExtraError('repair_text needs ftfy: pip install "paperround[papers]"') from (
            error
        )
    return ftfy.fix_text(text, normalization="NFC")


def sha256(text: str) -> bytes:
    """The SHA-256 of a text as it stands, by which hold-out documents are recognised."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def decontaminate(
    train: Iterable[str], holdout: Iterable[str], key: Callable[[str], Hashable] = sha256
) -> list[str]:
    """The training documents whose key no hold-out document has, in their order.

    With the default key only exact copies go, as in the paper;
    `key=lambda text: sha256(clean_text(text))` also drops those that differ in case, punctuation
    or spaces.
    """
    held = {key(text) for text in holdout}
    return [text for text in train if key(text) not in held]


def split_holdout(
    docs: Sequence[str], share: float = HOLDOUT_SHARE, seed: int = SHUFFLE_SEED
) -> tuple[list[str], list[str], list[str]]:
    """Training, validation and test documents; `share` of all, rounded up, each for the last two.

    Training documents that are exact copies of held-out ones are dropped, so that the three may
    hold fewer documents than came in. Raises UsageError where no training document would be left.
    """
    if not 0.0 < share < 0.5:
        raise UsageError(f"share is {share}; it must be above 0 and below 0.5")
    n = int(np.ceil(share * len(docs)))
    if len(docs) <= 2 * n:
        raise UsageError(f"{len(docs)} documents are too few to hold out 2 x {n}")
    order = list(range(len(docs)))
    random.Random(seed).shuffle(order)
    validation, test = [docs[i] for i in order[:n]], [docs[i] for i in order[n : 2 * n]]
    rest = [docs[i] for i in sorted(order[2 * n :])]
    return decontaminate(rest, validation + test), validation, test


def mix(
    sources: Mapping[str, Sequence[str]],
    weights: Mapping[str, float],
    n_tokens: int,
    seed: int,
    count_tokens: Callable[[str], int] = len,
) -> Iterator[tuple[str, str]]:
    """Documents as (source, text), drawn until they hold `n_tokens` tokens together.

    A source comes with a probability proportional to its weight times its number of documents:
    weights multiply documents, not tokens, as in the paper's pipeline; with weights of 1 the
    mixture is the natural one. Inside a source documents come in random order without repeats; one
    that is exhausted starts again in another order. `count_tokens` counts characters unless told
    otherwise. Raises UsageError for unknown, missing or negative weights and for empty sources.
    """
    if odd := weights.keys() ^ sources.keys():
        raise UsageError(f"weights and sources differ in {', '.join(sorted(odd))}")
    if n_tokens < 1:
        raise UsageError(f"n_tokens is {n_tokens}; it must be at least 1")
    for name, weight in weights.items():
        if not (np.isfinite(weight) and weight >= 0.0):
            raise UsageError(f"the weight of '{name}' is {weight}; it must not be negative")
        if weight > 0.0 and not any(count_tokens(text) for text in sources[name]):
            raise UsageError(f"the source '{name}' holds no tokens")
    shares = {name: weights[name] * len(sources[name]) for name in sources}
    if not sum(shares.values()):
        raise UsageError("all weights are 0; nothing can be drawn")
    return _drawn(sources, shares, n_tokens, seed, count_tokens)


def _drawn(
    sources: Mapping[str, Sequence[str]],
    shares: Mapping[str, float],
    n_tokens: int,
    seed: int,
    count_tokens: Callable[[str], int],
) -> Iterator[tuple[str, str]]:
    rng = random.Random(seed)
    waiting: dict[str, list[str]] = {name: [] for name in sources}
    names, drawn = list(shares), 0
    while drawn < n_tokens:
        name = rng.choices(names, weights=list(shares.values()))[0]
        if not waiting[name]:
            waiting[name] = list(sources[name])
            rng.shuffle(waiting[name])
        text = waiting[name].pop()
        drawn += count_tokens(text)
        yield name, text


def two_pass_shuffle(
    docs: Iterable[str], piles: int = PILES, seed: int = SHUFFLE_SEED, folder: Path | None = None
) -> Iterator[str]:
    """The documents in random order, with one pile of them in memory at a time.

    The first pass deals them at random into `piles` files under `folder` (a temporary one unless
    given), the second shuffles each file in memory. Raises UsageError for fewer than one pile.
    """
    if piles < 1:
        raise UsageError(f"piles is {piles}; it must be at least 1")
    rng = random.Random(seed)
    with ExitStack() as stack:
        inside = stack.enter_context(tempfile.TemporaryDirectory(prefix="shuffle-", dir=folder))
        paths = [Path(inside, f"{i}.jsonl") for i in range(piles)]
        with ExitStack() as files:
            opened = [files.enter_context(path.open("w", encoding="utf-8")) for path in paths]
            for text in docs:
                # Escaped, so that any text is one line, lone surrogates included.
                opened[rng.randrange(piles)].write(json.dumps(text) + "\n")
        for path in paths:
            pile = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            rng.shuffle(pile)
            yield from pile


@dataclass(frozen=True)
class MixtureReport:
    """What the sources of a mixture have in common. Rows and columns follow `sources`.

    `kl_nats[i, j]` is the divergence KL(i || j) of the word frequencies: how badly a unigram model
    of source j fits source i. `duplicates[i, j]` counts documents of source i that global
    deduplication drops for one of source j; `documents` counts those of each source.
    """

    sources: tuple[str, ...]
    documents: tuple[int, ...]
    kl_nats: NDArray[np.float64]
    duplicates: NDArray[np.int64]


def mixture_report(
    texts_by_source: Mapping[str, Sequence[str]],
    deduplicator: MinHashDeduplicator | None = None,
    tokenize: Callable[[str], Iterable[str]] = lambda text: clean_text(text).split(),
    smoothing: float = 0.5,
) -> MixtureReport:
    """How alike the sources are, by word frequencies and by shared documents.

    `smoothing` is added to the count of every word of the joint vocabulary: without it a word that
    one source lacks makes the divergence infinite. `deduplicator` is fitted here and must be of
    global scope; by default the paper's. Raises UsageError.
    """
    if smoothing <= 0.0:
        raise UsageError(f"smoothing is {smoothing}; it must be above 0")
    dedup = deduplicator or MinHashDeduplicator()
    if dedup.scope != "global":
        raise UsageError("the report compares sources; the deduplicator's scope must be 'global'")
    names = tuple(texts_by_source)
    counts = [
        Counter(token for text in texts_by_source[name] for token in tokenize(text))
        for name in names
    ]
    vocabulary = sorted(set().union(*counts)) if counts else []
    table = np.array([[c[word] for word in vocabulary] for c in counts], dtype=np.float64)
    p = (table + smoothing) / (table + smoothing).sum(axis=1, keepdims=True)
    # KL(i || j) = sum_w p_i(w) (log p_i(w) - log p_j(w))
    cross = p @ np.log(p).T
    kl = np.diag(cross)[:, None] - cross
    dedup.fit(
        (text for name in names for text in texts_by_source[name]),
        sources=(name for name in names for _ in texts_by_source[name]),
    )
    duplicates = np.zeros((len(names), len(names)), dtype=np.int64)
    for (dropped, kept), n in dedup.source_matrix().items():
        duplicates[names.index(dropped), names.index(kept)] = n
    return MixtureReport(
        names, tuple(len(texts_by_source[name]) for name in names), np.maximum(kl, 0.0), duplicates
    )
