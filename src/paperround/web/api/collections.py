"""Collections as JSON: made, changed, filled, read by all who may see them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import Paper
from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import NotFoundError
from paperround.readers import collections as actions
from paperround.readers.records import Collected, Collection, Reader, Visibility
from paperround.readers.tokens import Scope
from paperround.web.api.cursors import dated, next_address, read_dated, read_number
from paperround.web.api.readers import REFUSED, Cursor, Limit
from paperround.web.api.shapes import PROBLEMS, PaperOut
from paperround.web.citations import MEDIA_TYPES, Form, exported
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, Visitor, VisitorHere

router = APIRouter(tags=["collections"], responses={**PROBLEMS, **REFUSED})

_PAGE = 30

CollectionKey = Annotated[str, Path(max_length=16, description="its key, as in its address")]
Key = Annotated[str, Path(max_length=200, examples=["2312.00858"])]
Shown = Literal["private", "link", "public"]


class CollectionAsked(BaseModel):
    """A new collection; `link` is for whoever has its address."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "For the seminar"}}
    )

    name: str = Field(max_length=1_200)
    about: str = Field(default="", max_length=20_000)
    visibility: Shown = "private"


class CollectionChange(BaseModel):
    """What is to be otherwise; what is absent stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"visibility": "public"}}
    )

    name: str | None = Field(default=None, max_length=1_200)
    about: str | None = Field(default=None, max_length=20_000)
    visibility: Shown | None = None


class PlaceAsked(BaseModel):
    """A note on the paper, and its place in the list, counted from 1; absent, both stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"note": "read §3", "place": 1}}
    )

    note: str | None = Field(default=None, max_length=20_000)
    place: int | None = Field(default=None, ge=1, le=actions.MAX_PAPERS)


class HideAsked(BaseModel):
    """Why a moderator does it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"because": "an advert"}}
    )

    because: str = Field(max_length=2_000)


class CollectionOut(BaseModel):
    """A collection without its papers."""

    key: str
    url: str
    owner: str
    name: str
    about: str
    visibility: str
    papers: int
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, collection: Collection) -> Self:
        """The shape of a collection."""
        return cls(
            key=collection.key,
            url=f"/collections/{collection.key}",
            owner=collection.owner,
            name=collection.name,
            about=collection.about,
            visibility=collection.visibility.value,
            papers=collection.n_papers,
            created_at=collection.created_at,
            changed_at=collection.changed_at,
        )


class CollectionsOut(BaseModel):
    """A page of collections; `next` is the address of the following page, null on the last."""

    collections: list[CollectionOut]
    next: str | None


class CollectedOut(BaseModel):
    """A paper in a collection."""

    paper: PaperOut
    note: str
    at: datetime

    @classmethod
    def of(cls, collected: Collected) -> Self:
        """The shape of a paper in a collection."""
        return cls(paper=PaperOut.of(collected.paper), note=collected.note, at=collected.at)


class CollectedPapersOut(BaseModel):
    """A page of a collection's papers, in its order."""

    papers: list[CollectedOut]
    next: str | None


@router.get("/collections")
def list_collections(site: SiteHere, cursor: Cursor = None, limit: Limit = _PAGE) -> CollectionsOut:
    """The public collections, the last changed first."""
    with read(site.engine) as connection:
        found = actions.public_collections(connection, read_dated(cursor), limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        last = shown[-1]
        follows = next_address("collections", dated(last.changed_at, last.id), limit)
    return CollectionsOut(collections=[CollectionOut.of(each) for each in shown], next=follows)


@router.get("/me/collections")
def list_own_collections(
    site: SiteHere, reader: ReaderHere, cursor: Cursor = None, limit: Limit = _PAGE
) -> CollectionsOut:
    """The reader's own collections, the newest first."""
    with read(site.engine) as connection:
        found = actions.collections_of(connection, reader.id, read_number(cursor), limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        follows = next_address("me/collections", str(shown[-1].id), limit)
    return CollectionsOut(collections=[CollectionOut.of(each) for each in shown], next=follows)


@router.post("/collections", status_code=201)
def add_collection(
    response: Response, site: SiteHere, reader: ReaderHere, asked: CollectionAsked
) -> CollectionOut:
    """Makes a collection."""
    made = actions.add_collection(
        site.engine,
        reader,
        asked.name,
        utc_now(),
        about=asked.about,
        visibility=Visibility(asked.visibility),
    )
    response.headers["location"] = f"/api/v1/collections/{made.key}"
    return CollectionOut.of(made)


@router.get("/collections/{collection}")
def get_collection(
    site: SiteHere, visitor: VisitorHere, collection: CollectionKey
) -> CollectionOut:
    """A collection that whoever asks may see."""
    with read(site.engine) as connection:
        return CollectionOut.of(actions.find_collection(connection, collection, _looking(visitor)))


@router.patch("/collections/{collection}")
def change_collection(
    site: SiteHere, reader: ReaderHere, collection: CollectionKey, asked: CollectionChange
) -> CollectionOut:
    """Changes the reader's own collection."""
    changed = actions.change_collection(
        site.engine,
        reader,
        collection,
        utc_now(),
        name=asked.name,
        about=asked.about,
        visibility=None if asked.visibility is None else Visibility(asked.visibility),
    )
    return CollectionOut.of(changed)


@router.delete("/collections/{collection}", status_code=204)
def delete_collection(site: SiteHere, reader: ReaderHere, collection: CollectionKey) -> Response:
    """Removes the reader's own collection."""
    actions.delete_collection(site.engine, reader, collection)
    return Response(status_code=204)


@router.get("/collections/{collection}/papers")
def list_papers_in(
    site: SiteHere,
    visitor: VisitorHere,
    collection: CollectionKey,
    cursor: Cursor = None,
    limit: Limit = _PAGE,
) -> CollectedPapersOut:
    """A collection's papers in its order, with the notes on them."""
    with read(site.engine) as connection:
        found = actions.find_collection(connection, collection, _looking(visitor))
        papers = actions.papers_in(connection, found.id, read_number(cursor), limit + 1)
    shown, follows = papers[:limit], None
    if len(papers) > limit:
        what = f"collections/{collection}/papers"
        follows = next_address(what, str(shown[-1].position), limit)
    return CollectedPapersOut(papers=[CollectedOut.of(each) for each in shown], next=follows)


@router.put("/collections/{collection}/papers/{key:path}", status_code=204)
def put_paper(
    site: SiteHere,
    reader: ReaderHere,
    collection: CollectionKey,
    key: Key,
    asked: PlaceAsked,
) -> Response:
    """Puts a paper into the reader's own collection, or changes its note or its place there."""
    paper = _paper(site, key)
    actions.put_paper(
        site.engine,
        reader,
        collection,
        paper.id,
        utc_now(),
        note=asked.note,
        place=asked.place,
    )
    return Response(status_code=204)


@router.delete("/collections/{collection}/papers/{key:path}", status_code=204)
def take_out(site: SiteHere, reader: ReaderHere, collection: CollectionKey, key: Key) -> Response:
    """Takes a paper out of the reader's own collection."""
    actions.take_out(site.engine, reader, collection, _paper(site, key).id, utc_now())
    return Response(status_code=204)


@router.get(
    "/collections/{collection}/export/{form}",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
def export_collection(
    site: SiteHere, visitor: VisitorHere, collection: CollectionKey, form: Form
) -> Response:
    """A collection as BibTeX (`bib`), CSL-JSON (`json`) or RIS (`ris`)."""
    with read(site.engine) as connection:
        found = actions.find_collection(connection, collection, _looking(visitor))
        return exported(connection, found, form)


@router.post("/collections/{collection}/hide", status_code=204)
def hide_collection(
    site: SiteHere, reader: ReaderHere, collection: CollectionKey, asked: HideAsked
) -> Response:
    """Makes somebody's collection their own alone: for moderators."""
    actions.hide_collection(site.engine, reader, collection, asked.because, utc_now())
    return Response(status_code=204)


def _looking(visitor: Visitor) -> Reader | None:
    """Whose eyes the request has: without the scope, a token sees no more than anybody."""
    return visitor.reader if Scope.READ in (visitor.scopes or ()) else None


def _paper(site: Site, key: str) -> Paper:
    with read(site.engine) as connection:
        detail = paper_by_key(connection, key)
    if detail is None:
        raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
    return detail.paper
