"""What people do, in a real Chromium against a real server."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
PAGES = (
    "/",
    "/week/2026-W27",
    "/search?q=counting",
    "/search?q=nothingatallmatchesthis",
    "/search",
    "/papers/2606.00001",
    "/papers/2606.00002",
    "/papers/2601.00001",
    "/runnable",
    "/runs",
    "/claims",
    "/claims?verdict=holds&sort=when&down=yes",
    "/claims/about",
    "/claims/little/faster",
    "/compare",
    "/help",
    "/nowhere",
)


def test_from_the_front_page_by_search_to_a_paper(open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tuesday, 30 June 2026")
    page.get_by_role("searchbox", name="Search papers").fill("paper number 17 on counting")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("paper number 17")
    expect(page.locator("mark").first).to_be_visible()
    page.get_by_role("link", name="Paper number 17 on counting", exact=True).click()
    expect(page).to_have_url(re.compile("/papers/2606.00017$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Paper number 17 on counting")


def test_more_papers_come_in_place(open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.locator(".entry")).to_have_count(30)
    page.get_by_role("link", name="More papers").click()
    expect(page.locator(".entry")).to_have_count(41)
    expect(page).to_have_url(re.compile("/$"))


def test_formulas_are_set_and_a_broken_one_keeps_its_words(open_page: OpenPage) -> None:
    page = open_page("/papers/2606.00001")
    expect(page.locator("h1 math")).to_be_visible()
    expect(page.locator(".abstract math")).to_have_count(1)
    expect(page.locator(".abstract")).to_contain_text("and more of it")
    expect(page.locator("h1")).to_contain_text("<script>alert('title')</script>")


def test_run_shows_its_progress_and_then_its_claims(open_page: OpenPage) -> None:
    page = open_page("/papers/2601.00001")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page).to_have_url(re.compile("/runs/[0-9A-Z]{26}$"))
    expect(page.locator(".stages progress")).to_be_visible()
    expect(page.get_by_role("heading", name="Measured so far")).to_be_visible()
    expect(page.locator(".run-state")).to_have_text("finished", timeout=60_000)
    expect(page.locator("#claim-faster .verdict")).to_have_text("holds")
    expect(page.locator("#claim-smaller .verdict")).to_have_text("falls short")
    expect(page.locator("#claim-larger .verdict")).to_have_text("not measured")
    expect(page.locator(".chart svg").first).to_be_visible()
    page.get_by_role("link", name="The paper").click()
    expect(page.locator(".provenance")).to_contain_text("Measured on this machine")


def test_from_the_board_to_a_claim_its_result_and_a_comparison(open_page: OpenPage) -> None:
    page = open_page("/papers/2601.00001")
    for _ in range(2):
        page.goto("/papers/2601.00001")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".run-state")).to_have_text("finished", timeout=60_000)
    page.get_by_role("link", name="Claims", exact=True).click()
    page.get_by_label("Words").fill("counting by twos")
    page.get_by_label("Scale").select_option("quick")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(r"/claims\?q=counting.by.twos.*scale=quick"))
    expect(page.locator(".board tbody tr")).to_have_count(1)
    expect(page.locator(".board .verdict")).to_have_text("holds")
    page.locator(".board thead").get_by_role("link", name="When").click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("When")
    expect(page.get_by_label("Words")).to_have_value("counting by twos")
    page.get_by_role("link", name="Counting by twos is faster").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Counting by twos is faster")
    badge = page.get_by_role("img", name="The claim's badge")
    assert badge.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_role("button", name="Compare A with B").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two results, side by side")
    expect(page.locator(".note")).to_contain_text("no two verdicts that contradict each other")
    page.locator(".sides a").first.click()
    expect(page).to_have_url(re.compile("/results/[0-9a-f]{64}$"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Notebook").click()
    assert download.value.suggested_filename.endswith(".ipynb")


def test_the_board_is_filtered_and_sorted_without_javascript(open_page: OpenPage) -> None:
    page = open_page("/claims", java_script_enabled=False)
    page.locator("select[name=verdict]").select_option("not measured")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".board .verdict").first).to_have_text("not measured")
    page.locator(".board thead").get_by_role("link", name="Reported").click()
    page.locator(".board thead").get_by_role("link", name="Reported").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Reported")
    expect(page).to_have_url(re.compile("verdict=not.measured"))


def test_a_run_can_be_cancelled_without_javascript(open_page: OpenPage) -> None:
    page = open_page("/papers/2601.00001", java_script_enabled=False)
    page.get_by_label("Standard").check()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page).to_have_url(re.compile("/runs/[0-9A-Z]{26}$"))
    page.get_by_role("button", name="Cancel").click()
    for _ in range(30):
        if page.locator(".run-state").inner_text() == "cancelled":
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator(".run-state")).to_have_text("cancelled")


def test_everything_is_readable_without_javascript(open_page: OpenPage) -> None:
    page = open_page("/", java_script_enabled=False)
    expect(page.locator(".entry-title").first).to_contain_text("road")
    page.get_by_role("link", name="More papers").click()
    expect(page.locator(".entry")).to_have_count(11)
    page.get_by_role("link", name="Papers that run", exact=True).click()
    page.get_by_role("link", name="A little paper that runs").click()
    page.get_by_role("link", name="Standard").click()
    expect(page).to_have_url(re.compile(r"scale=standard"))
    expect(page.locator("#claim-larger")).to_contain_text("≥ 1e+06")


def test_keys_lead_to_search_and_through_the_papers(open_page: OpenPage) -> None:
    page = open_page("/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(".entry-title a").nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator(".entry-title a").nth(0)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search papers")).to_be_focused()
    page.keyboard.type("jk/?")
    expect(page.get_by_role("searchbox", name="Search papers")).to_have_value("jk/?")


def test_the_first_tab_leads_past_the_header(open_page: OpenPage) -> None:
    page = open_page("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390])
def test_no_page_scrolls_sideways_on_a_phone(open_page: OpenPage, width: int) -> None:
    page = open_page("/", viewport={"width": width, "height": 800})
    # One of the similar papers has a title without a place to break it.
    page.goto("/papers/2606.00001")
    expect(page.locator(".similar")).to_be_visible()
    for path in PAGES:
        page.goto(path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{path} is {wide} pixels wide"


@pytest.mark.parametrize("width", [390, 1280])
def test_what_can_be_pressed_is_large_enough(open_page: OpenPage, width: int) -> None:
    page = open_page("/", viewport={"width": width, "height": 900})
    for path in PAGES:
        page.goto(path)
        small = page.evaluate(
            """() => [...document.querySelectorAll(
                "button, summary, nav a, .button, .step, input[type=search], .choice"
            )].filter(e => e.offsetParent && e.getBoundingClientRect().height < 44)
              .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert small == [], path
