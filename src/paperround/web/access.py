"""Who may use which address: one table of all, asked before any handler runs.

An address that is not in the table is refused, so that a new one cannot be open by mistake. What
depends on whose a thing is (a comment, a run, a session) is asked where the thing is read.
"""

from collections.abc import Mapping

from starlette.requests import Request

from paperround.errors import ForbiddenError, SignInError
from paperround.readers.tokens import Scope
from paperround.runs.rights import Role
from paperround.web.forms import check_form_key
from paperround.web.visitors import who

_ORDER = list(Role)
API = "/api/v1"
SHORT_API = "/api"

# By method and address, as the route has it: the least role.
PAGES: Mapping[str, Role] = {
    "GET /": Role.VISITOR,
    "GET /day/{text}": Role.VISITOR,
    "GET /week/{text}": Role.VISITOR,
    "GET /month/{text}": Role.VISITOR,
    "GET /search": Role.VISITOR,
    "GET /search.{form}": Role.VISITOR,
    "GET /search/titles": Role.VISITOR,
    "GET /runnable": Role.VISITOR,
    "GET /runs": Role.VISITOR,
    "GET /runs/{run_id}": Role.VISITOR,
    "GET /runs/{run_id}/events": Role.VISITOR,
    # Asked in `visitors.who_asks` and in runs.rights: it depends on the scale and on whose run.
    "POST /runs/{run_id}/cancel": Role.VISITOR,
    "POST /papers/{key:path}/runs": Role.VISITOR,
    "GET /papers/{key:path}": Role.VISITOR,
    "GET /claims": Role.VISITOR,
    "GET /claims.csv": Role.VISITOR,
    "GET /claims/about": Role.VISITOR,
    "GET /claims/{slug}/{claim_id}": Role.VISITOR,
    "GET /verdicts": Role.VISITOR,
    "GET /badges/{slug}.svg": Role.VISITOR,
    "GET /badges/{slug}/{claim_id}.svg": Role.VISITOR,
    "GET /results/{name}": Role.VISITOR,
    "GET /results/{result_id}/images/{number}.png": Role.VISITOR,
    "GET /compare": Role.VISITOR,
    "GET /sources": Role.VISITOR,
    "GET /help": Role.VISITOR,
    "GET /healthz": Role.VISITOR,
    "GET /robots.txt": Role.VISITOR,
    "GET /favicon.ico": Role.VISITOR,
    "GET /sign-in": Role.VISITOR,
    "POST /sign-in": Role.VISITOR,
    "GET /sign-in/oidc": Role.VISITOR,
    "GET /sign-in/oidc/back": Role.VISITOR,
    "POST /sign-out": Role.VISITOR,
    "GET /sign-up": Role.VISITOR,
    "POST /sign-up": Role.VISITOR,
    "GET /join/{token}": Role.VISITOR,
    "POST /join/{token}": Role.VISITOR,
    "GET /forgot": Role.VISITOR,
    "POST /forgot": Role.VISITOR,
    "GET /password/{token}": Role.VISITOR,
    "POST /password/{token}": Role.VISITOR,
    "GET /confirm/{token}": Role.VISITOR,
    "POST /confirm/{token}": Role.VISITOR,
    "GET /me": Role.READER,
    "GET /me/papers/{kept}": Role.READER,
    "GET /me/comments": Role.READER,
    "GET /me/export.json": Role.READER,
    "POST /me/password": Role.READER,
    "POST /me/email": Role.READER,
    "POST /me/sessions/end": Role.READER,
    "POST /me/sessions/{session_id}/end": Role.READER,
    "POST /me/identities": Role.READER,
    "POST /me/identities/{identity}/end": Role.READER,
    "POST /me/delete": Role.READER,
    "POST /me/tokens": Role.READER,
    "POST /me/tokens/{token_id}/revoke": Role.READER,
    "GET /trending": Role.VISITOR,
    "GET /trending/why/{key:path}": Role.VISITOR,
    "POST /papers/{key:path}/vote": Role.READER,
    "POST /papers/{key:path}/mark": Role.READER,
    "POST /papers/{key:path}/comments": Role.READER,
    "GET /comments/{comment_id}": Role.VISITOR,
    "POST /comments/{comment_id}/edit": Role.READER,
    "POST /comments/{comment_id}/delete": Role.READER,
    "POST /comments/{comment_id}/report": Role.READER,
    "POST /comments/{comment_id}/hide": Role.MODERATOR,
    "POST /comments/{comment_id}/show": Role.MODERATOR,
    "GET /moderation": Role.MODERATOR,
    "GET /day.{form}": Role.VISITOR,
    "GET /week.{form}": Role.VISITOR,
    "GET /month.{form}": Role.VISITOR,
    "GET /day/{text}.{form}": Role.VISITOR,
    "GET /week/{text}.{form}": Role.VISITOR,
    "GET /month/{text}.{form}": Role.VISITOR,
    "GET /trending.{form}": Role.VISITOR,
    "GET /categories/{name}.{form}": Role.VISITOR,
    "GET /authors/{name}.{form}": Role.VISITOR,
    "GET /papers/{key:path}/comments.{form}": Role.VISITOR,
    "GET /subscribe": Role.VISITOR,
    "POST /subscribe": Role.VISITOR,
    "POST /subscribe/link": Role.VISITOR,
    "GET /subscribe/{token}": Role.VISITOR,
    "POST /subscribe/{token}": Role.VISITOR,
    "GET /unsubscribe/{token}": Role.VISITOR,
    "POST /unsubscribe/{token}": Role.VISITOR,
    # Whose subscriptions they are is said by the secret in the address.
    "GET /subscriptions/{token}": Role.VISITOR,
    "POST /subscriptions/{token}/add": Role.VISITOR,
    "POST /subscriptions/{token}/hours": Role.VISITOR,
    "POST /subscriptions/{token}/{subscription_id}": Role.VISITOR,
    "POST /subscriptions/{token}/act/{act}": Role.VISITOR,
    "GET /me/subscriptions": Role.READER,
    "POST /me/subscriptions/add": Role.READER,
    "POST /me/subscriptions/hours": Role.READER,
    "POST /me/subscriptions/{subscription_id}": Role.READER,
    "POST /me/subscriptions/act/{act}": Role.READER,
    "GET /collections": Role.VISITOR,
    "POST /collections": Role.READER,
    "GET /collections/{collection}": Role.VISITOR,
    "GET /collections/{collection}/export/{form}": Role.VISITOR,
    "POST /collections/{collection}/edit": Role.READER,
    "POST /collections/{collection}/delete": Role.READER,
    "POST /collections/{collection}/papers": Role.READER,
    "POST /collections/{collection}/remove": Role.READER,
    "POST /collections/{collection}/hide": Role.MODERATOR,
    "POST /collections/{collection}/bibtex": Role.READER,
    "POST /papers/{key:path}/collect": Role.READER,
    # Posts here are asked as runs are, in `visitors.who_asks` and in runs.rights.
    "GET /generate": Role.VISITOR,
    "POST /generate": Role.VISITOR,
    "GET /generations/{generation_id}": Role.VISITOR,
    "POST /generations/{generation_id}/delete": Role.VISITOR,
    "GET /submit": Role.READER,
    "POST /submit/address": Role.READER,
    "POST /submit/bibtex": Role.READER,
    "POST /submit/by-hand": Role.READER,
    "GET /submissions/{submission_id}": Role.READER,
    "POST /papers/{key:path}/withdraw": Role.MODERATOR,
    "POST /papers/{key:path}/authorship": Role.READER,
    "POST /authorships/{authorship_id}/take-back": Role.READER,
    "POST /authorships/{authorship_id}/confirm": Role.MODERATOR,
    "POST /authorships/{authorship_id}/refuse": Role.MODERATOR,
    "POST /authorships/{authorship_id}/revoke": Role.MODERATOR,
    "GET /organisations": Role.VISITOR,
    "GET /organisations/{organisation}": Role.VISITOR,
    "GET /organisations/{organisation}.{form}": Role.VISITOR,
    "GET /collections/{collection}.{form}": Role.VISITOR,
    "GET /runnable.{form}": Role.VISITOR,
    "GET /admin": Role.ADMIN,
    "GET /admin/readers": Role.ADMIN,
    "GET /admin/readers/{reader_id}": Role.ADMIN,
    "POST /admin/readers/{reader_id}/role": Role.ADMIN,
    "POST /admin/readers/{reader_id}/reset": Role.ADMIN,
    "POST /admin/readers/{reader_id}/suspend": Role.ADMIN,
    "POST /admin/readers/{reader_id}/readmit": Role.ADMIN,
    "POST /admin/readers/{reader_id}/delete": Role.ADMIN,
    "GET /admin/invitations": Role.ADMIN,
    "POST /admin/invitations": Role.ADMIN,
    "POST /admin/invitations/{invitation}/revoke": Role.ADMIN,
    "GET /admin/acts": Role.ADMIN,
}

# Forms without a page's key: a mail program presses this one, and its secret is in its address.
KEYLESS = frozenset({"POST /unsubscribe/{token}"})

# The same for the API; the scope that a token must have, where one is used.
API_ROUTES: Mapping[str, tuple[Role, Scope | None]] = {
    f"GET {API}/papers": (Role.VISITOR, None),
    f"GET {API}/feed": (Role.VISITOR, None),
    f"GET {API}/papers/{{key:path}}": (Role.VISITOR, None),
    f"GET {API}/search": (Role.VISITOR, None),
    f"GET {API}/runnable": (Role.VISITOR, None),
    f"GET {API}/claims": (Role.VISITOR, None),
    f"GET {SHORT_API}/claims": (Role.VISITOR, None),
    f"GET {API}/results": (Role.VISITOR, None),
    f"GET {API}/results/{{result_id}}": (Role.VISITOR, None),
    f"GET {API}/compare": (Role.VISITOR, None),
    f"GET {API}/runs": (Role.VISITOR, None),
    f"GET {API}/runs/{{run_id}}": (Role.VISITOR, None),
    f"GET {API}/trending": (Role.VISITOR, None),
    f"GET {API}/me": (Role.READER, Scope.READ),
    f"GET {API}/me/votes": (Role.READER, Scope.READ),
    f"GET {API}/me/marks/{{mark}}": (Role.READER, Scope.READ),
    f"GET {API}/me/comments": (Role.READER, Scope.READ),
    f"PUT {API}/papers/{{key:path}}/vote": (Role.READER, Scope.VOTE),
    f"DELETE {API}/papers/{{key:path}}/vote": (Role.READER, Scope.VOTE),
    f"PUT {API}/papers/{{key:path}}/mark": (Role.READER, Scope.VOTE),
    f"DELETE {API}/papers/{{key:path}}/mark": (Role.READER, Scope.VOTE),
    f"GET {API}/papers/{{key:path}}/comments": (Role.VISITOR, None),
    f"POST {API}/papers/{{key:path}}/comments": (Role.READER, Scope.COMMENT),
    f"GET {API}/comments/{{comment_id}}": (Role.VISITOR, None),
    f"PATCH {API}/comments/{{comment_id}}": (Role.READER, Scope.COMMENT),
    f"DELETE {API}/comments/{{comment_id}}": (Role.READER, Scope.COMMENT),
    f"POST {API}/comments/{{comment_id}}/report": (Role.READER, Scope.COMMENT),
    f"POST {API}/subscriptions": (Role.VISITOR, None),
    f"GET {API}/me/subscriptions": (Role.READER, Scope.READ),
    f"POST {API}/me/subscriptions": (Role.READER, Scope.SUBSCRIBE),
    f"DELETE {API}/me/subscriptions": (Role.READER, Scope.SUBSCRIBE),
    f"PUT {API}/me/subscriptions/hours": (Role.READER, Scope.SUBSCRIBE),
    f"POST {API}/me/subscriptions/resume": (Role.READER, Scope.SUBSCRIBE),
    f"GET {API}/me/subscriptions/{{subscription_id}}": (Role.READER, Scope.READ),
    f"PATCH {API}/me/subscriptions/{{subscription_id}}": (Role.READER, Scope.SUBSCRIBE),
    f"DELETE {API}/me/subscriptions/{{subscription_id}}": (Role.READER, Scope.SUBSCRIBE),
    f"GET {API}/collections": (Role.VISITOR, None),
    f"POST {API}/collections": (Role.READER, Scope.COLLECT),
    f"GET {API}/me/collections": (Role.READER, Scope.READ),
    f"GET {API}/collections/{{collection}}": (Role.VISITOR, None),
    f"PATCH {API}/collections/{{collection}}": (Role.READER, Scope.COLLECT),
    f"DELETE {API}/collections/{{collection}}": (Role.READER, Scope.COLLECT),
    f"GET {API}/collections/{{collection}}/papers": (Role.VISITOR, None),
    f"PUT {API}/collections/{{collection}}/papers/{{key:path}}": (Role.READER, Scope.COLLECT),
    f"DELETE {API}/collections/{{collection}}/papers/{{key:path}}": (Role.READER, Scope.COLLECT),
    f"GET {API}/collections/{{collection}}/export/{{form}}": (Role.VISITOR, None),
    f"POST {API}/collections/{{collection}}/hide": (Role.MODERATOR, Scope.MODERATE),
    f"GET {API}/generations/methods": (Role.VISITOR, None),
    f"POST {API}/generations": (Role.VISITOR, Scope.RUN),
    f"GET {API}/generations/{{generation_id}}": (Role.VISITOR, None),
    f"DELETE {API}/generations/{{generation_id}}": (Role.VISITOR, Scope.RUN),
    f"GET {API}/me/generations": (Role.READER, Scope.READ),
    f"POST {API}/submissions": (Role.READER, Scope.SUBMIT),
    f"POST {API}/submissions/bibtex": (Role.READER, Scope.SUBMIT),
    f"POST {API}/submissions/by-hand": (Role.READER, Scope.SUBMIT),
    f"GET {API}/submissions/{{submission_id}}": (Role.READER, Scope.READ),
    f"GET {API}/me/submissions": (Role.READER, Scope.READ),
    f"POST {API}/papers/{{key:path}}/withdraw": (Role.MODERATOR, Scope.MODERATE),
    f"POST {API}/papers/{{key:path}}/authorship": (Role.READER, Scope.SUBMIT),
    f"GET {API}/me/authorships": (Role.READER, Scope.READ),
    f"DELETE {API}/authorships/{{authorship_id}}": (Role.READER, Scope.SUBMIT),
    f"POST {API}/authorships/{{authorship_id}}/confirm": (Role.MODERATOR, Scope.MODERATE),
    f"POST {API}/authorships/{{authorship_id}}/refuse": (Role.MODERATOR, Scope.MODERATE),
    f"POST {API}/authorships/{{authorship_id}}/revoke": (Role.MODERATOR, Scope.MODERATE),
    f"GET {API}/moderation/authorships": (Role.MODERATOR, Scope.MODERATE),
    f"GET {API}/moderation/reports": (Role.MODERATOR, Scope.MODERATE),
    f"GET {API}/moderation/acts": (Role.MODERATOR, Scope.MODERATE),
    f"POST {API}/comments/{{comment_id}}/hide": (Role.MODERATOR, Scope.MODERATE),
    f"POST {API}/comments/{{comment_id}}/show": (Role.MODERATOR, Scope.MODERATE),
    f"GET {API}/me/export": (Role.READER, Scope.READ),
    f"GET {API}/organisations": (Role.VISITOR, None),
    f"GET {API}/organisations/{{organisation}}": (Role.VISITOR, None),
    f"GET {API}/organisations/{{organisation}}/papers": (Role.VISITOR, None),
    f"GET {API}/admin/state": (Role.ADMIN, Scope.ADMIN),
    f"GET {API}/admin/readers": (Role.ADMIN, Scope.ADMIN),
    f"GET {API}/admin/readers/{{name}}": (Role.ADMIN, Scope.ADMIN),
    f"POST {API}/admin/readers/{{name}}/suspend": (Role.ADMIN, Scope.ADMIN),
    f"POST {API}/admin/readers/{{name}}/readmit": (Role.ADMIN, Scope.ADMIN),
    f"GET {API}/admin/invitations": (Role.ADMIN, Scope.ADMIN),
    f"DELETE {API}/admin/invitations/{{invitation}}": (Role.ADMIN, Scope.ADMIN),
    f"POST {API}/runs": (Role.VISITOR, Scope.RUN),
    f"POST {API}/runs/{{run_id}}/cancel": (Role.VISITOR, Scope.RUN),
}


def check_role(request: Request) -> None:
    """Raises SignInError or ForbiddenError where whoever asks may not use this address."""
    least, scope = rule_of(request)
    visitor = who(request)
    if _ORDER.index(visitor.role) < _ORDER.index(least):
        if visitor.reader is None:
            raise SignInError("sign in first")
        raise ForbiddenError(f"this is for {least}s")
    if visitor.scopes is not None and scope is not None and scope not in visitor.scopes:
        raise ForbiddenError(f"this token does not have the scope '{scope}'")


async def check_form(request: Request) -> None:
    """Raises ForbiddenError for a form of a page that is not ours."""
    is_page = not request.url.path.startswith(f"{SHORT_API}/")
    is_keyless = f"{request.method} {request.scope['route'].path}" in KEYLESS
    if is_page and not is_keyless and request.method not in ("GET", "HEAD", "OPTIONS"):
        await check_form_key(request)


def rule_of(request: Request) -> tuple[Role, Scope | None]:
    """The least role and the scope of the address that was asked for."""
    route = f"{request.method} {request.scope['route'].path}"
    path = request.url.path
    for prefix in (API, SHORT_API):
        if path.startswith(f"{prefix}/"):
            return rule(f"{request.method} {prefix}{request.scope['route'].path}")
    return rule(route)


def rule(route: str) -> tuple[Role, Scope | None]:
    """The rule of a route such as `GET /papers/{key:path}`; ForbiddenError where there is none."""
    found = API_ROUTES.get(route)
    if found is None and route in PAGES:
        found = PAGES[route], None
    if found is None:
        raise ForbiddenError(f"nobody has said who may use {route}")
    return found
