"""How fast one network address, or one reader, may search."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from paperround.web.site import site_of
from paperround.web.visitors import client_address, who

# Titles while a person types cost little: so many of them count as one search.
_TITLES_PER_SEARCH = 8
# A model that ranks again takes seconds of the processor.
_RERANKED_SEARCHES = 10.0


def paced(request: Request) -> None:
    """Counts a search of whoever asks. Raises TooOftenError."""
    asks_a_model = request.query_params.get("rerank", "0").lower() not in ("0", "false", "")
    _spend(request, _RERANKED_SEARCHES if asks_a_model else 1.0)


def paced_titles(request: Request) -> None:
    """The same for titles while a person types."""
    _spend(request, 1 / _TITLES_PER_SEARCH)


Paced = Annotated[None, Depends(paced)]
PacedTitles = Annotated[None, Depends(paced_titles)]


def _spend(request: Request, cost: float) -> None:
    visitor = who(request)
    searches = site_of(request).searches
    # Who sits at the machine has it anyhow; while nobody has an account there is nobody else.
    if searches is None or visitor.is_this_machine:
        return
    name = f"reader {visitor.reader.id}" if visitor.reader else client_address(request)
    searches.spend(name, cost)
