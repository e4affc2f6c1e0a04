"""Where papers come from: one module per source, all of one small shape.

A source yields a `PaperRecord` for each paper and a `Rejected`, with its place, for each item that
cannot be one; it never stops at a broken item. To add a source, write its module and a line here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources import hf_page, jsonl
from paperround.errors import NotFoundError

__all__ = ["SOURCES", "Source", "read_source"]

Items = Iterator[PaperRecord | Rejected]


@dataclass(frozen=True)
class Source:
    """A source: what a person reads of it, and what reads it, given the command's arguments."""

    name: str
    about: str
    read: Callable[[Sequence[str]], Items]


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source("hf-page", "a saved search-result page of Daily Papers, as text", hf_page.read),
        Source("jsonl", "JSON lines, plain or .gz or .xz: our own shape", jsonl.read),
    )
}


def read_source(name: str, arguments: Sequence[str]) -> Items:
    """The items of a source. Raises NotFoundError for an unknown one, UsageError for bad files."""
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise NotFoundError(f"no source '{name}'; there are {known}")
    return SOURCES[name].read(arguments)
