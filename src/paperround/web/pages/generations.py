"""Text by a paper's way to decode: the form that asks for it, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import ForbiddenError, PaperroundError, UsageError
from paperround.kit.language_models.declarations import Declaration
from paperround.kit.offers import option_from_text
from paperround.readers import generations as actions
from paperround.readers.generations import Generation
from paperround.runs.generation import Asked
from paperround.runs.reproduction import Event
from paperround.runs.rights import check_may_delete_generation
from paperround.web.decoding import declared_here
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import who, who_asks, why_runs_are_closed

router = APIRouter()

_SHOWN = 20
# A number of more digits is none that anything here could take.
_MAX_DIGITS = 18

GenerationId = Annotated[str, Path(max_length=26)]
Given = Annotated[str, Query(max_length=200)]


async def _sent(request: Request) -> Mapping[str, str]:
    """The fields of the form."""
    form = await request.form()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    await form.close()
    return fields


Sent = Annotated[Mapping[str, str], Depends(_sent)]


@router.get("/generate")
def generate(
    request: Request,
    site: SiteHere,
    method: Given = "greedy",
    model: Given = "",
    prompt: Annotated[str, Query(max_length=actions.MAX_PROMPT)] = "",
    like: Annotated[str, Query(max_length=26)] = "",
) -> Response:
    """The form, and what the reader asked for before.

    `like` is the id of a generation from which the form is filled in.
    """
    asked = Asked(prompt, method, model=model)
    if like:
        with read(site.engine) as connection:
            asked = actions.find_generation(connection, like).asked
    return _page(request, site, asked)


@router.post("/generate")
def ask(request: Request, site: SiteHere, sent: Sent) -> Response:
    """Queues what the form asks for and leads to its page."""
    asker, declared = who_asks(request), declared_here(site)
    asked = Asked(
        # Browsers send line breaks as two signs; the command reads them as one.
        prompt=sent.get("prompt", "").replace("\r\n", "\n"),
        method=sent.get("method", "greedy"),
        model=sent.get("model", ""),
        is_chat="chat" in sent,
    )
    try:
        asked = _whole(asked, sent, declared)
        generation_id = actions.queue_generation(
            site.engine,
            who(request).reader,
            asked,
            utc_now(),
            asker=asker,
            declared=declared,
            settings=site.settings,
        )
    except PaperroundError as error:
        return _page(request, site, asked, error=error, sent=sent)
    return RedirectResponse(f"/generations/{generation_id}", status_code=303)


@router.get("/generations/{generation_id}")
def one(request: Request, site: SiteHere, generation_id: GenerationId) -> Response:
    """What came of it; whoever has the address may look."""
    with read(site.engine) as connection:
        generation = actions.find_generation(connection, generation_id)
        n_before, is_measuring = actions.what_is_before(connection, generation)
    report, models = generation.report, site.settings.generation.models
    return render(
        request,
        "generation.html",
        fragment="outcome",
        section="generate",
        generation=generation,
        report=report,
        texts=[] if report is None else [_as_sample(generation)],
        n_before=n_before,
        is_measuring=is_measuring,
        time_limit_s=site.settings.generation.time_limit_s,
        may_delete=_may_delete(request, generation),
        is_asset=models.get(generation.asked.model) == generation.asked.model,
        worker=site.worker,
    )


@router.post("/generations/{generation_id}/delete")
def delete(request: Request, site: SiteHere, generation_id: GenerationId) -> Response:
    """Removes it, and ends it where it is being worked on."""
    actions.delete_generation(site.engine, generation_id, asker=who_asks(request))
    return RedirectResponse("/generate", status_code=303)


def _page(
    request: Request,
    site: Site,
    asked: Asked,
    *,
    error: PaperroundError | None = None,
    sent: Mapping[str, str] | None = None,
) -> Response:
    """The form with `asked` in it; `sent` is what was typed, as it was, where it was refused."""
    declared, models = declared_here(site), list(site.settings.generation.models)
    visitor, sent = who(request), sent or {}
    if error is None and asked.method not in declared:
        error = UsageError(f"no method '{asked.method}'; there are {', '.join(declared)}")
    may_see_own = visitor.reader is not None or visitor.is_this_machine
    before = []
    if may_see_own:
        owner_id = None if visitor.reader is None else visitor.reader.id
        with read(site.engine) as connection:
            before = actions.generations_of(connection, owner_id, None, _SHOWN)
    return render(
        request,
        "generate.html",
        status=error.http_status if error else 200,
        is_secret=error is not None,
        section="generate",
        asked=asked,
        sent=sent,
        declared=declared,
        typed=_typed(asked, declared, sent),
        papers=site.papers_by_slug,
        models=models,
        generations=before,
        error=str(error) if error else "",
        closed=_why_closed(request, models),
        worker=site.worker,
        max_prompt=actions.MAX_PROMPT,
        max_new_tokens=actions.MAX_NEW_TOKENS,
        max_seed=actions.MAX_SEED,
        kept=actions.KEPT,
    )


def _why_closed(request: Request, models: Sequence[str]) -> str:
    if not models:
        return "This place offers no model."
    return why_runs_are_closed(request, to="generate text here")


def _whole(asked: Asked, sent: Mapping[str, str], declared: Mapping[str, Declaration]) -> Asked:
    """The same with the numbers and the chosen method's options as they were typed."""
    chosen = declared.get(asked.method)
    options = {}
    for name, default in () if chosen is None else chosen.options.items():
        text = sent.get(_field(asked.method, name))
        if text is not None:
            # Where a word is wanted, what looks like a number is one too.
            options[name] = text if isinstance(default, str) else option_from_text(text.strip())
    return Asked(
        asked.prompt,
        asked.method,
        options,
        asked.model,
        asked.is_chat,
        _number(sent, "max_new_tokens", asked.max_new_tokens),
        _number(sent, "seed", asked.seed),
    )


def _typed(
    asked: Asked, declared: Mapping[str, Declaration], sent: Mapping[str, str]
) -> dict[str, list[tuple[str, str, str]]]:
    """By method, its options: field, name and what stands in the field."""
    return {
        method: [
            (
                _field(method, name),
                name,
                sent.get(
                    _field(method, name),
                    _text(asked.options.get(name, default) if method == asked.method else default),
                ),
            )
            for name, default in declaration.options.items()
        ]
        for method, declaration in declared.items()
    }


def _field(method: str, option: str) -> str:
    return f"{method}.{option}"


def _text(value: Any) -> str:
    """A default as a person would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _number(sent: Mapping[str, str], name: str, default: int) -> int:
    text = sent.get(name, str(default)).strip()
    if not text.removeprefix("-").isdecimal() or len(text) > _MAX_DIGITS:
        raise UsageError(f"{name} is '{text[:40]}', which is no whole number")
    return int(text)


def _may_delete(request: Request, generation: Generation) -> bool:
    try:
        check_may_delete_generation(who(request).asker, generation.owner)
    except ForbiddenError:
        return False
    return True


def _as_sample(generation: Generation) -> Event:
    """The texts as a run's sample is shown: greedy decoding's first, differences marked."""
    report = generation.report
    assert report is not None
    parts = []
    if report.greedy is not None:
        parts.append({"label": "Greedy decoding", "text": report.greedy.text})
    for number, text in enumerate(report.texts, start=1):
        label = report.method if len(report.texts) == 1 else f"{report.method}, {number}"
        if text.log_prob is not None:
            label = f"{label} (log p {text.log_prob:.2f})"
        parts.append({"label": label, "text": text.text})
    return {"title": "What came out", "parts": parts, "note": ""}
