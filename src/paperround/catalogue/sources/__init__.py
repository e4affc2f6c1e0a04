"""Where papers come from: one module per source, each a function from arguments to records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources import hf_page, jsonl
from paperround.errors import UsageError

__all__ = ["SOURCES", "Source", "read_source"]


@dataclass(frozen=True)
class Source:
    """A source that `paperround import NAME ARGUMENTS` reads."""

    name: str
    what: str
    arguments: str
    read: Callable[[Sequence[str]], Iterator[PaperRecord | Rejected]]


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                "hf-page",
                "the text of a saved page of Hugging Face's Daily Papers",
                "FILE [SAVED-ON]",
                hf_page.read,
            ),
            Source(
                "jsonl",
                "papers as JSON, one a line: Paperround's own export, or arXiv listings",
                "FILE...",
                jsonl.read,
            ),
        )
    }
)


def read_source(name: str, arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The records of a source, one by one, with what could not be read in between.

    Raises UsageError for an unknown source, wrong arguments, or a file that is not there.
    """
    if name not in SOURCES:
        raise UsageError(f"no source '{name}'; there are {', '.join(sorted(SOURCES))}")
    return SOURCES[name].read(arguments)
