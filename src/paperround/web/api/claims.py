"""The claims board, results and comparisons as JSON."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from paperround.db import read
from paperround.errors import UsageError
from paperround.runs.board import board, row_json
from paperround.runs.card import Scale
from paperround.runs.comparison import compare_results
from paperround.runs.records import find_result, results_kept
from paperround.runs.results import Result
from paperround.web.api.cursors import next_address
from paperround.web.api.shapes import PROBLEMS
from paperround.web.claims import Descending, FilterAsked, SortAsked, chosen_rows
from paperround.web.site import Site, SiteHere

router = APIRouter(tags=["claims"], responses=PROBLEMS)
# Where people look for it without having read the description.
short_router = APIRouter()

ResultId = Annotated[str, Path(max_length=64, description="its id, or at least 8 letters of it")]


class ClaimRowOut(BaseModel):
    """A claim at a scale; `result` is null where nothing of this card was measured there."""

    slug: str
    paper: str
    title: str
    family: str
    claim: str
    says: str
    metric: str
    reported: float | str | None
    where: str
    against: str = Field(description="what the claim is measured against")
    higher_is_better: bool
    scale: Scale
    baseline: float | None
    measured: float | None
    lowest_seed: float | None
    highest_seed: float | None
    runs: int
    median_of_runs: float | None
    lowest_run: float | None
    highest_run: float | None
    bar: str
    verdict: str
    reason: str
    measured_at: str | None
    origin: str | None
    result: str | None
    processor: str | None
    cores: int | None
    memory_gb: float | None
    program: str | None
    card: str
    older_card: str | None = Field(description="of the newest result, where it is another card's")
    older_measured: float | None
    older_verdict: str | None
    older_result: str | None
    changes: int = Field(description="how often the verdict has become another")


class BoardOut(BaseModel):
    """The board, or what a filter leaves of it."""

    claims: list[ClaimRowOut]


class ResultsOut(BaseModel):
    """A page of the results that this place knows of, in the order in which they came.

    `next` is the address of the following page, null on the last.
    """

    results: list[dict[str, Any]]
    next: str | None


@router.get("/claims")
@short_router.get("/claims")
def list_claims(
    site: SiteHere, wanted: FilterAsked, sort: SortAsked = "", down: Descending = False
) -> BoardOut:
    """Every claim of every runnable paper at every scale, and where it stands."""
    with read(site.engine) as connection:
        rows = chosen_rows(board(connection, site.rooms.values()), wanted, sort, down)
    return BoardOut(claims=[ClaimRowOut(**row_json(row)) for row in rows])


@router.get("/results")
def list_results(
    site: SiteHere,
    slug: Annotated[str | None, Query(max_length=60, examples=["copyspec"])] = None,
    scale: Annotated[str | None, Query(max_length=10, examples=["quick"])] = None,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> ResultsOut:
    """The results of a paper or of all: measured here, shipped, or imported."""
    if scale is not None and scale not in set(Scale):
        raise UsageError(f"no scale '{scale}'; there are {', '.join(Scale)}")
    with read(site.engine) as connection:
        views = results_kept(
            connection,
            None if slug is None else [slug],
            None if scale is None else Scale(scale),
            after=cursor,
            n=limit + 1,
        )
    shown, follows = views[:limit], None
    if len(views) > limit:
        asked = {"slug": slug, "scale": scale}
        given = {name: value for name, value in asked.items() if value is not None}
        follows = next_address("results", shown[-1].id, limit, **given)
    return ResultsOut(results=[view.to_json() for view in shown], next=follows)


@router.get("/results/{result_id}")
def get_result(site: SiteHere, result_id: ResultId) -> dict[str, Any]:
    """A result's whole record, as `paperround result import` reads it elsewhere."""
    result = _result(site, result_id)
    return {"id": result.id, **result.to_json()}


@router.get("/compare")
def compare(
    site: SiteHere,
    a: Annotated[str, Query(max_length=64, description="a result's id")],
    b: Annotated[str, Query(max_length=64, description="another's, of the same paper")],
) -> dict[str, Any]:
    """Two results side by side; `comparable` is false, and why, for different cards."""
    return compare_results(_result(site, a), _result(site, b)).to_json()


def _result(site: Site, result_id: str) -> Result:
    with read(site.engine) as connection:
        return find_result(connection, result_id, site.rooms.values())[1]
