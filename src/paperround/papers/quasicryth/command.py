"""What `paperround quasicryth` does: one file in, one file out, by rename."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from paperround.errors import UsageError
from paperround.papers.quasicryth import qm56
from paperround.papers.quasicryth.codec import Compressor, Decompressor
from paperround.papers.quasicryth.dictionary import Dictionary

SUFFIX = ".qcy"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Done:
    """What was written where, and how long it took."""

    source: str
    target: str
    bytes_read: int
    bytes_written: int
    seconds: float


def size_in_bytes(text: str) -> int:
    """The number of bytes that a person means by `16M` or `512K`. Raises UsageError."""
    number, unit = text.strip().upper().removesuffix("IB").removesuffix("B"), ""
    if number and number[-1] in "KMG":
        number, unit = number[:-1], number[-1]
    if not number.isdecimal():
        raise UsageError(f"'{text}' is no size; write for instance 16M")
    return int(number) * _UNITS[unit]


def run(
    file: Path,
    *,
    decompress: bool,
    out: Path | None,
    mode: str,
    block_size: str,
    dictionary: Path | None,
    force: bool,
    max_block_size: str,
    on_progress: Callable[[int], None],
) -> Done:
    """Compresses or decompresses a file; `-` is standard input or output.

    The source stays. The target gets its name when it is complete, so that nothing half-written is
    ever left, and the source's permissions. A file of the official program is read too.

    Raises UsageError where it would overwrite and where a file cannot be read or written,
    DamagedError for damaged input.
    """
    target = out if out is not None else _target_of(file, decompress)
    if str(target) != "-":
        _refuse(target, force)
    if str(target) == "-" and not decompress and sys.stdout.isatty() and not force:
        raise UsageError("a terminal cannot show compressed bytes; send them on, or use --out FILE")
    started = time.perf_counter()
    with _explained():
        known = Dictionary(dictionary.read_bytes()) if dictionary is not None else None
        with _source(file) as source, _target(target, file) as sink:
            if not decompress:
                compressor = Compressor(
                    mode, dictionary=known, block_size=size_in_bytes(block_size)
                )
                read, written = compressor.copy_stream(source, sink, on_progress)
            else:
                limit = size_in_bytes(max_block_size)
                decompressor = Decompressor(dictionary=known, max_block_size=limit)
                if source.peek(len(qm56.MAGIC)).startswith(qm56.MAGIC):
                    packed = source.read()
                    read, written = len(packed), sink.write(decompressor.decompress(packed))
                else:
                    read, written = decompressor.copy_stream(source, sink, on_progress)
    return Done(str(file), str(target), read, written, time.perf_counter() - started)


def train(samples: Path, out: Path, force: bool) -> Done:
    """Writes a dictionary made from a file, or from every file of a folder."""
    _refuse(out, force)
    started = time.perf_counter()
    folder = samples.rglob("*") if samples.is_dir() else [samples]
    with _explained():
        texts = [path.read_bytes() for path in sorted(folder) if not path.is_dir()]
        data = Dictionary.train(texts).as_bytes()
        with _target(out) as sink:
            sink.write(data)
    read = sum(map(len, texts))
    return Done(str(samples), str(out), read, len(data), time.perf_counter() - started)


def _refuse(target: Path, force: bool) -> None:
    if target.is_dir():
        raise UsageError(f"{target} is a folder; say with --out which file to write")
    if target.exists() and not force:
        raise UsageError(f"{target} is there already; --force overwrites it")


def _target_of(file: Path, decompress: bool) -> Path:
    if str(file) == "-":
        return Path("-")
    if not decompress:
        return file.with_name(file.name + SUFFIX)
    if file.suffix != SUFFIX:
        raise UsageError(f"{file} does not end in {SUFFIX}; say with --out what to write")
    return file.with_suffix("")


@contextmanager
def _explained() -> Iterator[None]:
    """Says of a file that cannot be read or written which one it is, and why."""
    try:
        yield
    except BrokenPipeError:
        raise
    except IsADirectoryError as error:
        raise UsageError(
            f"{error.filename} is a folder; --train makes a dictionary of one, and tar makes a file"
        ) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise UsageError(f"{place}{(error.strerror or str(error)).lower()}") from error


@contextmanager
def _source(file: Path) -> Iterator[BufferedReader]:
    if str(file) == "-":
        yield cast(BufferedReader, sys.stdin.buffer)
    else:
        with file.open("rb") as opened:
            yield opened


def _permissions(like: Path | None) -> int:
    """Those of a file, or those that a new one gets where there is none."""
    if like is not None and like.is_file():
        return like.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def _target(file: Path, like: Path | None = None) -> Iterator[BinaryIO]:
    """What is to be written, with the permissions of the file that it is made from."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent} is no folder; {file.name} cannot be written there")
    with tempfile.NamedTemporaryFile(
        dir=file.parent, prefix=f".{file.name}.", delete=False
    ) as draft:
        try:
            yield cast(BinaryIO, draft)
            draft.flush()
            os.fsync(draft.fileno())
            Path(draft.name).chmod(_permissions(like))
            Path(draft.name).replace(file)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
