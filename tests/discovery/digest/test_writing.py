"""A digest as mail: both of its parts, its headers, and what strangers wrote into papers."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.records import Paper, PaperId
from paperround.discovery.digest.composing import Digest, Section
from paperround.discovery.digest.writing import Place, subject_line, wrapped, written
from paperround.readers.due import Due
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import Subscriber
from paperround.readers.times import Hours

NOW = datetime(2026, 7, 2, 7, tzinfo=UTC)
DAY = date(2026, 7, 2)
PLACE = Place("papers@lab.example", "https://papers.example", b"k" * 32)
ADA = Subscriber(7, "ada@lab.example", None, Hours("Europe/Berlin"), b"s" * 16, None, None, "")
PAPER = Paper(
    id=PaperId(1),
    key="2607.00001",
    title="Kites",
    abstract="",
    title_text="Kites & strings <b>",
    abstract_text="We fly kites. " * 60,
    authors=("Ada Ay", "Bo Bee", "Cy Cee", "Dee Dee"),
    author_count=None,
    organisation="An Institute",
    published=DAY,
    listed=DAY,
    day=DAY,
    categories=("cs.CL",),
    comment=None,
    venue=None,
    code_url=None,
    project_url=None,
    pdf_url=None,
    votes=0,
    comments=0,
)
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)


def mail(*papers: Paper, place: Place = PLACE, subject: Subject | None = None) -> EmailMessage:
    section = Section(subject or Subject(Kind.CATEGORY, "cs.CL"), papers or (PAPER,), 3)
    made = written(
        Digest(DAY, (section,)),
        Due(ADA, DAY, ()),
        "2026-07-02.name",
        place,
        {"kites": "2607.00001"},
        NOW,
    )
    # As it arrives.
    again = message_from_bytes(made.as_bytes(), policy=policy.default)
    assert isinstance(again, EmailMessage)
    return again


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


class Page(HTMLParser):
    """What a browser would see: texts, links, tags, and whether all that was opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)


def test_both_parts_say_the_same() -> None:
    message = mail()
    page = Page(part(message, "html"))
    assert page.open == []
    seen, plain = " ".join("".join(page.texts).split()), part(message, "plain")
    for words in (
        "Thursday, 2 July 2026",
        "Kites & strings <b>",
        "Ada Ay, Bo Bee, Cy Cee and 1 more",
        "2 July 2026 · cs.CL · An Institute",
        "runs here",
        "3 more papers",
        "papers.example",
    ):
        assert words in seen, words
        assert words in " ".join(plain.split()), words
    links = [link for link in page.links if not link.startswith("https://papers.example/papers/")]
    for link in links:
        assert link.removesuffix("/") in plain
    assert "https://papers.example/papers/2607.00001" in plain


def test_the_plain_text_has_short_lines_and_whole_addresses() -> None:
    plain = part(mail(), "plain")
    long = [line for line in plain.splitlines() if len(line) > 78]
    assert [line for line in long if "https://" not in line] == []
    assert not re.search(r"[ \t]+$", plain.replace("-- \n", ""), re.MULTILINE)
    assert not re.search(r"\n{4,}", plain)
    assert "&amp;" not in plain


def test_nothing_in_a_mail_is_fetched_or_runs() -> None:
    page = Page(part(mail(), "html"))
    assert page.tags.isdisjoint({"img", "script", "iframe", "link", "form", "object", "svg"})
    html = part(mail(), "html")
    assert "url(" not in html
    assert "@import" not in html
    assert len(html.encode()) < 100_000


def test_an_address_can_leave_by_one_click_over_https_alone() -> None:
    assert mail()["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    plain = mail(place=replace(PLACE, public_url="http://papers.lan"))
    assert plain["List-Unsubscribe"].strip().startswith("<http://papers.lan/unsubscribe/")
    assert plain["List-Unsubscribe-Post"] is None


def test_the_same_digest_has_the_same_name_at_every_attempt() -> None:
    assert {mail()["Message-ID"] for _ in range(3)} == {"<2026-07-02.name@lab.example>"}


def test_thousands_of_authors_are_three_and_a_number() -> None:
    many = replace(PAPER, authors=tuple(f"Author {n}" for n in range(3303)))
    assert "Author 0, Author 1, Author 2 and 3,300 more" in part(mail(many), "html")
    assert len(part(mail(many), "plain")) < 3_000


@pytest.mark.parametrize("nothing", [{"authors": (), "author_count": 37}, {"abstract_text": ""}])
def test_what_a_paper_lacks_leaves_no_hole(nothing: dict[str, object]) -> None:
    message = mail(replace(PAPER, **nothing))  # type: ignore[arg-type]
    assert not re.search(r"\n{4,}", part(message, "plain"))
    assert '<p class="soft" style="margin:4px' not in part(message, "html") or (
        "37 authors" in part(message, "html") or "Ada" in part(message, "html")
    )


@given(title=text, abstract=text, author=text, organisation=text, value=text)
def test_whatever_stands_in_a_paper_stays_text(
    title: str, abstract: str, author: str, organisation: str, value: str
) -> None:
    wild = replace(
        PAPER,
        title_text=f"<script>{title}",
        abstract_text=f"</td></table>{abstract}",
        authors=(f"<a href='https://evil.example'>{author}",),
        organisation=organisation or None,
    )
    message = mail(wild, subject=Subject(Kind.SEARCH, f"<img src=x>{value}", "both"))
    page = Page(part(message, "html"))
    assert page.open == []
    assert page.tags.isdisjoint({"script", "img"})
    assert all(link.startswith("https://papers.example/") for link in page.links)
    assert set(message.keys()) == set(mail().keys())
    assert "\n" not in message["Subject"]


@given(title=st.text(max_size=400))
def test_a_subject_is_one_line_whatever_the_title(title: str) -> None:
    digest = Digest(DAY, (Section(Subject(Kind.TRENDING), (replace(PAPER, title_text=title),), 0),))
    line = subject_line(digest)
    assert line.isprintable()
    assert line.startswith("1 paper:")
    assert len(line) <= 110


@given(words=st.text(max_size=500))
def test_wrapping_loses_no_word(words: str) -> None:
    assert wrapped(words, "  ").split() == words.split()
