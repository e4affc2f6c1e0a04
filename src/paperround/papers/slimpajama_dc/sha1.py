"""SHA-1 of many short messages at once, in numpy: the hash of every shingle of a batch.

A document of a thousand characters has about a thousand shingles, and a call of `hashlib` for each
costs several times what everything else in MinHash costs together. Shingles are short: up to 55
bytes fit one block of SHA-1, so the 80 rounds run over arrays, all shingles side by side. Longer
ones go to `hashlib`. FIPS 180-4, section 6.1; the names of the variables are the standard's.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

# One block is 64 bytes: the message, the byte 0x80, and its length in the last 8.
_LONGEST_IN_ONE_BLOCK = 55
# Messages hashed side by side: enough that the 1,500 calls of numpy per block cost little each.
_CHUNK = 32_768

_INITIAL = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_K = tuple(np.uint32(k) for k in (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6))
_ONE, _TWO, _FIVE, _27, _30, _31 = (np.uint32(n) for n in (1, 2, 5, 27, 30, 31))


def sha1_32(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The first four bytes, little-endian, of the SHA-1 of each `data[start:end]`.

    This is datasketch's `sha1_hash32` of each slice. `starts` and `ends` have one length; slices
    may overlap and may be empty.
    """
    hashes = np.empty(len(starts), dtype=np.uint32)
    lengths = ends - starts
    short = lengths <= _LONGEST_IN_ONE_BLOCK
    if short.all():
        _hash_short(data, starts, lengths, hashes)
        return hashes
    for i in np.flatnonzero(~short):
        digest = hashlib.sha1(data[starts[i] : ends[i]], usedforsecurity=False).digest()
        hashes[i] = int.from_bytes(digest[:4], "little")
    short_hashes = np.empty(int(short.sum()), dtype=np.uint32)
    _hash_short(data, starts[short], lengths[short], short_hashes)
    hashes[short] = short_hashes
    return hashes


def _hash_short(
    data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64], out: NDArray[np.uint32]
) -> None:
    # Reading past a short slice near the end of the data must find something to mask away.
    padded = np.frombuffer(data + bytes(_LONGEST_IN_ONE_BLOCK), dtype=np.uint8)
    for i in range(0, len(starts), _CHUNK):
        block = _blocks(padded, starts[i : i + _CHUNK], lengths[i : i + _CHUNK])
        out[i : i + _CHUNK] = _first_words(block)


def _blocks(
    padded: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """The padded message blocks as 16 big-endian words each: (16, messages)."""
    words = np.zeros((16, len(starts)), dtype=np.uint32)
    longest, shortest = int(lengths.max()), int(lengths.min())
    for k in range(longest):
        column = padded[starts + k].astype(np.uint32)
        if k >= shortest:
            column *= lengths > k
        column <<= np.uint32(24 - 8 * (k % 4))
        words[k // 4] |= column
    stops = np.uint32(0x80) << (24 - 8 * (lengths % 4)).astype(np.uint32)
    words[lengths // 4, np.arange(len(starts))] |= stops
    words[15] = (8 * lengths).astype(np.uint32)
    return words


def _first_words(w: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The first word of every message's digest, its bytes read little-endian; overwrites `w`."""
    n = w.shape[1]
    a, b, c, d, e = (np.full(n, value, dtype=np.uint32) for value in _INITIAL)
    f, g = np.empty(n, dtype=np.uint32), np.empty(n, dtype=np.uint32)
    for t in range(80):
        word = w[t % 16]
        if t >= 16:
            # W_t = rotl1(W_{t-3} ^ W_{t-8} ^ W_{t-14} ^ W_{t-16}), kept in a ring of 16
            np.bitwise_xor(word, w[(t - 3) % 16], out=word)
            np.bitwise_xor(word, w[(t - 8) % 16], out=word)
            np.bitwise_xor(word, w[(t - 14) % 16], out=word)
            np.right_shift(word, _31, out=f)
            np.left_shift(word, _ONE, out=word)
            np.bitwise_or(word, f, out=word)
        if t < 20:
            # Ch(b, c, d) = d ^ (b & (c ^ d))
            np.bitwise_xor(c, d, out=f)
            np.bitwise_and(b, f, out=f)
            np.bitwise_xor(d, f, out=f)
        elif 40 <= t < 60:
            # Maj(b, c, d) = (b & c) ^ (d & (b ^ c))
            np.bitwise_xor(b, c, out=f)
            np.bitwise_and(d, f, out=f)
            np.bitwise_and(b, c, out=g)
            np.bitwise_xor(f, g, out=f)
        else:
            # Parity(b, c, d) = b ^ c ^ d
            np.bitwise_xor(b, c, out=f)
            np.bitwise_xor(d, f, out=f)
        # e takes rotl5(a) + f + e + K_t + W_t and becomes the next a
        np.add(e, f, out=e)
        np.add(e, word, out=e)
        np.add(e, _K[t // 20], out=e)
        np.left_shift(a, _FIVE, out=f)
        np.right_shift(a, _27, out=g)
        np.bitwise_or(f, g, out=f)
        np.add(e, f, out=e)
        # b becomes rotl30(b), the next c
        np.left_shift(b, _30, out=f)
        np.right_shift(b, _TWO, out=b)
        np.bitwise_or(b, f, out=b)
        a, b, c, d, e = e, a, b, c, d
    np.add(a, np.uint32(_INITIAL[0]), out=a)
    return a.byteswap()
