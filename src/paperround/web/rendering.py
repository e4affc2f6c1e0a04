"""Pages from templates: the environment, what every page knows, and the response around it."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from paperround.catalogue.identity import organisation_key
from paperround.catalogue.records import Paper
from paperround.discovery.highlights import ELLIPSIS_AFTER, ELLIPSIS_BEFORE, Span
from paperround.runs.queries import tally_of
from paperround.web import claims, tex, wording
from paperround.web.forms import form_key, keep_form_secret
from paperround.web.readme import readme_html
from paperround.web.samples import shown_samples
from paperround.web.visitors import Visitor, who

STATIC = Path(__file__).with_name("static")
_EXCERPT_CHARACTERS = 330
_LEADING_AUTHORS = 3


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    fragment: str | None = None,
    is_secret: bool = False,
    visitor: Visitor | None = None,
    **context: Any,
) -> Response:
    """The page of a template, or 304 where the browser has it already.

    `fragment` names the block to send alone when htmx asks for a part of the page. A page that
    `is_secret` is kept nowhere. `visitor` is who the page is for, whoever asks unless it is given.
    """
    visitor = visitor or who(request)
    values = {"request": request, "path": request.url.path, "visitor": visitor, **context}
    page = environment().get_template(template)
    if fragment is not None and wants_fragment(request):
        body = "".join(page.blocks[fragment](page.new_context(values)))
    else:
        body = page.render(values)
    kept = "private, no-cache" if visitor.reader else "no-cache"
    headers = {"cache-control": "no-store" if is_secret else kept, "vary": "Cookie"}
    if fragment is not None:
        headers["vary"] += ", HX-Request, HX-Request-Type"
    if status == 200 and not is_secret:
        # Weak: the same page is sent packed and unpacked.
        headers["etag"] = f'W/"{hashlib.sha256(body.encode()).hexdigest()[:20]}"'
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
    response = HTMLResponse(body, status_code=status, headers=headers)
    keep_form_secret(request, response)
    return response


def kept_response(
    request: Request, body: str, media_type: str, headers: dict[str, str], status: int = 200
) -> Response:
    """The body with an ETag over it, or 304 where the asker has it already."""
    etag = f'W/"{hashlib.sha256(body.encode()).hexdigest()[:20]}"'
    headers = {**headers, "etag": etag}
    if status == 200 and etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, status_code=status, media_type=media_type, headers=headers)


def wants_fragment(request: Request) -> bool:
    """Whether htmx asks for a part of a page that it has already."""
    return request.headers.get("hx-request-type") == "partial"


@cache
def environment() -> Environment:
    """The templates with what they may call; unknown names are errors, text is escaped."""
    made = Environment(
        loader=PackageLoader("paperround.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=wording.number,
        day=wording.day,
        short_day=wording.short_day,
        moment=wording.moment,
        duration=wording.duration,
        web_address=wording.web_address,
        host=wording.host,
        capitalize_first=wording.capitalize_first,
        lower_first=wording.lower_first,
        machine=wording.machine,
        short_machine=wording.short_machine,
        plot_of=claims.claim_plot,
        readme=readme_html,
        scheme_name=wording.scheme_name,
        slug=wording.slug,
        beginning=wording.beginning,
        organisation_key=organisation_key,
        pair=lambda value: (value, value),
    )
    made.globals.update(
        static=static_address,
        form_key=form_key,
        count=wording.count,
        period_title=wording.period_title,
        period_address=wording.period_address,
        title=title,
        abstract=abstract,
        excerpt=excerpt,
        marked_title=marked_title,
        marked_excerpt=marked_excerpt,
        byline=byline,
        tally_of=tally_of,
        tally_says=claims.tally_says,
        tally_state=claims.tally_state,
        shown_samples=shown_samples,
    )
    return made


def title(paper: Paper) -> Markup:
    """The paper's title with its maths."""
    return tex.as_html(tex.pieces(paper.title, paper.title_text))


def abstract(paper: Paper) -> Markup:
    """The paper's abstract with its maths."""
    return tex.as_html(tex.pieces(paper.abstract, paper.abstract_text))


def excerpt(paper: Paper) -> Markup:
    """The beginning of the paper's abstract with its maths."""
    # Maths cut in half by the database's own excerpt stays words: only whole formulas are found.
    parts = tex.pieces(paper.abstract[:2000], paper.abstract_text[:2000])
    return tex.as_html(tex.beginning(parts, _EXCERPT_CHARACTERS))


def marked_title(paper: Paper, spans: Sequence[Span]) -> Markup:
    """The paper's title with its maths, and what was searched for marked."""
    return tex.marked_html(tex.pieces(paper.title, paper.title_text), _marks(spans))


def marked_excerpt(paper: Paper, spans: Sequence[Span]) -> Markup:
    """The part of the abstract in the spans with its maths, and what was searched for marked."""
    text = "".join(span.text for span in spans)
    before = ELLIPSIS_BEFORE if text.startswith(ELLIPSIS_BEFORE) else ""
    after = ELLIPSIS_AFTER if text.endswith(ELLIPSIS_AFTER) else ""
    inner = text[len(before) : len(text) - len(after)]
    parts = tex.within(tex.pieces(paper.abstract, paper.abstract_text), inner)
    # Where the parts apart read otherwise than the whole, it is shown in plain words.
    html = tex.marked_html(parts if parts is not None else (tex.Piece(inner),), _marks(spans))
    return Markup("{}{}{}").format(before, html, after)


def _marks(spans: Sequence[Span]) -> set[str]:
    # A word is marked for what it is, so that it is marked wherever it stands.
    return {span.text for span in spans if span.marked}


def byline(paper: Paper) -> str:
    """The first authors and how many more: `A. Ay, B. Bee, C. Cee and 34 more`."""
    names = paper.authors[:_LEADING_AUTHORS]
    total = max(paper.author_count or 0, len(paper.authors))
    if not names:
        return wording.count(total, "author") if total else ""
    more = total - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def static_address(name: str) -> str:
    """The address of a static file, with its version, so that it may be kept for a year."""
    return f"/static/{name}?v={static_versions()[name]}"


@cache
def static_versions() -> Mapping[str, str]:
    """The beginning of each static file's SHA-256, by its name below `static/`."""
    return {
        path.relative_to(STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in STATIC.rglob("*")
        if path.is_file()
    }
