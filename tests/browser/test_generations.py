"""Text by a paper's method on the real site, with the small model that Paperround fetches."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from paperround.kit.assets import is_here

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
PROMPT = "One two three four. One two three four. One two three four. One two"
# A cold start of the model on a busy machine.
_DECODED_WITHIN_MS = 200_000


def findings(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def overflow(page: Page) -> int:
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_on_the_form_and_it_fits(open_page: OpenPage, width: int) -> None:
    viewport = {"width": width, "height": 800}
    for scheme in ("light", "dark"):
        page = open_page("/generate", color_scheme=scheme, viewport=viewport, bypass_csp=True)
        assert findings(page) == []
        assert overflow(page) <= 0
        # Of the chosen method its options show, of the others none.
        expect(page.get_by_label("gamma of copyspec")).to_be_hidden()
        page.get_by_label("copyspec", exact=False).first.check()
        expect(page.get_by_label("gamma of copyspec")).to_be_visible()
        assert findings(page) == []


def test_a_mistake_is_said_and_nothing_that_was_typed_is_lost(open_page: OpenPage) -> None:
    page = open_page("/generate?method=copyspec", java_script_enabled=False)
    page.get_by_label("Prompt", exact=True).fill("On and")
    page.get_by_label("gamma of copyspec").fill("three")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.get_by_role("button", name="Generate").click()
    assert answer.value.status == 400
    expect(page.get_by_role("alert")).to_contain_text("gamma is int, not 'three'")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("On and")
    expect(page.get_by_label("gamma of copyspec")).to_have_value("three")


def test_copyspec_decodes_beside_greedy_decoding(open_page: OpenPage) -> None:
    if not is_here("smollm2-135m"):
        pytest.skip("the asset smollm2-135m is not here: paperround asset get smollm2-135m")
    viewport = {"width": 390, "height": 800}
    page = open_page("/generate?method=copyspec", viewport=viewport, bypass_csp=True)
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_label("New tokens, 1 to 256").fill("24")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Text by copyspec")
    # The page follows by itself.
    greedy = page.get_by_role("heading", name="Greedy decoding")
    expect(greedy).to_be_visible(timeout=_DECODED_WITHIN_MS)
    expect(page.get_by_text("The same text, ")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ forward passes for \d+ tokens"))).to_be_visible()
    assert findings(page) == []
    assert overflow(page) <= 0
    where = page.url
    page.get_by_role("link", name="Again, with changes").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    expect(page.get_by_role("link", name="One two three four.").first).to_be_visible()
    page.goto(where)
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Generate text")
    assert page.goto(where).status == 404  # type: ignore[union-attr]
