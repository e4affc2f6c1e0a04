"""Which source wins, field by field, when two records are one paper. The one place that says so."""

from collections.abc import Mapping
from typing import Any

from paperround.catalogue.identity import title_key
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.text import plain_text

# A record that names the paper by one of these knows its title, abstract and authors for certain;
# a record without them (a saved page) only fills in what is missing.
_AUTHORITATIVE = ("arxiv", "doi")
_TOLD = ("title", "abstract", "authors", "categories", "published")
_FILLED = ("organisation", "comment", "venue", "code_url", "project_url", "pdf_url")


def new_paper(record: PaperRecord) -> dict[str, Any]:
    """The columns of a paper that was not there before, without its key and times."""
    columns: dict[str, Any] = {name: getattr(record, name) for name in _FILLED}
    columns |= {
        "title": record.title,
        "abstract": record.abstract,
        "authors": list(record.authors),
        "author_count": _author_count(record),
        "categories": list(record.categories),
        "published": record.published,
        "listed": record.listed,
        "votes": record.votes or 0,
        "comments": record.comments or 0,
    }
    return columns | _derived(columns)


def changes(paper: Mapping[str, Any], record: PaperRecord) -> dict[str, Any]:
    """The columns that a record changes in a paper; empty when it tells nothing new.

    A known value is never lost to an unknown one. Title, abstract, authors, categories and date
    are taken from a record that identifies the paper; counts are the newest; the day of listing is
    the earliest, so that a replacement never makes a paper new again.
    """
    authoritative = any(scheme in record.identifiers for scheme in _AUTHORITATIVE)
    told: dict[str, Any] = {
        name: list(value) if isinstance(value := getattr(record, name), tuple) else value
        for name in _TOLD
    }
    wanted = {
        name: value for name, value in told.items() if value and (authoritative or not paper[name])
    }
    wanted |= {
        name: value
        for name in _FILLED
        if (value := getattr(record, name)) and (authoritative or not paper[name])
    }
    count = _author_count(record)
    if count is not None and (authoritative or paper["author_count"] is None):
        wanted["author_count"] = count
    if record.votes is not None:
        wanted["votes"] = record.votes
    if record.comments is not None:
        wanted["comments"] = record.comments
    if record.listed is not None:
        wanted["listed"] = min(record.listed, paper["listed"] or record.listed)
    changed = {name: value for name, value in wanted.items() if paper[name] != value}
    if not changed:
        return {}
    merged = {**paper, **changed}
    return changed | {
        name: value for name, value in _derived(merged).items() if paper[name] != value
    }


def _derived(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title_text": plain_text(columns["title"]),
        "abstract_text": plain_text(columns["abstract"]),
        "title_key": title_key(columns["title"]),
        "day": columns["listed"] or columns["published"],
    }


def _author_count(record: PaperRecord) -> int | None:
    return max(record.author_count or 0, len(record.authors)) or None
