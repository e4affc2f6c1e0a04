"""Searching, in a real Chromium against a real server."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def test_results_are_marked_narrowed_ordered_and_paged(open_page: OpenPage) -> None:
    page = open_page("/search?q=counting&diverse=0&mode=words")
    expect(page.locator(".entry mark").first).to_have_text("counting")
    expect(page.locator(".entry")).to_have_count(20)
    page.get_by_role("link", name="More papers").click()
    expect(page).to_have_url(re.compile("page=2"))
    expect(page.get_by_role("link", name="Better")).to_be_visible()
    page.get_by_role("navigation", name="Order").get_by_role("link", name="Votes").click()
    expect(page.locator(".entry h2").first).to_have_text(re.compile("number 49"))
    narrowing = page.get_by_role("complementary", name="Narrow down")
    narrowing.get_by_role("link", name=re.compile("^cs.LG")).click()
    filters = page.get_by_role("list", name="Filters")
    expect(filters).to_contain_text("cat:cs.LG")
    # What was chosen before is still so.
    expect(page).to_have_url(re.compile("order=votes"))
    expect(page).to_have_url(re.compile("diverse=0"))
    filters.get_by_role("link").click()
    expect(page.get_by_role("list", name="Filters")).to_have_count(0)


def test_a_formula_in_a_result_is_a_formula(open_page: OpenPage) -> None:
    page = open_page("/search?q=road+show&mode=words")
    title = page.locator(".entry h2").first
    expect(title.locator("math")).to_be_visible()
    expect(title.locator("mark")).to_have_text("road")
    expect(page.locator(".entry .excerpt").first.locator("math")).to_have_count(1)


def test_titles_are_offered_while_typing(open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_role("searchbox", name="Search papers").press_sequentially("paper number 3")
    offered = page.locator("#titles a")
    expect(offered.first).to_be_visible()
    expect(offered.first).to_have_text(re.compile("^Paper number 3"))
    offered.first.click()
    expect(page).to_have_url(re.compile("/papers/2606.000"))


def test_an_address_that_is_pasted_leads_to_the_paper(open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_role("searchbox", name="Search papers").fill("https://arxiv.org/abs/2606.00017v3")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/papers/2606.00017$"))


def test_a_slip_is_found_and_a_dead_end_says_what_to_leave_out(open_page: OpenPage) -> None:
    page = open_page("/search?q=countnig")
    expect(page.get_by_role("status")).to_contain_text("searched for “count")
    expect(page.locator(".entry").first).to_be_visible()
    page.goto("/search?q=counting+year:1999")
    page.get_by_role("link", name=re.compile("year:1999")).last.click()
    expect(page.locator(".entry").first).to_be_visible()


def test_search_works_without_javascript(open_page: OpenPage) -> None:
    page = open_page("/", java_script_enabled=False)
    page.get_by_role("searchbox", name="Search papers").fill("counting")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".entry mark").first).to_be_visible()
