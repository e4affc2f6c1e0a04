"""Readers in a real Chromium: with JavaScript, without it, and what axe says of their pages."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
PASSWORD = "kettle orbit mango 7"
BOMBS = (
    r"$\def\a{\b\b\b\b}\def\b{\c\c\c\c}\def\c{\d\d\d\d}\def\d{xxxx}\a\a\a\a\a\a\a\a\a\a$",
    r"$\def\x{\x\x}\x$",
    "$" + "{" * 900 + "x" + "}" * 900 + "$",
    r"$\rule{9999em}{9999em}$",
    r"$\raisebox{19em}{\text{ABOVE}}$",
    r"$\rlap{\hspace{-19em}\text{BESIDE}}$",
    r"$\href{javascript:alert(1)}{x}\includegraphics{http://tracker.example/x.png}$",
)


@pytest.fixture(scope="module")
def own_server(
    tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., tuple[str, str]]
) -> tuple[str, str]:
    """A server of this module's own, since its first account ends this machine's rule; its link."""
    return start_server(tmp_path_factory.mktemp("readers-home"))


def sign_up(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ada")


def sign_in(page: Page, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("Name or address of mail").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="ada", exact=True)).to_be_visible()


# Of a rule that asks for more than its place, axe takes what is cut off for a ground behind lines.
_CUT_OFF = ".remark.depth-1 .math"


def findings(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "left_out => axe.run({exclude: [[left_out]]}, {resultTypes: ['violations']})", _CUT_OFF
    )
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def test_a_reader_s_day(open_page: OpenPage, own_server: tuple[str, str]) -> None:
    address, link = own_server
    for path in ("/sign-in", "/forgot", link.removeprefix(address)):
        page = open_page(f"{address}{path}", bypass_csp=True)
        assert findings(page) == [], path
    sign_up(page, link)
    assert findings(page) == []

    # In place: the button changes and the page stays.
    page.goto(f"{address}/")
    button = page.locator(".entry .vote-button").nth(1)
    before = int(button.inner_text().replace(",", ""))
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_have_text(f"{before + 1:,}")
    expect(page).to_have_url(f"{address}/")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")

    # Without JavaScript the same buttons are forms.
    plain = open_page(f"{address}/sign-in", java_script_enabled=False)
    sign_in(plain, address)
    plain.goto(f"{address}/papers/2606.00017")
    plain.locator(".vote-button").click()
    expect(plain).to_have_url(f"{address}/papers/2606.00017")
    expect(plain.locator(".vote-button")).to_have_text("18")
    plain.get_by_role("button", name="Later").click()
    expect(plain.get_by_role("button", name="Later")).to_have_attribute("aria-pressed", "true")
    plain.get_by_label("Your comment").fill("Why $x^2$? See 2606.00018.")
    plain.get_by_role("button", name="Comment", exact=True).click()
    expect(plain).to_have_url(re.compile(r"/papers/2606\.00017#comment-\d+$"))

    page.goto(f"{address}/papers/2606.00017")
    expect(page.locator(".remark math")).to_be_visible()
    page.get_by_role("link", name=re.compile("Answer or change")).first.click()
    page.get_by_label("Your answer").fill("\n\n".join(["Because.", *BOMBS]))
    page.get_by_role("button", name="Answer").click()
    expect(page.locator(".remark.depth-1")).to_have_text(re.compile("Because"))
    # Whatever its formulas ask for, a comment stays in its place, and the page answers.
    last = page.locator(".remark.depth-1 .math").last
    expect(last).to_have_attribute("data-set", "")
    box, place = page.locator(".remark.depth-1").bounding_box(), page.viewport_size
    assert box is not None
    assert place is not None
    assert box["height"] < 6_000
    assert page.evaluate("document.documentElement.scrollWidth") <= place["width"]
    for word in ("ABOVE", "BESIDE"):
        seen = page.get_by_text(word, exact=True).last.bounding_box()
        assert seen is not None
        shown = page.evaluate(
            "([x, y]) => document.elementFromPoint(x, y)?.textContent ?? ''",
            [seen["x"] + 1, seen["y"] + 1],
        )
        assert shown != word
    page.get_by_role("link", name="2606.00018").first.click()
    expect(page.get_by_role("heading", name="Named in comments on")).to_be_visible()

    comment = page.goto(f"{address}/papers/2606.00017") and page.locator(".remark-head a").first
    assert comment
    own = f"/comments/{(comment.get_attribute('href') or '').rpartition('/')[2]}"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for path in (
            *("/", "/me", "/trending", "/trending?period=month", "/moderation", own),
            *("/papers/2606.00017", "/trending/why/2606.00017"),
        ):
            page.goto(f"{address}{path}")
            page.wait_for_load_state("networkidle")
            assert findings(page) == [], (scheme, path)
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for path in ("/", "/me", "/trending", "/papers/2606.00017", "/sign-in", own):
            page.goto(f"{address}{path}")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (width, path, wide)


def test_the_server_says_the_link_to_whoever_started_it(own_server: tuple[str, str]) -> None:
    address, link = own_server
    assert link.startswith(f"{address}/join/")
    assert len(link.rpartition("/")[2]) == 43
