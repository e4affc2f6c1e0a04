"""Where papers come from: one module per source, one line here for each.

A source is an iterator of items (`catalogue.records.Item`): records and rejected items, each with
its place, and between them bookmarks where a broken import may go on. It reads files, or visits a
server, or both; which of the two is meant is told by the arguments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from paperround.catalogue.records import Item
from paperround.catalogue.sources import (
    acl_anthology,
    arxiv,
    arxiv_oai,
    arxiv_rss,
    arxiv_snapshot,
    bibtex,
    hf_daily,
    hf_page,
    jsonl,
    openalex,
    openreview,
    paperswithcode,
    semantic_scholar,
)
from paperround.catalogue.visiting import Visit
from paperround.errors import UsageError

__all__ = ["SOURCES", "Source", "read_source"]


@dataclass(frozen=True)
class Source:
    """A source that `paperround import NAME ARGUMENTS` reads."""

    name: str
    what: str
    arguments: str
    # The items in files.
    read: Callable[[Sequence[str]], Iterator[Item]] | None = None
    # The items that a server gives.
    visit: Callable[[Sequence[str], Visit], Iterator[Item]] | None = None


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source("acl-anthology", "the Anthology's XML", "FILE...", acl_anthology.read),
            Source("arxiv", "arXiv's API", "SEARCH [MOST] | ID...", visit=arxiv.visit),
            Source("arxiv-oai", "arXiv's harvests", "[set=cs from=DAY]", visit=arxiv_oai.visit),
            Source(
                "arxiv-rss",
                "arXiv's daily listings",
                "CATEGORY... | FILE...",
                arxiv_rss.read,
                arxiv_rss.visit,
            ),
            Source("arxiv-snapshot", "arXiv's metadata snapshot", "FILE...", arxiv_snapshot.read),
            Source("bibtex", "bibliographies", "FILE...", bibtex.read),
            Source(
                "hf-daily",
                "Hugging Face's daily papers, JSON",
                "[DAY|WEEK|MONTH...] | FILE...",
                hf_daily.read,
                hf_daily.visit,
            ),
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
            Source("openalex", "OpenAlex works", "SEARCH | FILE...", openalex.read, openalex.visit),
            Source("openreview", "lists of conference papers", "FILE...", openreview.read),
            Source("paperswithcode", "Papers with Code's dumps", "FILE...", paperswithcode.read),
            Source(
                "semantic-scholar",
                "Semantic Scholar's answers and datasets",
                "SEARCH | FILE...",
                semantic_scholar.read,
                semantic_scholar.visit,
            ),
        )
    }
)


def read_source(
    name: str,
    arguments: Sequence[str],
    *,
    visit: Visit | None = None,
    keys: Mapping[str, str] | None = None,
) -> Iterator[Item]:
    """The items of a source, one by one.

    `visit` is needed where a server is to be asked; `keys` maps our keys to those of other
    people's JSONL. Raises UsageError for an unknown source, wrong arguments, a missing file.
    """
    if name not in SOURCES:
        raise UsageError(f"no source '{name}'; there are {', '.join(sorted(SOURCES))}")
    source = SOURCES[name]
    read = source.read
    if keys:
        if name != "jsonl":
            raise UsageError(f"--map is for jsonl; {name} knows its own keys")
        read = partial(jsonl.read, keys=keys)
    if source.visit is None or (read is not None and _are_files(arguments)):
        if read is None:
            raise UsageError(f"{name} takes {source.arguments}")
        return read(arguments)
    if visit is None:
        raise UsageError(f"{name} asks a server, and nobody may here")
    return source.visit(arguments, visit)


# A file that is not there must not be looked for on a server.
_ENDINGS = {".json", ".jsonl", ".xml", ".rss", ".atom", ".gz", ".xz", ".bz2", ".zst", ".txt"}


def _are_files(arguments: Sequence[str]) -> bool:
    return any(
        name == "-" or Path(name).suffix in _ENDINGS or Path(name).is_file() for name in arguments
    )
