"""Looks for inputs that break a parser, led by the code that each input reaches.

    python tools/fuzz.py hf-page --seconds 300

Needs `pip install atheris` (Linux). It mutates real payloads for as long as it is told, keeps what
reaches new code in .cache/fuzz/<parser>/, and stops at the first error, which it prints with the
bytes that made it; those become an `@example` in tests/catalogue/sources/test_any_bytes.py, which
damages real payloads of every source's format on each run of the tests.
"""

import argparse
import sys
from io import BytesIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["paperround"]):
    from paperround.catalogue.cleaning import RecordError, cleaned
    from paperround.catalogue.records import Item, PaperRecord, Rejected
    from paperround.catalogue.sources import hf_page, jsonl
    from paperround.catalogue.sources.files import json_items

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

ROOT = Path(__file__).parents[1]
TODAY = date(2026, 4, 13)


def read_page(data: bytes) -> Iterable[Item]:
    """The saved page, by its text."""
    return hf_page.read_page(data.decode("utf-8", "replace"), today=TODAY)


def read_lines(data: bytes) -> Iterable[Item]:
    """JSONL, by its bytes."""
    return jsonl.read_lines(BytesIO(data))


def read_list(data: bytes) -> Iterable[Any]:
    """A list of JSON, decoded piece by piece."""
    return json_items(BytesIO(data))


PARSERS: dict[str, Callable[[bytes], Iterable[Any]]] = {
    "hf-page": read_page,
    "jsonl": read_lines,
    "json-list": read_list,
}


def main() -> None:
    """Fuzzes one parser until its time is over."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parser", choices=PARSERS)
    arguments.add_argument("--seconds", type=int, default=60)
    chosen = arguments.parse_args()
    parse = PARSERS[chosen.parser]

    def try_one(data: bytes) -> None:
        for item in parse(data):
            if isinstance(item, PaperRecord):
                try:
                    sound = cleaned(item)
                except RecordError:
                    continue
                if cleaned(sound) != sound:
                    raise AssertionError(f"cleaning twice is not cleaning once: {item!r}")
            elif isinstance(item, Rejected) and not (item.place and item.reason):
                raise AssertionError(f"a rejection without place or reason: {item!r}")

    corpus = ROOT / ".cache" / "fuzz" / chosen.parser
    corpus.mkdir(parents=True, exist_ok=True)
    seed(corpus, chosen.parser)
    options = [f"-max_total_time={chosen.seconds}", "-max_len=4096", "-timeout=10"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], try_one)
    atheris.Fuzz()


def seed(corpus: Path, parser: str) -> None:
    """Gives the corpus real payloads to begin with."""
    data = ROOT / "tests" / "catalogue"
    if parser == "hf-page":
        text = (data / "data" / "daily-papers-search.txt").read_bytes()
        payloads = [text[start : start + 4_000] for start in range(0, len(text), 4_000)]
    elif parser == "jsonl":
        payloads = (data / "sources" / "data" / "snapshot.jsonl").read_bytes().splitlines()
        payloads.append(b'{"id": "2502.08923", "title": "T", "listed": ["2025-02-14"], "votes": 3}')
    else:
        payloads = [b'[{"a": [1, "b", null]}, 2.5e3, "\\u00e4"]', b"[]", b'{"a": 1}\n{"b": 2}']
    for number, payload in enumerate(payloads):
        (corpus / f"seed-{number}").write_bytes(payload[:4_096])


if __name__ == "__main__":
    main()
