"""axe-core finds nothing, on any page, in light and in dark."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
PAGES = (
    "/",
    "/search?q=counting",
    "/search?q=nothingatallmatchesthis",
    "/papers/2606.00001",
    "/papers/2601.00001",
    "/runnable",
    "/runs",
    "/claims",
    "/claims?verdict=holds&sort=when&down=yes",
    "/claims/about",
    "/claims/little/faster",
    "/compare",
    "/sources",
    "/help",
    "/nowhere",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: OpenPage, scheme: str) -> None:
    # The policy of the pages forbids foreign scripts, so axe comes in beside the page.
    page = open_page("/", color_scheme=scheme, bypass_csp=True)
    for path in PAGES:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert findings(page) == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_run_and_its_result(open_page: OpenPage, scheme: str) -> None:
    page = open_page("/papers/2601.00001", color_scheme=scheme, bypass_csp=True)
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".stages progress").wait_for()
    assert findings(page) == []
    page.locator(".run-state.finished").wait_for(timeout=60_000)
    assert findings(page) == []
    page.get_by_role("link", name="The result").click()
    page.locator("summary").last.click()
    assert findings(page) == []
    result = page.url.rpartition("/")[2]
    page.goto(f"/compare?a={result}&b={result}")
    assert findings(page) == []
    page.goto("/papers/2601.00001")
    for details in page.locator("details").all():
        details.locator("summary").click()
    assert findings(page) == []


def findings(page: Page) -> list[str]:
    """What axe finds: the rule and the element."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
