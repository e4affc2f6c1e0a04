"""Embeddings of benchmark texts, computed once: they take hours where searching takes seconds."""

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paperround.discovery.embedding import MODEL, load_embedder
from paperround.settings import get_settings

_AT_A_TIME = 512


def embedded(name: str, texts: Sequence[str], *, budget_s: float) -> npt.NDArray[np.float32] | None:
    """One unit-length row per text, shape (len(texts), 384); None where the budget does not reach.

    What is computed is kept in the cache under the text's hash, so that the next call goes on.
    """
    path = get_settings().cache_dir / "benchmarks" / f"{name}.{MODEL}.npz"
    known = _read(path)
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    missing = [place for place, digest in enumerate(digests) if digest not in known]
    started = time.monotonic()
    if missing:
        model = load_embedder()
    for start in range(0, len(missing), _AT_A_TIME):
        if time.monotonic() - started > budget_s:
            print(f"{name}: {len(missing) - start:,} texts are left to embed", file=sys.stderr)
            return None
        places = missing[start : start + _AT_A_TIME]
        rows = model.embed([texts[place] for place in places]).astype(np.float16)
        known |= {digests[place]: row for place, row in zip(places, rows, strict=True)}
        _write(path, known)
    return np.stack([known[digest] for digest in digests]).astype(np.float32)


def _read(path: Path) -> dict[bytes, npt.NDArray[np.float16]]:
    if not path.is_file():
        return {}
    with np.load(path) as kept:
        return {bytes(d): row for d, row in zip(kept["digests"], kept["rows"], strict=True)}


def _write(path: Path, known: dict[bytes, npt.NDArray[np.float16]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digests = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, 32)
    draft = path.with_suffix(".draft.npz")
    np.savez(draft, digests=digests, rows=np.stack(list(known.values())))
    draft.replace(path)
