"""MinHash signatures and their bands: from a text to the keys under which near copies meet.

The steps are SlimPajama's (steps 2, 3 and 5 of its pipeline), the signatures those of datasketch
2.0, bit for bit: `signature(text)` equals `datasketch.MinHash(num_perm=128, seed=1)` updated with
every shingle; `scheme="legacy"` gives those of datasketch 1.x, with which the paper's data set was
made. Needs numpy only. `deduplicator.py` builds on this; a catalogue can call it record by record.
"""

import hashlib
import string
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.papers.slimpajama_dc.sha1 import sha1_32

Unit = Literal["char", "word"]
Scheme = Literal["affine32", "legacy"]
Signature = NDArray[np.uint32]

# The paper's pipeline: 13-grams of characters, 128 permutations, 9 bands of 13 rows.
NGRAM = 13
NUM_PERM = 128
SEED = 1
BANDS, ROWS = 9, 13
MIN_CHARS = 200

# What an empty set has in every place: no shingle has lowered it.
EMPTY_VALUE = np.uint32(0xFFFFFFFF)

_MERSENNE_PRIME = np.uint64((1 << 61) - 1)
_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
# So many characters are hashed together, and so many hashes permuted by one call of numpy: large
# enough that the calls cost little, small enough that a piece stays in a core's cache.
_BATCH_CHARS = 262_144
_PIECE = 65_536


def clean_text(text: str) -> str:
    """The text as it is compared: NFC, lower case, no ASCII punctuation, single spaces.

    Idempotent. Only ASCII punctuation goes, as in the paper's pipeline: typographic quotes stay.
    """
    lowered = unicodedata.normalize("NFC", text).lower().translate(_DELETE_PUNCTUATION)
    # Deleting a quote can put a combining accent behind a letter, so the form is settled again.
    return unicodedata.normalize("NFC", " ".join(lowered.split()))


def char_shingles(text: str, n: int = NGRAM) -> list[str]:
    """Every run of `n` characters of the cleaned text, in order, with repeats.

    Empty when the cleaned text has fewer than `n` characters.
    """
    _check_ngram(n)
    clean = clean_text(text)
    return [clean[i : i + n] for i in range(len(clean) - n + 1)]


def word_shingles(text: str, n: int = NGRAM) -> list[str]:
    """Every run of `n` words of the cleaned text, joined by single spaces, in order, with repeats.

    What many re-implementations call 13-grams; scripts without spaces have no words to speak of.
    """
    _check_ngram(n)
    words = clean_text(text).split(" ") if clean_text(text) else []
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


def true_jaccard(a: str, b: str, ngram: int = NGRAM, unit: Unit = "char") -> float:
    """The Jaccard similarity of the two texts' shingle sets, 0..1; 0 when either set is empty."""
    shingles = _shingles_of(unit)
    ours, theirs = set(shingles(a, ngram)), set(shingles(b, ngram))
    if not ours or not theirs:
        return 0.0
    shared = len(ours & theirs)
    return shared / (len(ours) + len(theirs) - shared)


def signature(
    text: str,
    *,
    num_perm: int = NUM_PERM,
    ngram: int = NGRAM,
    unit: Unit = "char",
    seed: int = SEED,
    scheme: Scheme = "affine32",
) -> Signature:
    """The MinHash signature of a text's shingles: uint32, (num_perm,).

    A text with fewer than `ngram` characters (words) has no shingles; its signature is all
    `EMPTY_VALUE`, for which `band_keys` gives no keys. Raises UsageError for wrong parameters.
    """
    return signatures([text], num_perm=num_perm, ngram=ngram, unit=unit, seed=seed, scheme=scheme)[
        0
    ]


def signatures(
    texts: Sequence[str],
    *,
    num_perm: int = NUM_PERM,
    ngram: int = NGRAM,
    unit: Unit = "char",
    seed: int = SEED,
    scheme: Scheme = "affine32",
    cleaned: bool = False,
) -> Signature:
    """The signatures of many texts: uint32, (texts, num_perm). Much faster than one by one.

    `cleaned=True` says that the texts have been through `clean_text` already.
    """
    if isinstance(texts, str):
        raise UsageError("texts is one string; give a list of texts")
    _check_ngram(ngram)
    _shingles_of(unit)
    a, b = permutations(num_perm, seed, scheme)
    clean = texts if cleaned else [clean_text(text) for text in texts]
    found = np.empty((len(texts), num_perm), dtype=np.uint32)
    for start, batch in _batches(clean):
        hashes, bounds = _shingle_hashes(batch, ngram, unit)
        if scheme == "affine32":
            hashes = _murmur_finalizer(hashes)
        found[start : start + len(batch)] = _least_permuted(hashes, bounds, a, b, scheme)
    return found


@lru_cache(maxsize=16)
def permutations(
    num_perm: int = NUM_PERM, seed: int = SEED, scheme: Scheme = "affine32"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The factors and offsets of datasketch's permutations: (num_perm,) each.

    `affine32` is datasketch 2's own: h -> a h + b mod 2^32, a odd. `legacy` is that of 1.x:
    h -> (a h + b mod 2^61 - 1) mod 2^32, in arithmetic that wraps at 2^64 as it did there.
    """
    if num_perm < 1:
        raise UsageError(f"num_perm is {num_perm}; it must be at least 1")
    random = np.random.RandomState(seed)
    if scheme == "affine32":
        a = random.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        b = random.randint(0, 1 << 32, num_perm, dtype=np.uint32)
    elif scheme == "legacy":
        top = int(_MERSENNE_PRIME)
        pairs = [
            (random.randint(1, top, dtype=np.uint64), random.randint(0, top, dtype=np.uint64))
            for _ in range(num_perm)
        ]
        a, b = np.array(pairs, dtype=np.uint64).T
    else:
        raise UsageError(f"scheme is {scheme!r}; write 'affine32' or 'legacy'")
    a.flags.writeable = b.flags.writeable = False
    return a, b


def estimate_jaccard(a: Signature, b: Signature) -> float:
    """The estimated Jaccard similarity of two texts: the share of equal places, 0..1.

    Unbiased; its standard deviation is sqrt(s (1 - s) / num_perm). Two texts without shingles are
    not alike: 0. Raises UsageError for signatures of different lengths.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise UsageError(f"signatures of shapes {a.shape} and {b.shape} cannot be compared")
    return float(np.mean((a == b) & (a != EMPTY_VALUE)))


def candidate_probability(s: float, bands: int = BANDS, rows: int = ROWS) -> float:
    """How likely two texts of Jaccard similarity `s` share a band: 1 - (1 - s^rows)^bands."""
    _check_bands(bands, rows, bands * rows)
    if not 0.0 <= s <= 1.0:
        raise UsageError(f"a Jaccard similarity is between 0 and 1, not {s}")
    return float(1.0 - (1.0 - s**rows) ** bands)


@lru_cache(maxsize=64)
def optimal_bands(threshold: float, num_perm: int = NUM_PERM) -> tuple[int, int]:
    """Bands and rows whose curve errs least around the threshold; (9, 13) for 0.8 and 128.

    The error is the area of false positives below the threshold plus that of false negatives
    above it, with equal weights, as datasketch has it; ties go to fewer bands, then fewer rows.
    """
    if not 0.0 <= threshold <= 1.0:
        raise UsageError(f"threshold is {threshold}; a Jaccard similarity is between 0 and 1")
    if num_perm < 1:
        raise UsageError(f"num_perm is {num_perm}; it must be at least 1")
    # Gauss-Legendre with n nodes is exact up to degree 2n - 1; the curve has degree bands * rows.
    nodes, weights = np.polynomial.legendre.leggauss(num_perm // 2 + 1)
    below = (nodes + 1.0) / 2.0 * threshold
    above = threshold + (nodes + 1.0) / 2.0 * (1.0 - threshold)
    best, least = (1, 1), np.inf
    for bands in range(1, num_perm + 1):
        for rows in range(1, num_perm // bands + 1):
            false_positives = threshold / 2.0 * weights @ (1.0 - (1.0 - below**rows) ** bands)
            false_negatives = (1.0 - threshold) / 2.0 * weights @ (1.0 - above**rows) ** bands
            error = float(false_positives + false_negatives)
            if error < least:
                best, least = (bands, rows), error
    return best


def band_keys(signature: Signature, bands: int = BANDS, rows: int = ROWS) -> list[bytes]:
    """One key of 16 bytes per band; two texts that share any key are candidates for copies.

    A key is a BLAKE2b digest of the band's number and its values in big-endian order, so that keys
    of all bands can stand in one table; by 128 bits, two different bands meet under one key once
    in about 10^19 documents. A text without shingles has no keys: it is nobody's copy. Values
    beyond bands * rows are unused (11 of 128 with the paper's 9 x 13).
    """
    signature = np.asarray(signature)
    _check_bands(bands, rows, len(signature))
    if (signature == EMPTY_VALUE).all():
        return []
    values = signature[: bands * rows].astype(">u4").tobytes()
    width = 4 * rows
    return [
        hashlib.blake2b(
            values[band * width : (band + 1) * width], digest_size=16, salt=band.to_bytes(4, "big")
        ).digest()
        for band in range(bands)
    ]


def _shingle_hashes(
    cleaned: Sequence[str], ngram: int, unit: Unit
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The SHA1-32 of every shingle of every text, and where each text's begin: (texts + 1,)."""
    starts: list[NDArray[np.int64]] = []
    ends: list[NDArray[np.int64]] = []
    pieces: list[bytes] = []
    offset = 0
    for text in cleaned:
        # A lone surrogate (JSON can carry one) must neither stop a corpus nor be dropped.
        raw = text.encode("utf-8", "surrogatepass")
        begin, end = _unit_bounds(raw, text, unit)
        starts.append(begin[: max(len(begin) - ngram + 1, 0)] + offset)
        ends.append(end[ngram - 1 :] + offset)
        pieces.append(raw)
        offset += len(raw)
    bounds = np.cumsum([0, *(len(each) for each in starts)], dtype=np.int64)
    return sha1_32(b"".join(pieces), np.concatenate(starts), np.concatenate(ends)), bounds


def _unit_bounds(raw: bytes, text: str, unit: Unit) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first byte of every character (word), and the byte after its last."""
    if unit == "char" and len(raw) == len(text):
        first = np.arange(len(raw), dtype=np.int64)
        return first, first + 1
    data = np.frombuffer(raw, dtype=np.uint8)
    if unit == "char":
        # Continuation bytes of UTF-8 are 10xxxxxx; all others begin a character.
        first = np.flatnonzero((data & 0xC0) != 0x80)
    else:
        spaces = np.flatnonzero(data == ord(" "))
        first = np.concatenate([[0], spaces + 1]) if len(raw) else np.empty(0, dtype=np.int64)
        return first, np.append(spaces, len(raw))[: len(first)]
    return first, np.append(first[1:], len(raw))[: len(first)]


def _murmur_finalizer(h: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's 32-bit finalizer, with which datasketch 2 mixes a hash before permuting it."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def _least_permuted(
    hashes: NDArray[np.uint32],
    bounds: NDArray[np.int64],
    a: NDArray[Any],
    b: NDArray[Any],
    scheme: Scheme,
) -> Signature:
    """Every text's minimum under every permutation: (texts, num_perm).

    The hashes of many texts stand side by side, so that one call of numpy serves them all; a long
    text is cut into pieces, since the minimum of minima is the minimum.
    """
    least = np.full((len(a), len(bounds) - 1), EMPTY_VALUE, dtype=np.uint32)
    values = hashes if scheme == "affine32" else hashes.astype(np.uint64)
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        first = np.clip(bounds[:-1] - start, 0, len(piece))
        # Texts that have no shingle in this piece would make reduceat return a neighbour's value.
        inside = np.flatnonzero(np.clip(bounds[1:] - start, 0, len(piece)) > first)
        permuted = np.empty_like(piece)
        for k in range(len(a)):
            np.multiply(piece, a[k], out=permuted)
            np.add(permuted, b[k], out=permuted)
            if scheme == "legacy":
                np.remainder(permuted, _MERSENNE_PRIME, out=permuted)
                np.bitwise_and(permuted, np.uint64(EMPTY_VALUE), out=permuted)
            minima = np.minimum.reduceat(permuted, first[inside]).astype(np.uint32)
            least[k, inside] = np.minimum(least[k, inside], minima)
    return least.T


def _batches(cleaned: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Runs of texts of about `_BATCH_CHARS` together, each with the index of its first."""
    start, chars = 0, 0
    for i, text in enumerate(cleaned):
        chars += len(text)
        if chars >= _BATCH_CHARS:
            yield start, cleaned[start : i + 1]
            start, chars = i + 1, 0
    if start < len(cleaned):
        yield start, cleaned[start:]


def _shingles_of(unit: str) -> Any:
    if unit not in ("char", "word"):
        raise UsageError(f"unit is {unit!r}; write 'char' or 'word'")
    return char_shingles if unit == "char" else word_shingles


def _check_ngram(n: int) -> None:
    if n < 1:
        raise UsageError(f"ngram is {n}; a shingle has at least one character or word")


def _check_bands(bands: int, rows: int, num_perm: int) -> None:
    if bands < 1 or rows < 1:
        raise UsageError(f"bands and rows must be at least 1, not {bands} and {rows}")
    if bands * rows > num_perm:
        raise UsageError(
            f"{bands} bands of {rows} rows need {bands * rows} values; the signature has {num_perm}"
        )
