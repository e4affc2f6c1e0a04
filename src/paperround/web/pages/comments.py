"""Comments: a page for each, what its author and others do with it, and the moderators' page."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.catalogue.queries import paper_by_key, papers_by_id
from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import ForbiddenError, NotFoundError, PaperroundError
from paperround.readers import comments as actions
from paperround.readers.authorship import authorships_in, latest_confirmed
from paperround.readers.queries import latest_acts, open_reports
from paperround.readers.records import Comment
from paperround.web.api.cursors import dated, read_dated
from paperround.web.remarks import show
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, who

router = APIRouter()

_AUTHORSHIPS = 50
_REPORTS = 30

# A little more than a comment may have, so that a long one is told how long it is.
Text = Annotated[str, Form(max_length=20_000)]
Short = Annotated[str, Form(max_length=2_000)]
CommentId = Annotated[int, Path(ge=1, le=2**53)]


@router.post("/papers/{key:path}/comments")
def add(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    key: str,
    text: Text = "",
    parent: Annotated[int | None, Form(ge=1, le=2**53)] = None,
) -> Response:
    """Comments on the paper, or answers a comment on it, and leads to where it stands."""
    with read(site.engine) as connection:
        detail = paper_by_key(connection, key)
    if detail is None:
        raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
    paper = detail.paper
    try:
        comment_id = actions.add_comment(
            site.engine, reader, paper.id, text, utc_now(), parent_id=parent
        )
    except PaperroundError as error:
        # What was written is not lost.
        return render(
            request,
            "comment_again.html",
            status=error.http_status,
            is_secret=True,
            paper=paper,
            parent=parent,
            text=text,
            error=str(error),
            max_text=actions.MAX_TEXT,
        )
    return RedirectResponse(f"/papers/{paper.key}#comment-{comment_id}", status_code=303)


@router.get("/comments/{comment_id}")
def one(request: Request, site: SiteHere, comment_id: CommentId) -> Response:
    """A comment with all that may be done with it."""
    return _page(request, site, comment_id)


@router.post("/comments/{comment_id}/edit")
def edit(
    request: Request, site: SiteHere, reader: ReaderHere, comment_id: CommentId, text: Text = ""
) -> Response:
    """Changes the reader's own comment, within its time."""
    try:
        comment = actions.edit_comment(
            site.engine, reader, comment_id, text, utc_now(), _window(site)
        )
    except PaperroundError as error:
        return _page(request, site, comment_id, error=error, text=text)
    return _back_to(site, comment)


@router.post("/comments/{comment_id}/delete")
def delete(site: SiteHere, reader: ReaderHere, comment_id: CommentId) -> Response:
    """Takes the reader's own comment back."""
    return _back_to(site, actions.take_back(site.engine, reader, comment_id), at="comments")


@router.post("/comments/{comment_id}/report")
def report(
    request: Request, site: SiteHere, reader: ReaderHere, comment_id: CommentId, reason: Short = ""
) -> Response:
    """Tells the moderators of a comment."""
    try:
        actions.report_comment(site.engine, reader, comment_id, reason, utc_now())
    except NotFoundError:
        raise
    except PaperroundError as error:
        return _page(request, site, comment_id, error=error)
    return _page(request, site, comment_id, done="The moderators will look at it. Thank you.")


@router.post("/comments/{comment_id}/hide")
def hide(
    request: Request, site: SiteHere, reader: ReaderHere, comment_id: CommentId, because: Short = ""
) -> Response:
    """Hides a comment, with the reason why."""
    try:
        actions.hide_comment(site.engine, reader, comment_id, because, utc_now())
    except NotFoundError:
        raise
    except PaperroundError as error:
        return _page(request, site, comment_id, error=error)
    return RedirectResponse(f"/comments/{comment_id}", status_code=303)


@router.post("/comments/{comment_id}/show")
def show_again(site: SiteHere, reader: ReaderHere, comment_id: CommentId) -> Response:
    """Shows a comment again, or settles its reports."""
    actions.show_comment(site.engine, reader, comment_id, utc_now())
    return RedirectResponse(f"/comments/{comment_id}", status_code=303)


@router.get("/moderation")
def moderation(
    request: Request,
    site: SiteHere,
    after: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    """What readers have reported, and what moderators and admins did."""
    with read(site.engine) as connection:
        found = open_reports(connection, read_dated(after), _REPORTS + 1)
        acts = latest_acts(connection)
        asked = authorships_in(connection, "asked", None, _AUTHORSHIPS)
        confirmed = latest_confirmed(connection, _AUTHORSHIPS)
    reports, reader = found[:_REPORTS], who(request).reader
    return render(
        request,
        "moderation.html",
        is_secret=True,
        section="moderation",
        reports=[(reported, show(reported.comment, reader)) for reported in reports],
        is_first=after is None,
        follows=dated(reports[-1].first_at, reports[-1].comment.id)
        if len(found) > _REPORTS
        else "",
        acts=acts,
        asked=asked,
        confirmed=confirmed,
    )


def _page(
    request: Request,
    site: Site,
    comment_id: int,
    *,
    error: PaperroundError | None = None,
    text: str | None = None,
    done: str = "",
) -> Response:
    reader = who(request).reader
    with read(site.engine) as connection:
        comment = actions.visible_comment(connection, comment_id, reader)
        (paper,) = papers_by_id(connection, [comment.paper_id])
    shown = show(comment, reader)
    context: dict[str, Any] = {
        "shown": shown,
        "paper": paper,
        "may_edit": shown.is_own and _may_edit(site, comment),
        "text": comment.text if text is None else text,
        "error": str(error) if error else "",
        "done": done,
        "max_text": actions.MAX_TEXT,
        "max_reason": actions.MAX_REASON,
        "window": site.settings.comment_edit_minutes,
    }
    status = error.http_status if error else 200
    return render(request, "comment.html", status=status, is_secret=bool(error or done), **context)


def _may_edit(site: Site, comment: Comment) -> bool:
    try:
        actions.check_may_edit(comment, utc_now(), _window(site))
    except ForbiddenError:
        return False
    return True


def _window(site: Site) -> timedelta:
    return timedelta(minutes=site.settings.comment_edit_minutes)


def _back_to(site: Site, comment: Comment, at: str = "") -> Response:
    with read(site.engine) as connection:
        (paper,) = papers_by_id(connection, [comment.paper_id])
    place = at or f"comment-{comment.id}"
    return RedirectResponse(f"/papers/{paper.key}#{place}", status_code=303)
