"""Dictionaries: books made once from samples and shared, instead of stored with every text.

A text of a kilobyte cannot pay for its own codebook. Give both sides the same dictionary, and the
frame holds its number only.
"""

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np

from paperround.errors import UsageError
from paperround.papers.quasicryth.books import MAX_CODEBOOK, Books, build_books
from paperround.papers.quasicryth.container import DICTIONARY_ID_BYTES, pack, unpack
from paperround.papers.quasicryth.errors import DamagedError
from paperround.papers.quasicryth.words import is_text, split_case, split_words

_MAGIC = b"QCYD\x01"
_SIZE_BYTES = 4


class Dictionary:
    """The books of a dictionary. `id` are the eight bytes that a frame names it by."""

    def __init__(self, data: bytes) -> None:
        """Reads what `as_bytes` gave; raises DamagedError for anything else."""
        head = len(_MAGIC) + 2 * _SIZE_BYTES
        if data[: len(_MAGIC)] != _MAGIC or len(data) < head:
            raise DamagedError("this is not a dictionary of Quasicryth (it begins with 'QCYD')")
        size = int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + _SIZE_BYTES], "little")
        crc32 = int.from_bytes(data[len(_MAGIC) + _SIZE_BYTES : head], "little")
        if size > MAX_CODEBOOK:
            raise DamagedError("the dictionary is larger than any codebook")
        raw = unpack(data[head:], size)
        if zlib.crc32(raw) != crc32:
            raise DamagedError("the dictionary has a wrong checksum")
        self._raw = raw
        self.books = Books.from_bytes(raw)
        self.id = hashlib.blake2b(raw, digest_size=DICTIONARY_ID_BYTES).digest()

    @classmethod
    def train(cls, samples: Iterable[bytes | bytearray | memoryview]) -> "Dictionary":
        """The dictionary of the samples' frequent words and phrases.

        How large its books are follows from how many words the samples have together, as for one
        text. Raises UsageError where there is no sample with a byte in it.
        """
        lowered = []
        for sample in samples:
            data = np.frombuffer(bytes(sample), dtype=np.uint8)
            lowered.append(split_case(data)[0] if is_text(data) else data)
        text = np.concatenate(lowered) if lowered else np.empty(0, dtype=np.uint8)
        if not len(text):
            raise UsageError("a dictionary needs samples; these are empty")
        books, _ = build_books(split_words(text))
        return cls._from_books(books)

    @classmethod
    def _from_books(cls, books: Books) -> "Dictionary":
        raw = books.to_bytes()
        sizes = len(raw).to_bytes(_SIZE_BYTES, "little")
        return cls(_MAGIC + sizes + zlib.crc32(raw).to_bytes(_SIZE_BYTES, "little") + pack(raw))

    def as_bytes(self) -> bytes:
        """The dictionary to be kept in a file; `Dictionary(data)` reads it again."""
        sizes = len(self._raw).to_bytes(_SIZE_BYTES, "little")
        checksum = zlib.crc32(self._raw).to_bytes(_SIZE_BYTES, "little")
        return _MAGIC + sizes + checksum + pack(self._raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dictionary) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)
