"""Generations as JSON: asked for, looked at, deleted."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from paperround.clock import utc_now
from paperround.db import read
from paperround.readers import generations as actions
from paperround.readers.generations import Generation
from paperround.runs.generation import Asked, Report, Scalar
from paperround.web.api.cursors import next_address
from paperround.web.api.readers import REFUSED, Limit
from paperround.web.api.shapes import PROBLEMS
from paperround.web.decoding import declared_here
from paperround.web.site import SiteHere
from paperround.web.visitors import VisitorHere, who_asks

router = APIRouter(tags=["generations"], responses={**PROBLEMS, **REFUSED})

_PAGE = 30

GenerationId = Annotated[str, Path(max_length=26)]


class MethodOut(BaseModel):
    """A way to decode: its options with their defaults, the paper that it comes from, if any.

    `is_greedy` promises the text of greedy decoding.
    """

    name: str
    about: str
    options: dict[str, Scalar]
    is_greedy: bool
    slug: str | None


class MethodsOut(BaseModel):
    """The ways to decode, and the models to decode with; the first is the default."""

    methods: list[MethodOut]
    models: list[str]


class GenerationAsked(BaseModel):
    """What is asked of a language model. Options that are not given keep their defaults."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "prompt": "The cat sat on the mat, and the cat sat on the",
                "method": "copyspec",
                "options": {"gamma": 3},
                "max_new_tokens": 32,
            }
        },
    )

    prompt: str = Field(min_length=1, max_length=actions.MAX_PROMPT)
    method: str = Field(default="greedy", max_length=60)
    options: dict[str, Scalar] = Field(default={}, max_length=40)
    model: str = Field(default="", max_length=60)
    chat: bool = False
    max_new_tokens: int = Field(default=64, ge=1, le=actions.MAX_NEW_TOKENS)
    seed: int = Field(default=0, ge=0, le=actions.MAX_SEED)


class GenerationOut(BaseModel):
    """A generation; `state` is waiting, working, done or failed, `report` is there when done.

    `command` does the same on another machine, with the prompt in a file.
    """

    id: str
    url: str
    state: str
    reason: str
    at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    prompt: str
    method: str
    options: dict[str, Scalar]
    model: str
    chat: bool
    max_new_tokens: int
    seed: int
    command: str
    report: Report | None

    @classmethod
    def of(cls, generation: Generation) -> Self:
        """The shape of a generation."""
        asked = generation.asked
        return cls(
            id=generation.id,
            url=f"/generations/{generation.id}",
            state=generation.state,
            reason=generation.reason,
            at=generation.at,
            started_at=generation.started_at,
            ended_at=generation.ended_at,
            prompt=asked.prompt,
            method=asked.method,
            options=dict(asked.options),
            model=asked.model,
            chat=asked.is_chat,
            max_new_tokens=asked.max_new_tokens,
            seed=asked.seed,
            command=asked.command,
            report=generation.report,
        )


class GenerationsOut(BaseModel):
    """A page of generations; `next` is the address of the following page, null on the last."""

    generations: list[GenerationOut]
    next: str | None


@router.get("/generations/methods")
def list_methods(site: SiteHere) -> MethodsOut:
    """What can be asked for."""
    methods = [
        MethodOut(
            name=one.name,
            about=one.about,
            options=dict(one.options),
            is_greedy=one.is_greedy,
            slug=one.slug or None,
        )
        for one in declared_here(site).values()
    ]
    return MethodsOut(methods=methods, models=list(site.settings.generation.models))


@router.post("/generations", status_code=202)
def add_generation(
    request: Request,
    response: Response,
    site: SiteHere,
    visitor: VisitorHere,
    asked: GenerationAsked,
) -> GenerationOut:
    """Asks for a text; a worker decodes it, and greedily beside it."""
    generation_id = actions.queue_generation(
        site.engine,
        visitor.reader,
        Asked(
            asked.prompt,
            asked.method,
            asked.options,
            asked.model,
            asked.chat,
            asked.max_new_tokens,
            asked.seed,
        ),
        utc_now(),
        asker=who_asks(request),
        declared=declared_here(site),
        settings=site.settings,
    )
    response.headers["location"] = f"/api/v1/generations/{generation_id}"
    with read(site.engine) as connection:
        return GenerationOut.of(actions.find_generation(connection, generation_id))


@router.get("/generations/{generation_id}")
def get_generation(site: SiteHere, generation_id: GenerationId) -> GenerationOut:
    """What came of it; whoever has the id may look."""
    with read(site.engine) as connection:
        return GenerationOut.of(actions.find_generation(connection, generation_id))


@router.delete("/generations/{generation_id}", status_code=204)
def delete_generation(request: Request, site: SiteHere, generation_id: GenerationId) -> Response:
    """Removes it, and ends it where it is being worked on."""
    actions.delete_generation(site.engine, generation_id, asker=who_asks(request))
    return Response(status_code=204)


@router.get("/me/generations")
def list_generations(
    site: SiteHere,
    visitor: VisitorHere,
    cursor: Annotated[str | None, Query(max_length=26)] = None,
    limit: Limit = _PAGE,
) -> GenerationsOut:
    """The reader's generations, the newest first."""
    owner_id = None if visitor.reader is None else visitor.reader.id
    with read(site.engine) as connection:
        found = actions.generations_of(connection, owner_id, cursor, limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        follows = next_address("me/generations", shown[-1].id, limit)
    return GenerationsOut(generations=[GenerationOut.of(each) for each in shown], next=follows)
