"""Collections: the list of public ones, the page of each, and what its owner does with it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import Paper
from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import NotFoundError, PaperroundError, UsageError
from paperround.readers import collections as actions
from paperround.readers.records import Collection, Visibility
from paperround.readers.submissions import MAX_BIBTEX, MAX_ENTRIES
from paperround.web import citations, claims
from paperround.web.api.cursors import dated, read_dated, read_number
from paperround.web.feeds import alternates
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, who
from paperround.web.voting import counted, voting_on

router = APIRouter()

_COLLECTIONS = 30
_PAPERS = 50
_VISIBILITIES = (
    (Visibility.PRIVATE, "For you alone"),
    (Visibility.LINK, "For whoever has the address"),
    (Visibility.PUBLIC, "For all, and listed"),
)

CollectionKey = Annotated[str, Path(max_length=16)]
Short = Annotated[str, Form(max_length=2_000)]
Long = Annotated[str, Form(max_length=20_000)]
Cursor = Annotated[str | None, Query(max_length=80)]


@router.get("/collections")
def collections(request: Request, site: SiteHere, after: Cursor = None) -> Response:
    """The public collections, and those of whoever looks."""
    return _list_page(request, site, after=after)


@router.post("/collections")
def add(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    name: Short = "",
    about: Long = "",
    visibility: Short = Visibility.PRIVATE.value,
) -> Response:
    """Makes a collection, and leads to it."""
    try:
        made = actions.add_collection(
            site.engine, reader, name, utc_now(), about=about, visibility=_visibility(visibility)
        )
    except PaperroundError as error:
        return _list_page(request, site, error=error, name=name, about=about)
    return RedirectResponse(f"/collections/{made.key}", status_code=303)


@router.get("/collections/{collection}")
def one(
    request: Request, site: SiteHere, collection: CollectionKey, after: Cursor = None
) -> Response:
    """A collection's page, for whoever may see it."""
    return collection_page(request, site, collection, after=after)


@router.get("/collections/{collection}/export/{form}")
def export(
    request: Request, site: SiteHere, collection: CollectionKey, form: citations.Form
) -> Response:
    """A collection as a file: BibTeX, CSL-JSON or RIS."""
    with read(site.engine) as connection:
        found = actions.find_collection(connection, collection, who(request).reader)
        return citations.exported(connection, found, form)


@router.post("/collections/{collection}/edit")
def edit(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    collection: CollectionKey,
    name: Short = "",
    about: Long = "",
    visibility: Short = Visibility.PRIVATE.value,
) -> Response:
    """Changes what the collection is called, what it is about, and who may see it."""
    try:
        actions.change_collection(
            site.engine,
            reader,
            collection,
            utc_now(),
            name=name,
            about=about,
            visibility=_visibility(visibility),
        )
    except UsageError as error:
        return collection_page(request, site, collection, error=error, at="edit")
    return RedirectResponse(f"/collections/{collection}", status_code=303)


@router.post("/collections/{collection}/delete")
def delete(site: SiteHere, reader: ReaderHere, collection: CollectionKey) -> Response:
    """Removes the collection."""
    actions.delete_collection(site.engine, reader, collection)
    return RedirectResponse("/collections", status_code=303)


@router.post("/collections/{collection}/papers")
def put(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    collection: CollectionKey,
    paper: Short = "",
    note: Annotated[str | None, Form(max_length=20_000)] = None,
    place: Annotated[int | None, Form(ge=1, le=actions.MAX_PAPERS)] = None,
) -> Response:
    """Puts a paper into the collection, or changes its note or its place."""
    try:
        with read(site.engine) as connection:
            found = _paper(connection, paper)
        actions.put_paper(
            site.engine, reader, collection, found.id, utc_now(), note=note, place=place
        )
    except UsageError as error:
        return collection_page(request, site, collection, error=error, at="add", paper=paper)
    return RedirectResponse(f"/collections/{collection}#paper-{found.key}", status_code=303)


@router.post("/collections/{collection}/remove")
def remove(
    site: SiteHere, reader: ReaderHere, collection: CollectionKey, paper: Short = ""
) -> Response:
    """Takes a paper out of the collection."""
    with read(site.engine) as connection:
        found = _paper(connection, paper)
    actions.take_out(site.engine, reader, collection, found.id, utc_now())
    return RedirectResponse(f"/collections/{collection}", status_code=303)


@router.post("/collections/{collection}/hide")
def hide(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    collection: CollectionKey,
    because: Short = "",
) -> Response:
    """Makes somebody's collection their own alone: for moderators."""
    try:
        actions.hide_collection(site.engine, reader, collection, because, utc_now())
    except NotFoundError:
        raise
    except PaperroundError as error:
        return collection_page(request, site, collection, error=error, at="hide")
    return RedirectResponse("/collections", status_code=303)


@router.post("/papers/{key:path}/collect")
def collect(
    site: SiteHere,
    reader: ReaderHere,
    key: str,
    collection: Annotated[str, Form(max_length=16)] = "",
    name: Short = "",
) -> Response:
    """Puts the paper into a collection of the reader's, or into a new one of that name."""
    with read(site.engine) as connection:
        paper = _paper(connection, key)
    if name.strip():
        collection = actions.add_collection(site.engine, reader, name, utc_now()).key
    elif not collection:
        raise UsageError("choose a collection, or give a new one a name")
    actions.put_paper(site.engine, reader, collection, paper.id, utc_now())
    return RedirectResponse(f"/papers/{paper.key}#collections", status_code=303)


def _list_page(
    request: Request,
    site: Site,
    *,
    after: str | None = None,
    error: PaperroundError | None = None,
    name: str = "",
    about: str = "",
) -> Response:
    reader = who(request).reader
    with read(site.engine) as connection:
        own = [] if reader is None else actions.collections_of(connection, reader.id)
        found = actions.public_collections(connection, read_dated(after), _COLLECTIONS + 1)
    last = found[_COLLECTIONS - 1] if len(found) > _COLLECTIONS else None
    return render(
        request,
        "collections.html",
        status=error.http_status if error else 200,
        is_secret=error is not None,
        section="collections",
        own=own,
        collections=found[:_COLLECTIONS],
        is_first=after is None,
        follows=dated(last.changed_at, last.id) if last else None,
        error=str(error) if error else "",
        name=name[: actions.MAX_NAME],
        about=about[: actions.MAX_ABOUT],
        visibilities=_VISIBILITIES,
        max_name=actions.MAX_NAME,
        max_about=actions.MAX_ABOUT,
    )


def collection_page(
    request: Request,
    site: Site,
    key: str,
    *,
    after: str | None = None,
    error: PaperroundError | None = None,
    at: str = "",
    paper: str = "",
    bibtex: str = "",
) -> Response:
    """A collection's page; `at` names the form that `error` stands beside."""
    reader = who(request).reader
    with read(site.engine) as connection:
        collection = actions.find_collection(connection, key, reader)
        found = actions.papers_in(connection, collection.id, read_number(after), _PAPERS + 1)
        shown = found[:_PAPERS]
        papers = counted(connection, [each.paper for each in shown])
        context: dict[str, Any] = {
            "tallies": claims.tallies(connection, site),
            "voting": voting_on(request, connection, papers),
        }
    where = f"/collections/{collection.key}"
    return render(
        request,
        "collection.html",
        status=error.http_status if error else 200,
        is_secret=error is not None,
        section="collections",
        collection=collection,
        is_own=_is_own(request, collection),
        papers=list(zip(papers, shown, strict=True)),
        follows=shown[-1].position if len(found) > _PAPERS else None,
        is_first=after is None,
        error=str(error) if error else "",
        at=at,
        asked=paper[:200],
        bibtex=bibtex,
        feeds=[] if collection.visibility is Visibility.PRIVATE else alternates(where),
        bibtex_action=f"/collections/{collection.key}/bibtex",
        max_bibtex=MAX_BIBTEX,
        max_entries=MAX_ENTRIES,
        visibilities=_VISIBILITIES,
        max_name=actions.MAX_NAME,
        max_about=actions.MAX_ABOUT,
        max_note=actions.MAX_NOTE,
        max_papers=actions.MAX_PAPERS,
        **context,
    )


def _is_own(request: Request, collection: Collection) -> bool:
    reader = who(request).reader
    return reader is not None and reader.id == collection.reader_id


def _visibility(name: str) -> Visibility:
    if name not in set(Visibility):
        raise UsageError(f"no '{name[:20]}' here; there are {', '.join(Visibility)}")
    return Visibility(name)


def _paper(connection: Connection, name: str) -> Paper:
    """The paper of that key, that arXiv id, or that address here."""
    name = name.strip()
    _, here, key = name.rpartition("/papers/")
    detail = paper_by_key(connection, name) or (paper_by_key(connection, key) if here else None)
    if detail is None:
        raise NotFoundError(f"no paper '{name[:80]}' in this catalogue; submit it first")
    return detail.paper
