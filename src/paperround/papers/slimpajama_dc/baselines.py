"""What the deduplicator is compared with: exact hashes, datasketch, all pairs by brute force."""

import hashlib
from collections.abc import Sequence

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from paperround.papers.slimpajama_dc.minhash import NUM_PERM, SEED, char_shingles, clean_text
from paperround.papers.slimpajama_dc.planting import Document


def exact_hash_copies(corpus: Sequence[Document]) -> dict[str, str]:
    """Every copy's id with the first document of equal cleaned text, over all sources."""
    first: dict[bytes, str] = {}
    dropped = {}
    for doc in corpus:
        digest = hashlib.sha256(clean_text(doc.text).encode("utf-8", "surrogatepass")).digest()
        if digest in first:
            dropped[doc.id] = first[digest]
        else:
            first[digest] = doc.id
    return dropped


def datasketch_minhash(text: str) -> MinHash:
    """The sketch that datasketch makes of a text's shingles, filled the fastest way that it has."""
    sketch = MinHash(num_perm=NUM_PERM, seed=SEED)
    sketch.update_batch(shingle.encode("utf-8", "surrogatepass") for shingle in char_shingles(text))
    return sketch


def all_jaccard(texts: Sequence[str]) -> NDArray[np.float64]:
    """The true Jaccard similarity of every pair: (texts, texts)."""
    numbers: dict[str, int] = {}
    sets = [
        [numbers.setdefault(s, len(numbers)) for s in set(char_shingles(text))] for text in texts
    ]
    sizes = np.array([len(own) for own in sets])
    columns = np.concatenate([np.array(own, dtype=np.int64) for own in sets])
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    table = csr_array(
        (np.ones(len(columns), dtype=np.int32), columns, bounds), shape=(len(texts), len(numbers))
    )
    shared = (table @ table.T).toarray()
    return shared / np.maximum(sizes[:, None] + sizes[None, :] - shared, 1)


def components(n: int, pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    """The connected components of two or more of `n` documents."""
    ends = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    graph = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    groups = [frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return {group for group in groups if len(group) > 1}
