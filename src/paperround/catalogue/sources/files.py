"""Files that sources read: plain or packed, told by their first bytes, and never read ahead."""

import bz2
import codecs
import gzip
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from paperround.catalogue.records import Rejected
from paperround.errors import UsageError

# What reading a packed or broken file can raise; what came before it was read well.
READ_ERRORS = (EOFError, OSError, lzma.LZMAError, zlib.error, zstandard.ZstdError)
# No one item of a source makes sense beyond this.
MAX_ITEM_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 16
_SPACE = re.compile(r"[\s\ufeff]*")


def check_files(source: str, arguments: Sequence[str]) -> None:
    """Raises UsageError unless the arguments are files that are there, or - for standard input."""
    if not arguments:
        raise UsageError(f"{source} takes files, or - for standard input")
    for name in arguments:
        if name != "-" and not Path(name).is_file():
            raise UsageError(f"{name}: there is no such file")


def open_files(arguments: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Each file unpacked, one open at a time, with the name to tell its places by.

    The name is empty where there is one file only.
    """
    for name in arguments:
        shown = Path(name).name if len(arguments) > 1 else ""
        with _opened(name) as stream:
            yield shown, stream


def some_of(stream: IO[bytes], size: int) -> bytes:
    """Some bytes of the stream, at most so many; none at its end.

    Where a packed file breaks off, what came before has been given: `read` would lose it.
    """
    return cast(BufferedReader, stream).read1(size)


def place_in(shown: str, place: str) -> str:
    """A place in a file, with the file's name where there are several."""
    return f"{shown}, {place}" if shown else place


def json_items(stream: IO[bytes], shown: str = "") -> Iterator[tuple[str, Any] | Rejected]:
    """The elements of a JSON list with their places, one by one; else the values one after another.

    The list is never held in memory. Where the text breaks, what came before has been read, and
    the break is refused with its place. Wrong letters cost the item that holds them.
    """
    reader = _JsonReader(stream)
    number = 0
    try:
        is_list = reader.begins_list()
        while reader.has_element(number) if is_list else reader.has_value():
            number += 1
            place = place_in(shown, f"item {number}")
            value = reader.value()
            if reader.is_broken and _holds_wrong_letters(value):
                yield Rejected(place, "not UTF-8")
            else:
                yield place, value
        reader.read_to_the_end()
    except READ_ERRORS as error:
        reason = f"{error}; what follows could not be read"
        yield Rejected(place_in(shown, f"item {number + 1}"), reason)
    except (ValueError, RecursionError) as error:
        reason = f"not JSON ({error}); what follows could not be read"
        yield Rejected(place_in(shown, f"item {max(number, 1)}"), reason)


def json_items_of(arguments: Sequence[str]) -> Iterator[tuple[str, Any] | Rejected]:
    """The same of all these files, one after the other."""
    for name, stream in open_files(arguments):
        yield from json_items(stream, name)


def _holds_wrong_letters(value: Any) -> bool:
    return "\\ufffd" in json.dumps(value)


class _JsonReader:
    """A text of JSON, decoded value by value from a stream of bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        # Whether any letter was wrong so far.
        self.is_broken = False
        self._json = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._is_at_end = False

    def begins_list(self) -> bool:
        """Whether the text is a list; its bracket is passed then."""
        if self._peek() != "[":
            return False
        self._at += 1
        return True

    def read_to_the_end(self) -> None:
        """Reads on behind a list: only at its end does a packed file show that it is whole."""
        while some_of(self._stream, _CHUNK_BYTES):
            pass

    def has_value(self) -> bool:
        """Whether anything but space follows."""
        return bool(self._peek())

    def has_element(self, number: int) -> bool:
        """Whether another element follows `number` of them; the comma before it is passed."""
        char = self._peek()
        if char == "]":
            return False
        if number:
            if char != ",":
                raise ValueError(f"a comma or ] is missing before {self._text[self._at :][:20]!r}")
            self._at += 1
        if not self._peek():
            raise ValueError("the list breaks off")
        return True

    def value(self) -> Any:
        """The value that stands here."""
        wanted = _CHUNK_BYTES
        self._peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
                # A number could go on behind what has been read so far.
                if end < len(self._text) or self._is_at_end:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if self._is_at_end:
                    raise ValueError(error.msg) from error
            if len(self._text) - self._at > MAX_ITEM_BYTES:
                raise ValueError(f"an item longer than {MAX_ITEM_BYTES >> 20} MiB")
            # Twice as much each time: a long item is not decoded again for every piece of it.
            self._read(wanted)
            wanted *= 2

    def _peek(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or self._is_at_end:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK_BYTES)

    def _read(self, size: int) -> None:
        self._text = self._text[self._at :]
        self._at = 0
        data = some_of(self._stream, size)
        self._is_at_end = not data
        text = self._decoder.decode(data, final=self._is_at_end)
        self.is_broken |= text.count("\ufffd") > data.count("\ufffd".encode())
        self._text += text


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield unpacked(cast(BufferedReader, sys.stdin.buffer))
        return
    with Path(name).open("rb") as file, unpacked(file) as stream:
        yield stream


def unpacked(file: BufferedReader) -> IO[bytes]:
    """The file's content: what .gz, .xz, .bz2 or .zst hold, else the file itself."""
    start = file.peek(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if start.startswith(b"\xfd7zXZ\x00"):
        return cast(IO[bytes], lzma.open(file))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(file))
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return cast(IO[bytes], BufferedReader(cast(RawIOBase, _ZstdFile(file))))
    return file


class _ZstdFile(RawIOBase):
    """What a zstandard file holds; it says so when it breaks off, which the library's own does not.

    It is fed in small pieces: a few bytes can be made to hold megabytes.
    """

    _PIECE_BYTES = 512

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._left = memoryview(b"")
        self._rest = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """How many bytes were written into the buffer; 0 at the end."""
        while not self._left:
            piece = self._rest or self._file.read(self._PIECE_BYTES)
            self._rest = b""
            if self._frame.eof:
                if not piece:
                    return 0
                # One frame can follow another.
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            if not piece:
                raise EOFError("the file ends before its end-of-stream marker")
            self._left = memoryview(self._frame.decompress(piece))
            if self._frame.eof:
                self._rest = self._frame.unused_data
        n = min(len(buffer), len(self._left))
        buffer[:n] = self._left[:n]
        self._left = self._left[n:]
        return n
