"""Handing in a paper: by its address, as BibTeX, or by hand; and what became of it."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import PaperroundError, UsageError
from paperround.readers import submissions as actions
from paperround.readers.collections import own_collection
from paperround.readers.submissions import ByHand
from paperround.web.pages.collections import CollectionKey, collection_page
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere

router = APIRouter()

_SHOWN = 20

Short = Annotated[str, Form(max_length=4_000)]
SubmissionId = Annotated[int, Path(ge=1, le=2**53)]


async def _bibtex(request: Request) -> str:
    """The bibliography in a form: the file where one was chosen, else what was pasted."""
    form = await request.form()
    file, pasted = form.get("file"), form.get("bibtex")
    text = pasted if isinstance(pasted, str) else ""
    if isinstance(file, UploadFile) and file.filename:
        text = (await file.read(actions.MAX_BIBTEX + 1)).decode("utf-8-sig", "replace")
    await form.close()
    return text


Bibtex = Annotated[str, Depends(_bibtex)]


@router.get("/submit")
def submit(request: Request, site: SiteHere, reader: ReaderHere) -> Response:
    """The forms to hand a paper in with, and what the reader handed in before."""
    return _page(request, site, reader_id=reader.id)


@router.post("/submit/address")
def by_address(
    request: Request, site: SiteHere, reader: ReaderHere, address: Short = ""
) -> Response:
    """Hands in a paper by its id, its DOI or its address."""
    try:
        number = actions.submit_address(site.engine, reader, address, utc_now())
    except PaperroundError as error:
        return _page(request, site, reader_id=reader.id, at="address", error=error, given=address)
    return RedirectResponse(f"/submissions/{number}", status_code=303)


@router.post("/submit/bibtex")
def by_bibtex(request: Request, site: SiteHere, reader: ReaderHere, bibtex: Bibtex) -> Response:
    """Hands in the papers of a bibliography."""
    try:
        number = actions.submit_bibtex(site.engine, reader, bibtex, utc_now())
    except PaperroundError as error:
        return _page(request, site, reader_id=reader.id, at="bibtex", error=error, given=bibtex)
    return RedirectResponse(f"/submissions/{number}", status_code=303)


@router.post("/collections/{collection}/bibtex")
def into_collection(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    collection: CollectionKey,
    bibtex: Bibtex,
) -> Response:
    """Hands in the papers of a bibliography, which go into the reader's collection too."""
    with read(site.engine) as connection:
        own_collection(connection, collection, reader)
    try:
        number = actions.submit_bibtex(site.engine, reader, bibtex, utc_now(), collection)
    except PaperroundError as error:
        return collection_page(request, site, collection, error=error, at="bibtex", bibtex=bibtex)
    return RedirectResponse(f"/submissions/{number}", status_code=303)


@router.post("/submit/by-hand")
def by_hand(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    title: Short = "",
    authors: Annotated[str, Form(max_length=60_000)] = "",
    abstract: Annotated[str, Form(max_length=60_000)] = "",
    published: Short = "",
    organisation: Short = "",
    venue: Short = "",
    pdf_url: Short = "",
    code_url: Short = "",
    project_url: Short = "",
) -> Response:
    """Hands in a paper as its author types it."""
    given = {
        "title": title,
        "authors": authors,
        "abstract": abstract,
        "published": published,
        "organisation": organisation,
        "venue": venue,
        "pdf_url": pdf_url,
        "code_url": code_url,
        "project_url": project_url,
    }
    try:
        names = [name.strip() for name in authors.splitlines() if name.strip()]
        paper = _checked({**given, "authors": names, "published": _day(published)})
        number = actions.submit_by_hand(site.engine, reader, paper, utc_now())
    except PaperroundError as error:
        return _page(request, site, reader_id=reader.id, at="by-hand", error=error, by_hand=given)
    return RedirectResponse(f"/submissions/{number}", status_code=303)


@router.get("/submissions/{submission_id}")
def one(
    request: Request, site: SiteHere, reader: ReaderHere, submission_id: SubmissionId
) -> Response:
    """What became of what was handed in."""
    with read(site.engine) as connection:
        submission = actions.find_submission(connection, submission_id, reader)
    return render(
        request,
        "submission.html",
        fragment="outcome",
        section="submit",
        submission=submission,
        worker=site.worker,
    )


@router.post("/papers/{key:path}/withdraw")
def withdraw(
    request: Request, site: SiteHere, reader: ReaderHere, key: str, because: Short = ""
) -> Response:
    """Takes a paper out that only readers' word stands for: for moderators."""
    actions.withdraw_paper(site.engine, reader, key, because, utc_now())
    return RedirectResponse("/moderation", status_code=303)


def _page(
    request: Request,
    site: Site,
    *,
    reader_id: int,
    at: str = "",
    error: PaperroundError | None = None,
    given: str = "",
    by_hand: dict[str, str] | None = None,
) -> Response:
    """The page; `at` names the form that `error` stands beside, with what was given to it."""
    with read(site.engine) as connection:
        before = actions.submissions_of(connection, reader_id, None, _SHOWN)
    return render(
        request,
        "submit.html",
        status=error.http_status if error else 200,
        is_secret=error is not None,
        section="submit",
        submissions=before,
        worker=site.worker,
        at=at,
        error=str(error) if error else "",
        address=given[:400] if at == "address" else "",
        bibtex=given if at == "bibtex" else "",
        by_hand=by_hand or {},
        today=utc_now().date().isoformat(),
        bibtex_action="/submit/bibtex",
        max_bibtex=actions.MAX_BIBTEX,
        max_entries=actions.MAX_ENTRIES,
    )


def _checked(given: dict[str, object]) -> ByHand:
    try:
        return ByHand.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(f"{fault['loc'][0]}: {fault['msg']}") from error


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError as error:
        raise UsageError(f"'{text[:40]}' is no day; write one like 2026-06-30") from error
