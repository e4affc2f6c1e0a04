"""Collections, submissions, authors and the admin's pages in a real Chromium."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
PASSWORD = "kettle orbit mango 7"
BIB = "@misc{a, title = {On counting sheep}, author = {Ada Ay}}\n@misc{b, title = {}}\n"


@pytest.fixture(scope="module")
def own_server(
    tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., tuple[str, str]]
) -> tuple[str, str]:
    """A server of this module's own, since its first account ends this machine's rule; its link."""
    return start_server(tmp_path_factory.mktemp("community-home"))


def findings(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def test_a_lab_keeps_its_papers_together(open_page: OpenPage, own_server: tuple[str, str]) -> None:
    address, link = own_server
    # Without JavaScript, from the first account to the last page.
    page = open_page(link, java_script_enabled=False)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("link", name="Your collections").click()
    page.get_by_label("Name").fill("For the seminar")
    page.get_by_label("What it is about").fill("Read these first.")
    page.get_by_label("Who may see it").select_option("public")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("For the seminar")
    collection = page.url
    for key in ("2606.00017", "2606.00018"):
        page.get_by_label("Its id or its address here").fill(key)
        page.locator("#note-new").fill(f"a note on {key}")
        page.get_by_role("button", name="Put it in").click()
        expect(page.locator(f"[id='paper-{key}']")).to_be_visible()
    second = page.locator("[id='paper-2606.00018']")
    second.locator("summary").click()
    second.get_by_label("Place in the list").fill("1")
    second.get_by_role("button", name="Keep the change").click()
    expect(page.locator(".collected > li").first).to_have_attribute("id", "paper-2606.00018")
    with page.expect_download() as download:
        page.get_by_role("link", name="BibTeX").click()
    assert download.value.suggested_filename == "for-the-seminar.bib"
    page.locator("#bibtex").fill(BIB)
    page.get_by_role("button", name="Read it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What became of it")
    for _ in range(60):
        if page.get_by_text("could not be used").count():
            break
        page.wait_for_timeout(1_000)
        page.get_by_role("link", name="Look again").click()
    expect(page.get_by_text("1 could not be used")).to_be_visible()
    page.goto(f"{address}/papers/2606.00019")
    page.locator("#collections summary").click()
    page.locator("#collection").select_option(label="For the seminar")
    page.get_by_role("button", name="Keep it there").click()
    page.locator("#collections summary").click()
    page.locator("#collections").get_by_role("link", name="For the seminar").click()
    expect(page).to_have_url(collection)
    expect(page.get_by_role("link", name="On counting sheep")).to_be_visible()

    # With JavaScript a submission's page follows by itself.
    page = open_page(f"{address}/sign-in", bypass_csp=True)
    page.get_by_label("Name or address of mail").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{address}/submit")
    page.get_by_text("Type it in").click()
    page.get_by_label("Title").fill("On counting goats")
    page.get_by_label("Authors, one a line").fill("Ada Ay\nBo Bee")
    page.get_by_role("button", name="Submit it").click()
    expect(page.get_by_text("added")).to_be_visible(timeout=60_000)
    submission = page.url.removeprefix(address)
    page.get_by_role("link", name="On counting goats").click()
    expect(page.get_by_text("by ada,")).to_be_visible()
    page.get_by_text("Are you one of its authors?").click()
    page.get_by_label("Which").select_option("Ada Ay")
    page.get_by_label("How a moderator can tell").fill("my page")
    page.get_by_role("button", name="Say so").click()
    paper = page.url.removeprefix(address).partition("#")[0]
    page.goto(f"{address}/moderation")
    page.get_by_label("How you know that it is so").fill("her page says so")
    page.get_by_role("button", name="Confirm").click()
    page.goto(f"{address}{paper}")
    expect(page.get_by_text("Ada Ay (ada)")).to_be_visible()
    page.goto(f"{address}/admin/invitations")
    page.get_by_role("button", name="Invite somebody").click()
    expect(page.get_by_text(re.compile("/join/"))).to_be_visible()
    account = page.goto(f"{address}/admin/readers") and page.get_by_role("link", name="ada").last
    assert account
    own = account.get_attribute("href") or ""
    institute = "/organisations/the-institute-of-very-long-names-in-counting-and-related-fields"
    paths = (
        *("/collections", collection.removeprefix(address), "/submit", submission, paper),
        *("/organisations", institute, "/moderation", "/me"),
        *("/admin", "/admin/readers", own, "/admin/invitations", "/admin/acts"),
    )
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for path in paths:
            page.goto(f"{address}{path}")
            page.wait_for_load_state("networkidle")
            for details in page.locator("main details").all():
                details.locator("summary").click()
            assert findings(page) == [], (scheme, path)
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for path in paths:
            page.goto(f"{address}{path}")
            for details in page.locator("main details").all():
                details.locator("summary").click()
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (width, path, wide)
