"""What sources say of a paper, and what the paper is by all that they say.

Every appearance of a paper in a source is a statement. `combined` makes the paper's columns of its
statements and of nothing else, so that a merge is undone by taking a statement away, and no order
of imports matters but which statement is the newest. Per column:

  title, abstract, authors, dates, facts   of the best identified statement, the newest among
                                           equals, that knows it
  votes, comments                          the newest known
  listed                                   the earliest known
  links                                    of all
  withdrawn                                where the newest that knows says so
  code_url                                 else what abstract or comment name
  day, author_count, *_text, title_key     derived from the above

A source that no longer mentions what it once said has not taken it back (`accumulated`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from paperround.catalogue.identity import arxiv_id, organisation_key, title_key
from paperround.catalogue.links import is_repository, links_in
from paperround.catalogue.records import PaperRecord, ReportedResult
from paperround.catalogue.text import plain_text

BEST_IDENTIFIED = (
    "title",
    "abstract",
    "authors",
    "author_count",
    "organisation",
    "published",
    "categories",
    "keywords",
    "comment",
    "venue",
    "code_url",
    "project_url",
    "pdf_url",
)
NEWEST = ("votes", "comments")
# The source of what readers hand in themselves.
READER = "reader"
MAX_LINKS = 100
# The columns that a statement has; the others of a paper are derived.
SAID = (*BEST_IDENTIFIED, *NEWEST, "listed", "links", "withdrawn")
_DAYS = ("published", "listed")
# What stands in a paper where no statement knows.
_UNKNOWN: dict[str, Any] = {
    "title": "",
    "abstract": "",
    "authors": [],
    "categories": [],
    "keywords": [],
    "links": [],
    "votes": 0,
    "comments": 0,
    "withdrawn": False,
}


@dataclass(eq=False)
class Statement:
    """What one source says of a paper under its own name for it, by all it ever said."""

    source: str
    source_key: str
    values: dict[str, Any]
    identifiers: dict[str, str]
    number: int
    title_key: str
    met_by: str
    seen_at: datetime
    digest: bytes | None = None
    # Newly reported; what was reported before stays in the database.
    results: dict[tuple[str, str, str, str], ReportedResult] = field(default_factory=dict)
    # As it stands in the database, so that only what changed is written.
    stored: dict[str, Any] | None = None

    @property
    def name(self) -> tuple[str, str]:
        """What names it everywhere."""
        return self.source, self.source_key


def said_by(record: PaperRecord) -> dict[str, Any]:
    """What a record says, by column; an address that the arXiv id gives anyway is left out."""
    pdf = record.pdf_url
    if pdf and arxiv_id(pdf) == record.identifiers.get("arxiv", ""):
        pdf = None
    return {
        "title": record.title,
        "abstract": record.abstract,
        "authors": list(record.authors),
        "author_count": len(record.authors) or record.author_count,
        "organisation": record.organisation,
        "published": record.published,
        "categories": list(record.categories),
        "keywords": list(record.keywords),
        "comment": record.comment,
        "venue": record.venue,
        "code_url": record.code_url,
        "project_url": record.project_url,
        "pdf_url": pdf,
        "votes": record.votes,
        "comments": record.comments,
        "listed": record.listed,
        "links": list(record.links),
        "withdrawn": record.withdrawn,
    }


def accumulated(before: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What a source says by now: the new where it knows, else what it said before."""
    both = dict(before)
    for column in BEST_IDENTIFIED:
        if new[column]:
            both[column] = new[column]
    for column in (*NEWEST, "withdrawn"):
        if new[column] is not None:
            both[column] = new[column]
    both["listed"] = _earliest((before["listed"], new["listed"]))
    both["links"] = new["links"] or before["links"]
    return both


def combined(statements: Sequence[Statement], before: Mapping[str, Any]) -> dict[str, Any]:
    """A paper's columns by all that is said of it; `before` saves deriving again what stays."""
    if len(statements) == 1:
        # Most papers stand in one source.
        values, newest = dict(statements[0].values), list(statements)
    else:
        best = sorted(statements, key=_rank, reverse=True)
        values = {
            column: next((s.values[column] for s in best if s.values[column]), None)
            for column in BEST_IDENTIFIED
        }
        newest = sorted(statements, key=_number, reverse=True)
        for column in (*NEWEST, "withdrawn"):
            known = (s.values[column] for s in newest if s.values[column] is not None)
            values[column] = next(known, None)
        values["listed"] = _earliest(s.values["listed"] for s in statements)
    for column, unknown in _UNKNOWN.items():
        values[column] = values.get(column) or unknown
    said_links = [link for s in reversed(newest) for link in s.values["links"]]
    return derived(values, said_links, before)


def derived(
    values: dict[str, Any], said_links: Sequence[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """The columns with those that follow from the others."""
    values["day"] = values["listed"] or values["published"]
    if not before or values["organisation"] != before["organisation"]:
        values["organisation_key"] = organisation_key(values["organisation"])
    else:
        values["organisation_key"] = before["organisation_key"]
    if values["authors"]:
        values["author_count"] = len(values["authors"])
    if before and values["title"] == before["title"]:
        values["title_text"], values["title_key"] = before["title_text"], before["title_key"]
    else:
        values["title_text"] = plain_text(values["title"])
        values["title_key"] = title_key(values["title"])
    if before and values["abstract"] == before["abstract"]:
        values["abstract_text"] = before["abstract_text"]
    else:
        values["abstract_text"] = plain_text(values["abstract"])
    named = links_in(values["abstract"], values["comment"])
    if not values["code_url"]:
        values["code_url"] = next((link for link in named if is_repository(link)), None)
    links = dict.fromkeys(link for link in (*said_links, *named) if link != values["code_url"])
    values["links"] = list(links)[:MAX_LINKS]
    return values


def sources_of_columns(statements: Sequence[Statement]) -> dict[str, tuple[str, str]]:
    """For each column that a statement knows, the name of the one that the paper takes it from."""
    best = sorted(statements, key=_rank, reverse=True)
    newest = sorted(statements, key=_number, reverse=True)
    found: dict[str, tuple[str, str]] = {}
    for column in BEST_IDENTIFIED:
        for statement in best:
            if statement.values[column]:
                found[column] = statement.name
                break
    for column in (*NEWEST, "withdrawn"):
        for statement in newest:
            if statement.values[column] is not None:
                found[column] = statement.name
                break
    listed = [s for s in statements if s.values["listed"]]
    if listed:
        found["listed"] = min(listed, key=lambda s: (s.values["listed"], s.number)).name
    return found


def difference(said: Mapping[str, Any], paper: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `said` is otherwise than the paper, as JSON can hold it; None where nothing is.

    Most papers stand in one source, which says what the paper is: nothing is stored twice.
    """
    assumed = with_difference(None, paper)
    differing = {column: value for column in SAID if (value := said[column]) != assumed[column]}
    for column in _DAYS:
        if differing.get(column):
            differing[column] = differing[column].isoformat()
    return differing or None


def with_difference(
    differing: Mapping[str, Any] | None, paper: Mapping[str, Any]
) -> dict[str, Any]:
    """What was said, from what `difference` gave of it."""
    said = {column: paper[column] for column in SAID}
    for column in (*NEWEST, "withdrawn"):
        said[column] = paper[column] or None
    for column, value in (differing or {}).items():
        said[column] = date.fromisoformat(value) if column in _DAYS and value else value
    return said


def _rank(statement: Statement) -> tuple[bool, bool, int]:
    # What a reader typed gives way to every source.
    return statement.source != READER, bool(statement.identifiers), statement.number


def _number(statement: Statement) -> int:
    return statement.number


def _earliest(days: Iterable[date | None]) -> date | None:
    return min((day for day in days if day), default=None)
