"""What `paperround quasicryth` does: one file in, one file out, by rename."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from paperround.errors import UsageError
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
    ever left. Raises UsageError where it would overwrite, DamagedError for damaged input.
    """
    target = out if out is not None else _target_of(file, decompress)
    if str(target) != "-" and target.exists() and not force:
        raise UsageError(f"{target} is there already; --force overwrites it")
    known = Dictionary(dictionary.read_bytes()) if dictionary is not None else None
    codec: Compressor | Decompressor
    if decompress:
        codec = Decompressor(dictionary=known, max_block_size=size_in_bytes(max_block_size))
    else:
        codec = Compressor(mode, dictionary=known, block_size=size_in_bytes(block_size))
    started = time.perf_counter()
    with _source(file) as source, _target(target) as sink:
        read, written = codec.copy_stream(source, sink, on_progress)
    return Done(str(file), str(target), read, written, time.perf_counter() - started)


def train(samples: Path, out: Path, force: bool) -> Done:
    """Writes a dictionary made from a file, or from every file of a folder."""
    if out.exists() and not force:
        raise UsageError(f"{out} is there already; --force overwrites it")
    started = time.perf_counter()
    paths = sorted(p for p in samples.rglob("*") if p.is_file()) if samples.is_dir() else [samples]
    texts = [path.read_bytes() for path in paths]
    data = Dictionary.train(texts).as_bytes()
    with _target(out) as sink:
        sink.write(data)
    read = sum(map(len, texts))
    return Done(str(samples), str(out), read, len(data), time.perf_counter() - started)


def _target_of(file: Path, decompress: bool) -> Path:
    if str(file) == "-":
        return Path("-")
    if not decompress:
        return file.with_name(file.name + SUFFIX)
    if file.suffix != SUFFIX:
        raise UsageError(f"{file} does not end in {SUFFIX}; say with --out what to write")
    return file.with_suffix("")


@contextmanager
def _source(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
    else:
        with file.open("rb") as opened:
            yield opened


@contextmanager
def _target(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with tempfile.NamedTemporaryFile(
        dir=file.parent, prefix=f".{file.name}.", delete=False
    ) as draft:
        try:
            yield cast(BinaryIO, draft)
            draft.flush()
            os.fsync(draft.fileno())
            Path(draft.name).replace(file)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
