"""Papers that readers hand in: by an address, as BibTeX, or by hand; done by a worker.

What is handed in waits in a row of its own; `receiving.py` is what a worker makes of it.
"""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Engine, Select, func, insert, select

from paperround.catalogue.actions import remove_paper
from paperround.catalogue.asking import named
from paperround.catalogue.cleaning import RecordError, cleaned
from paperround.catalogue.identity import derived_key
from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import PaperId, PaperRecord
from paperround.catalogue.statements import READER
from paperround.catalogue.tables import PaperTable
from paperround.db import write
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers import limits
from paperround.readers.acts import record_act
from paperround.readers.collections import own_collection
from paperround.readers.comments import one_line
from paperround.readers.records import Reader, Submission, SubmissionKind
from paperround.readers.tables import (
    CollectionTable,
    ReaderTable,
    SubmissionTable,
    SubmittedTable,
)

MAX_BIBTEX = 1 << 20
MAX_ENTRIES = 500
MAX_AUTHORS = 1_000
MAX_LINKS = 20


class ByHand(BaseModel):
    """A paper as somebody types it; only the title is needed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "title": "On counting",
                "authors": ["Ada Ay", "Bo Bee"],
                "published": "2026-06-30",
            }
        },
    )

    title: str = Field(max_length=1_000)
    authors: list[str] = Field(default=[], max_length=MAX_AUTHORS)
    abstract: str = Field(default="", max_length=50_000)
    published: date | None = None
    organisation: str = Field(default="", max_length=200)
    venue: str = Field(default="", max_length=200)
    pdf_url: str = Field(default="", max_length=2_000)
    code_url: str = Field(default="", max_length=2_000)
    project_url: str = Field(default="", max_length=2_000)
    links: list[str] = Field(default=[], max_length=MAX_LINKS)


# --- handed in


def submit_address(engine: Engine, reader: Reader, text: str, now: datetime) -> int:
    """The id of a submission by id, DOI or address. Raises UsageError where no source has it."""
    named(text)
    return _submit(engine, reader, SubmissionKind.ADDRESS, text.strip(), now)


def submit_bibtex(
    engine: Engine, reader: Reader, text: str, now: datetime, collection: str | None = None
) -> int:
    """The id of a submission of a bibliography, whose papers go into that collection too.

    Raises UsageError for one that is empty or too long, ForbiddenError for another's collection.
    """
    if not text.strip():
        raise UsageError("paste some BibTeX, or choose a file")
    if len(text.encode("utf-8", "replace")) > MAX_BIBTEX:
        raise UsageError(f"a bibliography has at most {MAX_BIBTEX >> 10} KiB")
    return _submit(engine, reader, SubmissionKind.BIBTEX, text, now, collection)


def submit_by_hand(engine: Engine, reader: Reader, paper: ByHand, now: datetime) -> int:
    """The id of a submission by hand. Raises UsageError for what no paper can be made of."""
    if paper.published is not None and paper.published > now.date():
        raise UsageError(f"published is {paper.published}; that day is still to come")
    try:
        cleaned(record_of(paper))
    except RecordError as error:
        raise UsageError(str(error)) from error
    return _submit(engine, reader, SubmissionKind.BY_HAND, paper.model_dump_json(), now)


def withdraw_paper(engine: Engine, moderator: Reader, key: str, because: str, now: datetime) -> str:
    """The title of a paper that was taken out of the catalogue, which only readers' word stood for.

    Raises NotFoundError, UsageError without a reason or where a source has the paper.
    """
    because = one_line(because)
    if not moderator.is_moderator:
        raise ForbiddenError("only moderators withdraw papers")
    if not because or len(because) > 500:
        raise UsageError("say why it is withdrawn, in at most 500 characters")
    with write(engine) as connection:
        detail = paper_by_key(connection, key)
        if detail is None:
            raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
        remove_paper(connection, detail.paper.id, READER)
        record_act(connection, moderator, "withdrew a paper", detail.paper.key, now, because)
        return detail.paper.title_text


# --- reads


def find_submission(connection: Connection, submission_id: int, reader: Reader) -> Submission:
    """A submission of the reader's, or any for a moderator (index: primary).

    Raises NotFoundError, the same for one that is not there and for another's.
    """
    found = submissions_in(connection, SUBMISSIONS.where(SubmissionTable.id == submission_id))
    if not found or not (reader.is_moderator or found[0].reader_id == reader.id):
        raise NotFoundError(f"no submission {submission_id} of yours")
    return found[0]


def submissions_of(
    connection: Connection, reader_id: int, before: int | None, n: int
) -> list[Submission]:
    """A reader's submissions, the newest first, from before that one (index: reader_id)."""
    query = SUBMISSIONS.where(SubmissionTable.reader_id == reader_id)
    if before is not None:
        query = query.where(SubmissionTable.id < before)
    return submissions_in(connection, query.order_by(SubmissionTable.id.desc()).limit(n))


def who_submitted(connection: Connection, paper_id: PaperId) -> tuple[str | None, datetime] | None:
    """Who brought the paper into the catalogue, and when; None where a source did.

    The name is None for a reader who has gone (index: submitted.paper_id).
    """
    row = connection.execute(
        select(ReaderTable.name, SubmissionTable.at)
        .select_from(SubmittedTable)
        .join(SubmissionTable, SubmissionTable.id == SubmittedTable.submission_id)
        .outerjoin(ReaderTable, ReaderTable.id == SubmissionTable.reader_id)
        .where(SubmittedTable.paper_id == paper_id, SubmittedTable.is_new)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.name, row.at)


def count_open(connection: Connection) -> int:
    """How many submissions wait or are worked on (index: state)."""
    is_open = SubmissionTable.state.in_(("waiting", "working"))
    return connection.scalar(select(func.count()).where(is_open)) or 0


def record_of(paper: ByHand) -> PaperRecord:
    """What a reader typed, as the record of a source of its own."""
    return PaperRecord(
        source=READER,
        source_key=derived_key(paper.title or "-"),
        title=paper.title,
        abstract=paper.abstract,
        authors=tuple(name for name in paper.authors if name.strip()),
        published=paper.published,
        organisation=paper.organisation or None,
        venue=paper.venue or None,
        pdf_url=paper.pdf_url.strip() or None,
        code_url=paper.code_url.strip() or None,
        project_url=paper.project_url.strip() or None,
        links=tuple(link.strip() for link in paper.links if link.strip()),
    )


# A submission with its reader's name and its collection's key; `submissions_in` reads it.
SUBMISSIONS = (
    select(
        SubmissionTable.id,
        SubmissionTable.reader_id,
        ReaderTable.name.label("reader"),
        SubmissionTable.kind,
        SubmissionTable.asked,
        CollectionTable.key.label("collection"),
        SubmissionTable.state,
        SubmissionTable.at,
        SubmissionTable.ended_at,
        SubmissionTable.reason,
        SubmissionTable.n_rejected,
        SubmissionTable.rejections,
    )
    .outerjoin(ReaderTable, ReaderTable.id == SubmissionTable.reader_id)
    .outerjoin(CollectionTable, CollectionTable.id == SubmissionTable.collection_id)
)


def submissions_in(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Submission]:
    """The submissions that the query finds, with the papers that each named."""
    rows = connection.execute(query).all()
    papers: dict[int, list[tuple[str, str, bool]]] = {}
    table = SubmittedTable
    for row in connection.execute(
        select(table.submission_id, PaperTable.key, PaperTable.title_text, table.is_new)
        .join(PaperTable, PaperTable.id == table.paper_id)
        .where(table.submission_id.in_([row.id for row in rows]))
        .order_by(table.submission_id, PaperTable.id)
    ):
        papers.setdefault(row.submission_id, []).append((row.key, row.title_text, row.is_new))
    return [
        Submission(
            **{
                **row._asdict(),
                "kind": SubmissionKind(row.kind),
                "rejections": tuple((place, reason) for place, reason in row.rejections),
                "papers": tuple(papers.get(row.id, ())),
            }
        )
        for row in rows
    ]


def _submit(
    engine: Engine,
    reader: Reader,
    kind: SubmissionKind,
    asked: str,
    now: datetime,
    collection: str | None = None,
) -> int:
    with write(engine) as connection:
        collection_id = None
        if collection is not None:
            collection_id = own_collection(connection, collection, reader).id
        limits.spend(connection, limits.SUBMISSIONS, f"{reader.id}", now)
        return connection.scalars(
            insert(SubmissionTable)
            .values(
                reader_id=reader.id,
                kind=kind.value,
                asked=asked,
                collection_id=collection_id,
                state="waiting",
                at=now,
            )
            .returning(SubmissionTable.id)
        ).one()
