"""Organisations as JSON: how many papers each has, and which."""

from datetime import date
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from paperround.catalogue.organisations import (
    Order,
    Organisation,
    organisation_by_key,
    organisations,
    papers_of_organisation,
)
from paperround.db import read
from paperround.errors import NotFoundError
from paperround.web.api.cursors import (
    next_address,
    read_day,
    read_sized,
    sized,
    without_or_day,
)
from paperround.web.api.readers import Limit
from paperround.web.api.shapes import PROBLEMS, PaperOut, PapersOut
from paperround.web.site import SiteHere
from paperround.web.voting import counted

router = APIRouter(tags=["papers"], responses=PROBLEMS)

_PAGE = 30

Cursor = Annotated[str | None, Query(max_length=120)]
OrganisationKey = Annotated[str, Path(max_length=80, examples=["google-deepmind"])]


class OrganisationOut(BaseModel):
    """An organisation; `latest` is the day of its newest paper."""

    key: str
    url: str
    name: str
    papers: int
    latest: date | None

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """The shape of an organisation."""
        return cls(
            key=organisation.key,
            url=f"/organisations/{organisation.key}",
            name=organisation.name,
            papers=organisation.n_papers,
            latest=organisation.latest,
        )


class OrganisationsOut(BaseModel):
    """A page of organisations; `next` is the address of the following page, null on the last."""

    organisations: list[OrganisationOut]
    next: str | None


@router.get("/organisations")
def list_organisations(
    site: SiteHere,
    order: Annotated[Order, Query()] = "size",
    cursor: Cursor = None,
    limit: Limit = _PAGE,
) -> OrganisationsOut:
    """The organisations that papers name, the largest first or by their keys."""
    with read(site.engine) as connection:
        found = organisations(connection, order, read_sized(cursor), limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        last = sized(shown[-1].n_papers, shown[-1].key)
        follows = next_address("organisations", last, limit, order=order)
    return OrganisationsOut(
        organisations=[OrganisationOut.of(each) for each in shown], next=follows
    )


@router.get("/organisations/{organisation}")
def get_organisation(site: SiteHere, organisation: OrganisationKey) -> OrganisationOut:
    """An organisation."""
    with read(site.engine) as connection:
        found = organisation_by_key(connection, organisation)
    if found is None:
        raise NotFoundError(f"no paper here is of an organisation '{organisation}'")
    return OrganisationOut.of(found)


@router.get("/organisations/{organisation}/papers")
def list_papers_of_organisation(
    site: SiteHere, organisation: OrganisationKey, cursor: Cursor = None, limit: Limit = _PAGE
) -> PapersOut:
    """An organisation's papers, the newest first."""
    with read(site.engine) as connection:
        found = papers_of_organisation(connection, organisation, read_day(cursor), limit + 1)
        shown = counted(connection, found[:limit])
    if not shown and cursor is None:
        raise NotFoundError(f"no paper here is of an organisation '{organisation}'")
    follows = None
    if len(found) > limit:
        last = found[limit - 1]
        what = f"organisations/{organisation}/papers"
        follows = next_address(what, without_or_day(last.day, last.id), limit)
    return PapersOut(papers=[PaperOut.of(paper) for paper in shown], next=follows)
