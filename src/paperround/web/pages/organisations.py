"""Organisations: the list, and the papers of each."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from paperround.catalogue.organisations import (
    Order,
    count_papers,
    organisation_by_key,
    organisations,
    papers_of_organisation,
)
from paperround.db import read
from paperround.errors import NotFoundError
from paperround.web import claims
from paperround.web.api.cursors import read_day, read_sized, sized, without_or_day
from paperround.web.feeds import alternates
from paperround.web.rendering import render
from paperround.web.site import SiteHere
from paperround.web.voting import counted, voting_on

router = APIRouter()

_ORGANISATIONS = 60
_PAPERS = 30

Cursor = Annotated[str | None, Query(max_length=120)]
OrganisationKey = Annotated[str, Path(max_length=80)]


@router.get("/organisations")
def all_of_them(
    request: Request,
    site: SiteHere,
    order: Annotated[Order, Query()] = "size",
    after: Cursor = None,
) -> Response:
    """The organisations that papers name, the largest first or by name."""
    with read(site.engine) as connection:
        found = organisations(connection, order, read_sized(after), _ORGANISATIONS + 1)
        n_named, n_papers = count_papers(connection)
    shown = found[:_ORGANISATIONS]
    return render(
        request,
        "organisations.html",
        section="organisations",
        organisations=shown,
        order=order,
        n_named=n_named,
        n_papers=n_papers,
        follows=sized(shown[-1].n_papers, shown[-1].key) if len(found) > len(shown) else None,
    )


@router.get("/organisations/{organisation}")
def one(
    request: Request, site: SiteHere, organisation: OrganisationKey, after: Cursor = None
) -> Response:
    """The papers of an organisation, the newest first."""
    with read(site.engine) as connection:
        found = organisation_by_key(connection, organisation)
        if found is None:
            raise NotFoundError(f"no paper here is of an organisation '{organisation}'")
        papers = papers_of_organisation(connection, found.key, read_day(after), _PAPERS + 1)
        follows = None
        if len(papers) > _PAPERS:
            last = papers[_PAPERS - 1]
            follows = without_or_day(last.day, last.id)
        shown = counted(connection, papers[:_PAPERS])
        voting = voting_on(request, connection, shown)
        tallies = claims.tallies(connection, site)
    name = " ".join(found.name.replace('"', " ").split())
    return render(
        request,
        "organisation.html",
        section="organisations",
        organisation=found,
        search=f'org:"{name}"',
        feeds=alternates(f"/organisations/{found.key}"),
        mail=urlencode({"kind": "organisation", "value": name}),
        papers=shown,
        follows=follows,
        voting=voting,
        tallies=tallies,
    )
