"""What a page can do, a program can do by the API with a token, or it says here why not."""

import pytest
from fastapi.testclient import TestClient

from paperround.web.access import API, API_ROUTES, PAGES, SHORT_API

_BROWSER = "it is about a browser's session, which a program with a token has none of"
_SECRET = "it could let whoever holds a token take the account over"
_MAIL = "it is pressed in a mail, whose secret is in the address"
_LINK = "it shows a link that lets somebody in, which a person with a session sees alone"

# By the page's post: what does the same in the API, or why nothing does.
COUNTERPARTS = {
    "POST /runs/{run_id}/cancel": f"POST {API}/runs/{{run_id}}/cancel",
    "POST /papers/{key:path}/runs": f"POST {API}/runs",
    "POST /sign-in": _BROWSER,
    "POST /sign-out": _BROWSER,
    "POST /sign-up": _BROWSER,
    "POST /join/{token}": _BROWSER,
    "POST /forgot": _BROWSER,
    "POST /password/{token}": _BROWSER,
    "POST /confirm/{token}": _BROWSER,
    "POST /me/password": _SECRET,
    "POST /me/email": _SECRET,
    "POST /me/sessions/end": _SECRET,
    "POST /me/sessions/{session_id}/end": _SECRET,
    "POST /me/identities": _SECRET,
    "POST /me/identities/{identity}/end": _SECRET,
    "POST /me/delete": _SECRET,
    "POST /me/tokens": _SECRET,
    "POST /me/tokens/{token_id}/revoke": _SECRET,
    "POST /papers/{key:path}/vote": f"PUT {API}/papers/{{key:path}}/vote",
    "POST /papers/{key:path}/mark": f"PUT {API}/papers/{{key:path}}/mark",
    "POST /papers/{key:path}/comments": f"POST {API}/papers/{{key:path}}/comments",
    "POST /comments/{comment_id}/edit": f"PATCH {API}/comments/{{comment_id}}",
    "POST /comments/{comment_id}/delete": f"DELETE {API}/comments/{{comment_id}}",
    "POST /comments/{comment_id}/report": f"POST {API}/comments/{{comment_id}}/report",
    "POST /comments/{comment_id}/hide": f"POST {API}/comments/{{comment_id}}/hide",
    "POST /comments/{comment_id}/show": f"POST {API}/comments/{{comment_id}}/show",
    "POST /collections": f"POST {API}/collections",
    "POST /collections/{collection}/edit": f"PATCH {API}/collections/{{collection}}",
    "POST /collections/{collection}/delete": f"DELETE {API}/collections/{{collection}}",
    "POST /collections/{collection}/papers": (
        f"PUT {API}/collections/{{collection}}/papers/{{key:path}}"
    ),
    "POST /collections/{collection}/remove": (
        f"DELETE {API}/collections/{{collection}}/papers/{{key:path}}"
    ),
    "POST /collections/{collection}/hide": f"POST {API}/collections/{{collection}}/hide",
    "POST /collections/{collection}/bibtex": f"POST {API}/submissions/bibtex",
    "POST /papers/{key:path}/collect": (
        f"PUT {API}/collections/{{collection}}/papers/{{key:path}}"
    ),
    "POST /generate": f"POST {API}/generations",
    "POST /generations/{generation_id}/delete": f"DELETE {API}/generations/{{generation_id}}",
    "POST /submit/address": f"POST {API}/submissions",
    "POST /submit/bibtex": f"POST {API}/submissions/bibtex",
    "POST /submit/by-hand": f"POST {API}/submissions/by-hand",
    "POST /papers/{key:path}/withdraw": f"POST {API}/papers/{{key:path}}/withdraw",
    "POST /papers/{key:path}/authorship": f"POST {API}/papers/{{key:path}}/authorship",
    "POST /authorships/{authorship_id}/take-back": f"DELETE {API}/authorships/{{authorship_id}}",
    "POST /authorships/{authorship_id}/confirm": (
        f"POST {API}/authorships/{{authorship_id}}/confirm"
    ),
    "POST /authorships/{authorship_id}/refuse": f"POST {API}/authorships/{{authorship_id}}/refuse",
    "POST /authorships/{authorship_id}/revoke": f"POST {API}/authorships/{{authorship_id}}/revoke",
    "POST /subscribe": f"POST {API}/subscriptions",
    "POST /subscribe/link": _MAIL,
    "POST /subscribe/{token}": _MAIL,
    "POST /unsubscribe/{token}": _MAIL,
    "POST /subscriptions/{token}/add": _MAIL,
    "POST /subscriptions/{token}/hours": _MAIL,
    "POST /subscriptions/{token}/{subscription_id}": _MAIL,
    "POST /subscriptions/{token}/act/{act}": _MAIL,
    "POST /me/subscriptions/add": f"POST {API}/me/subscriptions",
    "POST /me/subscriptions/hours": f"PUT {API}/me/subscriptions/hours",
    "POST /me/subscriptions/{subscription_id}": (
        f"PATCH {API}/me/subscriptions/{{subscription_id}}"
    ),
    "POST /me/subscriptions/act/{act}": f"POST {API}/me/subscriptions/resume",
    "POST /admin/readers/{reader_id}/role": _SECRET,
    "POST /admin/readers/{reader_id}/reset": _LINK,
    "POST /admin/readers/{reader_id}/suspend": f"POST {API}/admin/readers/{{name}}/suspend",
    "POST /admin/readers/{reader_id}/readmit": f"POST {API}/admin/readers/{{name}}/readmit",
    "POST /admin/readers/{reader_id}/delete": _SECRET,
    "POST /admin/invitations": _LINK,
    "POST /admin/invitations/{invitation}/revoke": (
        f"DELETE {API}/admin/invitations/{{invitation}}"
    ),
}

# What asks for a mail that somebody has to press a button in is open to all.
OPEN = [f"POST {API}/subscriptions"]


def test_every_post_of_a_page_is_in_the_table() -> None:
    posts = {route for route in PAGES if not route.startswith("GET ")}
    assert set(COUNTERPARTS) == posts


@pytest.mark.parametrize("page", sorted(COUNTERPARTS))
def test_what_a_page_can_do_the_api_can_do_for_the_same_roles(page: str) -> None:
    counterpart = COUNTERPARTS[page]
    if " /api/" not in counterpart:
        return
    least, scope = API_ROUTES[counterpart]
    assert least is PAGES[page]
    assert scope is not None or counterpart in OPEN, "what changes something has a scope"


def test_everything_in_the_api_that_changes_something_needs_a_scope() -> None:
    changing = {route: rule for route, rule in API_ROUTES.items() if not route.startswith("GET ")}
    assert [route for route, (_, scope) in changing.items() if scope is None] == OPEN
    # The short address of the claims is a place to look, and nothing else.
    assert [route for route in changing if not route.partition(" ")[2].startswith(API)] == []
    assert SHORT_API != API


# Lists that are given whole, and why.
WHOLE = {
    f"{API}/runnable": "as many as there are rooms installed",
    f"{API}/claims": "as many as the cards of the installed rooms have",
    f"{API}/trending": "the top of a list that moves with time; `limit` says how long",
    f"{API}/me/subscriptions": "a reader has a few",
    f"{API}/admin/invitations": "they last for two weeks",
}


def test_every_list_of_the_api_goes_on_by_cursor_or_says_why_it_is_whole(
    client: TestClient,
) -> None:
    described = client.get(f"{API}/openapi.json").json()
    shapes = described["components"]["schemas"]
    whole = set()
    for path, methods in described["paths"].items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {})
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        shape = shapes.get(schema.get("$ref", "").rpartition("/")[2], {})
        fields = shape.get("properties", {})
        lists = [name for name, field in fields.items() if "$ref" in field.get("items", {})]
        is_list = any(set(fields) - {"next"} == {name} for name in lists) or path in WHOLE
        if not is_list:
            continue
        asked = {parameter["name"] for parameter in methods["get"].get("parameters", [])}
        if "next" in fields:
            assert {"cursor", "limit"} <= asked, path
        else:
            whole.add(path)
    assert whole == set(WHOLE)
