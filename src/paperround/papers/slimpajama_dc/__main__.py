"""Deduplicates the lines of a JSONL file: `python -m paperround.papers.slimpajama_dc FILE.jsonl`.

The file is read twice and never held: once to find the copies, once to write the lines that stay,
byte for byte. Exit status as everywhere: 0 well, 1 lines were rejected, 2 usage, 3 failed.
"""

import argparse
import gzip
import json
import lzma
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from paperround.errors import PaperroundError, UsageError
from paperround.papers.slimpajama_dc.deduplicator import MinHashDeduplicator
from paperround.papers.slimpajama_dc.minhash import MIN_CHARS, NGRAM


@dataclass
class _Counts:
    read: int = 0
    rejected: int = 0
    bytes_read: int = 0
    bytes_kept: int = 0
    faults: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status, after deduplicating the file that the arguments name."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except PaperroundError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    except (OSError, EOFError, lzma.LZMAError) as error:
        sys.stderr.write(f"{options.file}: {error}\n")
        return 3


def _run(options: argparse.Namespace) -> int:
    dedup = MinHashDeduplicator(
        ngram=options.ngram,
        unit=options.unit,
        threshold=options.threshold,
        min_chars=options.min_chars,
        verify=options.verify,
        keep=options.keep,
        scope=options.scope,
    )
    if options.scope == "local" and options.source_key is None:
        raise UsageError("--scope local compares inside each source; name it with --source-key")
    started = time.perf_counter()
    counts = _Counts()
    for numbers, texts, sources in _batches(options, counts):
        dedup.partial_fit(texts, numbers, sources if options.source_key else None)
    seconds = time.perf_counter() - started
    kept = set(dedup.kept_)
    with _output(options.out) as out, _open(options.file) as lines:
        for number, line in enumerate(lines, start=1):
            if number in kept:
                counts.bytes_kept += len(line)
                if out is not None:
                    out.write(line if line.endswith(b"\n") else line + b"\n")
    for fault in counts.faults:
        sys.stderr.write(f"{fault}\n")
    largest = max((len(cluster) for cluster in dedup.clusters_), default=0)
    summary: dict[str, Any] = {
        "read": counts.read,
        "rejected": counts.rejected,
        "short": len(dedup.short_),
        "duplicates": len(dedup.duplicate_of_),
        "kept": len(kept),
        "clusters": len(dedup.clusters_),
        "largest_cluster": largest,
        "bytes_read": counts.bytes_read,
        "bytes_kept": counts.bytes_kept,
        "seconds": round(seconds, 2),
    }
    if options.json:
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        sys.stdout.writelines(f"{name:16} {value}\n" for name, value in summary.items())
    return 1 if counts.rejected else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paperround.papers.slimpajama_dc",
        description="Drops near-duplicate lines of a JSONL file (MinHash-LSH, as SlimPajama).",
        epilog="example: python -m paperround.papers.slimpajama_dc docs.jsonl --out kept.jsonl",
    )
    add = parser.add_argument
    add("file", type=Path, help="one JSON object per line; .gz and .xz are opened")
    add("--text-key", default="text", help="the key of the text (default: text)")
    add("--source-key", help="the key of the document's source; --scope local needs it")
    add("--scope", choices=("global", "local"), default="global", help="across sources or inside")
    add("--out", type=Path, help="write the lines that stay here; nothing is written without it")
    add("--threshold", type=float, help="choose bands and rows for it (default: 9 bands of 13)")
    add("--unit", choices=("char", "word"), default="char", help="shingles of characters or words")
    add("--ngram", type=int, default=NGRAM, help=f"their length (default: {NGRAM})")
    add("--min-chars", type=int, default=MIN_CHARS, help=f"drop shorter (default: {MIN_CHARS})")
    add("--verify", type=float, help="accept a pair only from this true Jaccard similarity on")
    add("--keep", choices=("first", "longest"), default="first", help="which of a cluster stays")
    add("--json", action="store_true", help="print the counts as one JSON object")
    return parser


def _batches(
    options: argparse.Namespace, counts: _Counts
) -> Iterator[tuple[list[int], list[str], list[str]]]:
    """Line numbers, texts and sources of the good lines, a few hundred at a time."""
    numbers: list[int] = []
    texts: list[str] = []
    sources: list[str] = []
    with _open(options.file) as lines:
        for number, line in enumerate(lines, start=1):
            counts.read += 1
            counts.bytes_read += len(line)
            try:
                item = json.loads(line)
                texts.append(_text_at(item, options.text_key))
                if options.source_key is not None:
                    try:
                        sources.append(_text_at(item, options.source_key))
                    except ValueError:
                        texts.pop()
                        raise
            except ValueError as error:
                counts.rejected += 1
                counts.faults.append(f"line {number}: {error}")
                continue
            numbers.append(number)
            if len(texts) == 512:
                yield numbers, texts, sources
                numbers, texts, sources = [], [], []
    if texts:
        yield numbers, texts, sources


def _text_at(item: Any, key: str) -> str:
    if not isinstance(item, dict):
        raise ValueError(f"{type(item).__name__} where an object should be")
    if key not in item:
        raise ValueError(f"no '{key}'")
    if not isinstance(item[key], str):
        raise ValueError(f"'{key}' is {type(item[key]).__name__}, not a string")
    return cast("str", item[key])


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast("BinaryIO", lzma.open(path, "rb"))
    return path.open("rb")


class _Draft:
    """A file that appears whole under its name, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path, self._draft = path, path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> BinaryIO:
        self._file = self._draft.open("wb")
        return self._file

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._file.close()
        if kind is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink()


def _output(path: Path | None) -> Any:
    return nullcontext() if path is None else _Draft(path)


if __name__ == "__main__":
    sys.exit(main())
