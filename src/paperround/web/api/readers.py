"""What readers do, as JSON: votes, marks, comments, their own lists; and trending.

A reader's own things are opened by a token (`Authorization: Bearer …`), never by a cookie.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import Connection

from paperround.catalogue.queries import paper_by_key, papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.clock import utc_now
from paperround.db import read
from paperround.discovery import trending as formula
from paperround.discovery.periods import Period
from paperround.errors import NotFoundError
from paperround.readers import comments as actions
from paperround.readers.export import export_reader
from paperround.readers.queries import (
    comment_by_id,
    comments_after,
    comments_of,
    papers_marked,
    papers_voted,
)
from paperround.readers.records import Comment, Mark, Reader
from paperround.readers.votes import set_mark, set_vote
from paperround.web.api.cursors import dated, next_address, read_dated, read_number
from paperround.web.api.shapes import (
    PROBLEMS,
    TOO_OFTEN,
    CommentAsked,
    CommentOut,
    CommentsOut,
    DatedPaperOut,
    DatedPapersOut,
    MarkAsked,
    MeOut,
    PaperOut,
    Problem,
    ReportAsked,
    StandingOut,
    TrendingOut,
    VoteOut,
)
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, VisitorHere
from paperround.web.voting import counted

REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token, or one that is not valid"},
    403: {"model": Problem, "description": "The token or the reader may not do this"},
    **TOO_OFTEN,
}
_PAGE = 30
_MAX_PAGE = 200

router = APIRouter(tags=["readers"], responses={**PROBLEMS, **REFUSED})
trending_router = APIRouter(tags=["papers"], responses=PROBLEMS)

Key = Annotated[str, Path(examples=["2312.00858"])]
CommentId = Annotated[int, Path(ge=1, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=80)]


@trending_router.get("/trending")
def get_trending(
    site: SiteHere,
    period: Annotated[Period, Query(examples=["week"])] = "week",
    category: Annotated[str, Query(max_length=60, examples=["cs.CL"])] = "",
    limit: Limit = _PAGE,
) -> TrendingOut:
    """The papers that people attend to now, best first, with what each score is made of."""
    with read(site.engine) as connection:
        found = formula.trending_papers(
            connection, period, utc_now(), site.papers_by_slug, category=category, n=limit
        )
        papers = counted(connection, [paper for paper, _ in found.papers])
    return TrendingOut(
        period=period,
        as_of=found.as_of,
        papers=[
            StandingOut.of(PaperOut.of(paper), standing)
            for paper, (_, standing) in zip(papers, found.papers, strict=True)
        ],
    )


@router.get("/me")
def get_me(reader: ReaderHere, visitor: VisitorHere) -> MeOut:
    """The reader whose token it is."""
    return MeOut(
        name=reader.name,
        role=reader.role.value,
        email=reader.email,
        created_at=reader.created_at,
        scopes=sorted(visitor.scopes or ()),
    )


@router.get("/me/export")
def get_export(site: SiteHere, reader: ReaderHere) -> dict[str, Any]:
    """Everything that is kept of the reader."""
    with read(site.engine) as connection:
        return export_reader(connection, reader)


@router.get("/me/votes")
def list_votes(
    site: SiteHere, reader: ReaderHere, cursor: Cursor = None, limit: Limit = _PAGE
) -> DatedPapersOut:
    """The papers that the reader votes for, the last vote first."""
    with read(site.engine) as connection:
        rows = papers_voted(connection, reader.id, read_dated(cursor), limit + 1)
        return _dated(connection, rows, "me/votes", limit)


@router.get("/me/marks/{mark}")
def list_marks(
    site: SiteHere, reader: ReaderHere, mark: Mark, cursor: Cursor = None, limit: Limit = _PAGE
) -> DatedPapersOut:
    """The papers that the reader has marked so, the last first."""
    with read(site.engine) as connection:
        rows = papers_marked(connection, reader.id, mark, read_dated(cursor), limit + 1)
        return _dated(connection, rows, f"me/marks/{mark.value}", limit)


@router.get("/me/comments")
def list_own_comments(
    site: SiteHere, reader: ReaderHere, cursor: Cursor = None, limit: Limit = _PAGE
) -> CommentsOut:
    """The reader's comments, the newest first."""
    with read(site.engine) as connection:
        found = comments_of(connection, reader.id, read_number(cursor), limit + 1)
        return _comments(connection, found, reader, "me/comments", limit)


@router.put("/papers/{key:path}/vote")
def put_vote(site: SiteHere, reader: ReaderHere, key: Key) -> VoteOut:
    """Votes for the paper; a vote that stands stays as it is."""
    paper = _paper(site, key)
    voted, votes = set_vote(site.engine, reader, paper.id, True, utc_now())
    return VoteOut(paper=paper.key, voted=voted, votes_here=votes)


@router.delete("/papers/{key:path}/vote")
def delete_vote(site: SiteHere, reader: ReaderHere, key: Key) -> VoteOut:
    """Takes the vote back."""
    paper = _paper(site, key)
    voted, votes = set_vote(site.engine, reader, paper.id, False, utc_now())
    return VoteOut(paper=paper.key, voted=voted, votes_here=votes)


@router.put("/papers/{key:path}/mark", status_code=204)
def put_mark(site: SiteHere, reader: ReaderHere, key: Key, asked: MarkAsked) -> Response:
    """Marks the paper for the reader alone."""
    set_mark(site.engine, reader, _paper(site, key).id, asked.mark, utc_now())
    return Response(status_code=204)


@router.delete("/papers/{key:path}/mark", status_code=204)
def delete_mark(site: SiteHere, reader: ReaderHere, key: Key) -> Response:
    """Takes the mark away."""
    set_mark(site.engine, reader, _paper(site, key).id, None, utc_now())
    return Response(status_code=204)


@router.get("/papers/{key:path}/comments")
def list_comments(
    site: SiteHere, visitor: VisitorHere, key: Key, cursor: Cursor = None, limit: Limit = _PAGE
) -> CommentsOut:
    """The comments on a paper, the earliest first; hidden ones without their text."""
    paper = _paper(site, key)
    with read(site.engine) as connection:
        found = comments_after(connection, paper.id, read_number(cursor) or 0, limit + 1)
        return _comments(connection, found, visitor.reader, f"papers/{paper.key}/comments", limit)


@router.post("/papers/{key:path}/comments", status_code=201)
def add_comment(
    response: Response, site: SiteHere, reader: ReaderHere, key: Key, asked: CommentAsked
) -> CommentOut:
    """Comments on the paper, or answers a comment on it."""
    paper = _paper(site, key)
    comment_id = actions.add_comment(
        site.engine, reader, paper.id, asked.text, utc_now(), parent_id=asked.parent
    )
    response.headers["location"] = f"/api/v1/comments/{comment_id}"
    return _comment(site, reader, comment_id)


@router.get("/comments/{comment_id}")
def get_comment(site: SiteHere, visitor: VisitorHere, comment_id: CommentId) -> CommentOut:
    """One comment."""
    return _comment(site, visitor.reader, comment_id)


@router.patch("/comments/{comment_id}")
def edit_comment(
    site: SiteHere, reader: ReaderHere, comment_id: CommentId, asked: CommentAsked
) -> CommentOut:
    """Changes the reader's own comment, within its time."""
    window = timedelta(minutes=site.settings.comment_edit_minutes)
    actions.edit_comment(site.engine, reader, comment_id, asked.text, utc_now(), window)
    return _comment(site, reader, comment_id)


@router.delete("/comments/{comment_id}", status_code=204)
def delete_comment(site: SiteHere, reader: ReaderHere, comment_id: CommentId) -> Response:
    """Takes the reader's own comment back."""
    actions.take_back(site.engine, reader, comment_id)
    return Response(status_code=204)


@router.post("/comments/{comment_id}/report", status_code=204)
def report_comment(
    site: SiteHere, reader: ReaderHere, comment_id: CommentId, asked: ReportAsked
) -> Response:
    """Tells the moderators of a comment."""
    actions.report_comment(site.engine, reader, comment_id, asked.reason, utc_now())
    return Response(status_code=204)


def _paper(site: Site, key: str) -> Paper:
    with read(site.engine) as connection:
        detail = paper_by_key(connection, key)
    if detail is None:
        raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
    return detail.paper


def _comment(site: Site, reader: Reader | None, comment_id: int) -> CommentOut:
    with read(site.engine) as connection:
        actions.visible_comment(connection, comment_id, reader)
        comment = comment_by_id(connection, comment_id)
        assert comment is not None
        (paper,) = papers_by_id(connection, [comment.paper_id])
    return CommentOut.of(comment, paper.key, reader)


def _comments(
    connection: Connection, found: list[Comment], reader: Reader | None, what: str, limit: int
) -> CommentsOut:
    shown = found[:limit]
    ids = list({comment.paper_id for comment in shown})
    keys = {paper.id: paper.key for paper in papers_by_id(connection, ids)}
    follows = None
    if len(found) > limit:
        follows = next_address(what, str(shown[-1].id), limit)
    return CommentsOut(
        comments=[CommentOut.of(comment, keys[comment.paper_id], reader) for comment in shown],
        next=follows,
    )


def _dated(
    connection: Connection, rows: list[tuple[PaperId, datetime]], what: str, limit: int
) -> DatedPapersOut:
    shown = rows[:limit]
    papers = {p.id: p for p in papers_by_id(connection, [paper_id for paper_id, _ in shown])}
    follows = None
    if len(rows) > limit:
        paper_id, at = shown[-1]
        follows = next_address(what, dated(at, paper_id), limit)
    return DatedPapersOut(
        papers=[DatedPaperOut(at=at, paper=PaperOut.of(papers[i])) for i, at in shown],
        next=follows,
    )
