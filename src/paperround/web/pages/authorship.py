"""Saying that one is an author of a paper, and the moderators' answer."""

from typing import Annotated

from fastapi import APIRouter, Form, Path
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.readers import authorship as actions
from paperround.web.site import SiteHere
from paperround.web.visitors import ReaderHere

router = APIRouter()

Short = Annotated[str, Form(max_length=4_000)]
AuthorshipId = Annotated[int, Path(ge=1, le=2**53)]


@router.post("/papers/{key:path}/authorship")
def say(
    site: SiteHere, reader: ReaderHere, key: str, author: Short = "", note: Short = ""
) -> Response:
    """Says that the reader is that author of the paper; moderators look at it."""
    actions.claim_authorship(site.engine, reader, key, author, note, utc_now())
    return RedirectResponse(f"/papers/{key}#authorship", status_code=303)


@router.post("/authorships/{authorship_id}/take-back")
def take_back(site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId) -> Response:
    """Takes the reader's own word back, confirmed or not."""
    found = actions.take_back(site.engine, reader, authorship_id)
    return RedirectResponse(f"/papers/{found.paper_key}#authorship", status_code=303)


@router.post("/authorships/{authorship_id}/confirm")
def confirm(
    site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId, because: Short = ""
) -> Response:
    """Confirms it: for moderators."""
    return _decided(site, reader, authorship_id, actions.CONFIRMED, because)


@router.post("/authorships/{authorship_id}/refuse")
def refuse(
    site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId, because: Short = ""
) -> Response:
    """Refuses it: for moderators."""
    return _decided(site, reader, authorship_id, actions.REFUSED, because)


@router.post("/authorships/{authorship_id}/revoke")
def revoke(
    site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId, because: Short = ""
) -> Response:
    """Revokes what was confirmed: for moderators."""
    return _decided(site, reader, authorship_id, actions.REVOKED, because)


def _decided(
    site: SiteHere, reader: ReaderHere, authorship_id: int, state: str, because: str
) -> Response:
    actions.decide(site.engine, reader, authorship_id, state, because, utc_now())
    return RedirectResponse("/moderation#authorship", status_code=303)
