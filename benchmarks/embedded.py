"""Embeddings of benchmark texts, computed once: they take hours where searching takes seconds."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paperround.discovery.embedding import MODEL, load_embedder, text_sha256
from paperround.settings import get_settings

_AT_A_TIME = 512

Rows = npt.NDArray[np.float16]


def embedded(
    name: str, texts: Sequence[str], *, budget_s: float
) -> tuple[npt.NDArray[np.float32], int]:
    """Unit-length rows of the first texts, (n, 384), and n: all, or as many as the budget reaches.

    What is computed is kept in the cache under the text's hash, so that the next call goes on.
    """
    path = _path(name)
    there = known(name)
    digests = [text_sha256(text) for text in texts]
    missing = [place for place, digest in enumerate(digests) if digest not in there]
    started = time.monotonic()
    if missing and budget_s > 0:
        model = load_embedder()
    for start in range(0, len(missing), _AT_A_TIME):
        if time.monotonic() - started > budget_s:
            print(f"{name}: {len(missing) - start:,} texts are left to embed", file=sys.stderr)
            break
        places = missing[start : start + _AT_A_TIME]
        rows = model.embed([texts[place] for place in places]).astype(np.float16)
        there |= {digests[place]: row for place, row in zip(places, rows, strict=True)}
        _write(path, there)
    n = next((place for place, digest in enumerate(digests) if digest not in there), len(texts))
    first = [there[digest] for digest in digests[:n]]
    return np.array(first, dtype=np.float32).reshape(n, -1), n


def known(name: str) -> dict[bytes, Rows]:
    """Every row that the cache holds under that name, by its text's SHA-256."""
    path = _path(name)
    if not path.is_file():
        return {}
    with np.load(path) as kept:
        return {bytes(d): row for d, row in zip(kept["digests"], kept["rows"], strict=True)}


def _path(name: str) -> Path:
    return get_settings().cache_dir / "benchmarks" / f"{name}.{MODEL}.npz"


def _write(path: Path, there: dict[bytes, Rows]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digests = np.frombuffer(b"".join(there), dtype=np.uint8).reshape(-1, 32)
    draft = path.with_suffix(".draft.npz")
    np.savez(draft, digests=digests, rows=np.stack(list(there.values())))
    draft.replace(path)
