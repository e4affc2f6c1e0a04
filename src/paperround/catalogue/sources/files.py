"""Opening what a source is given: files, plain or compressed, and standard input."""

import gzip
import io
import lzma
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from paperround.errors import UsageError

# A line above this is no paper; reading it whole would be how a bad file fills the memory.
_LINE_LIMIT_BYTES = 16 << 20


def require_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, each a readable file or `-`. Raises UsageError before anything is read."""
    if not arguments:
        raise UsageError("name the file to read, or - for standard input")
    for argument in arguments:
        if argument != "-" and not Path(argument).is_file():
            raise UsageError(f"no file '{argument}'")
    return list(arguments)


def lines_of(argument: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 1, decompressed where its name says so.

    Raises UsageError where a compressed file is broken or a line is larger than any paper.
    """
    with _opened(argument) as file:
        number = 0
        try:
            while line := file.readline(_LINE_LIMIT_BYTES):
                number += 1
                if len(line) == _LINE_LIMIT_BYTES:
                    raise UsageError(f"{argument}: line {number} is larger than 16 MB; no paper is")
                yield number, line
        except (gzip.BadGzipFile, lzma.LZMAError, EOFError) as error:
            raise UsageError(f"{argument}: broken after line {number}: {error}") from error


def text_of(argument: str) -> str:
    """The whole text of a small file. Raises UsageError where it is not UTF-8."""
    with _opened(argument) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{argument} is not UTF-8 (byte {raw[error.start]:#04x} at {error.start}); "
            "save the page as UTF-8 text"
        ) from error


def _opened(argument: str) -> BinaryIO:
    if argument == "-":
        # A buffer of our own: closing it must not close the process's standard input.
        return io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
    path = Path(argument)
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    if path.suffix == ".xz":
        return lzma.open(path)  # type: ignore[return-value]
    return path.open("rb")
