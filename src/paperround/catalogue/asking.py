"""A single paper that somebody names by id, DOI or address, asked of the source that has it.

An address is read and never fetched: what is in it (an arXiv id, a DOI, an id of OpenAlex) is asked
of that source's own server. So nobody makes this machine ask a server of their choice.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Item, PaperRecord, Rejected
from paperround.catalogue.sources import openalex, read_source, semantic_scholar
from paperround.catalogue.sources.fields import doi_of, identifiers_in
from paperround.catalogue.visiting import Visit
from paperround.errors import UsageError

MAX_NAME = 400
_OPENALEX = re.compile(r"(?:https?://)?(?:api\.)?openalex\.org/(?:works/)?(W\d{1,15})$", re.I)
_SEMANTIC_SCHOLAR = re.compile(
    r"(?:https?://)?(?:www\.)?semanticscholar\.org/paper/(?:[^/\s]{1,300}/)?([0-9a-f]{40})/?$", re.I
)
# Of the Anthology's own ids its DOIs are made.
_ACL_DOIS = ("10.18653/v1/{}", "10.3115/v1/{}")

Ask = Callable[[Visit], Iterator[Item]]


@dataclass(frozen=True)
class Named:
    """What somebody named, and how each source that may have it is asked, the best first."""

    name: str
    asks: tuple[tuple[str, Ask], ...]


def named(text: str) -> Named:
    """What a text names. Raises UsageError for one that no source of ours can be asked about."""
    text = text.strip()
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise UsageError("name a paper by its arXiv id, its DOI or its address")
    if (arxiv := arxiv_id(text)) is not None:
        return Named(arxiv, (("arXiv", lambda visit: read_source("arxiv", [arxiv], visit=visit)),))
    if (found := _OPENALEX.match(text)) is not None:
        work = found[1].upper()
        return Named(work, (("OpenAlex", lambda visit: openalex.find(work, visit)),))
    if (found := _SEMANTIC_SCHOLAR.match(text)) is not None:
        paper = found[1].lower()
        return Named(paper, (("Semantic Scholar", lambda v: semantic_scholar.find(paper, v)),))
    # No step upwards: what is asked stays below the address for works.
    if (doi := doi_of(text)) is not None and "/." not in doi:
        return Named(doi, _asks_of_doi(doi))
    identifiers = identifiers_in(text)
    if (acl := identifiers.get("acl")) is not None:
        asks = tuple(ask for doi in _ACL_DOIS for ask in _asks_of_doi(doi.format(acl)))
        return Named(acl, asks)
    if "openreview" in identifiers:
        raise UsageError(
            "OpenReview has no open lists to ask; submit the paper's BibTeX, which its page has"
        )
    raise UsageError(
        f"'{text[:80]}' is no arXiv id, DOI, or address of arXiv, Hugging Face, the ACL Anthology, "
        "OpenAlex or Semantic Scholar; submit the paper's BibTeX, or what it says, by hand"
    )


def ask(wanted: Named, visit: Visit) -> PaperRecord | Rejected:
    """The paper as the first source has it that knows it. Raises SourceError where none answers."""
    missing: list[str] = []
    for source, asking in wanted.asks:
        for item in asking(visit):
            if isinstance(item, PaperRecord):
                return item
            if isinstance(item, Rejected):
                missing.append(source)
    asked = " and ".join(dict.fromkeys(missing))
    return Rejected(wanted.name, f"{asked} {'have' if ' and ' in asked else 'has'} no such paper")


def _asks_of_doi(doi: str) -> tuple[tuple[str, Ask], ...]:
    return (
        ("OpenAlex", lambda visit: openalex.find(f"doi:{doi}", visit)),
        ("Semantic Scholar", lambda visit: semantic_scholar.find(f"DOI:{doi}", visit)),
    )
