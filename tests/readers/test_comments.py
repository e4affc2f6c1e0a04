"""Comments: threads, the time in which one may be changed, mentions, reports, moderators."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.errors import ForbiddenError, NotFoundError, TooOftenError, UsageError
from paperround.readers import comments
from paperround.readers.accounts import delete_reader
from paperround.readers.queries import (
    comments_here,
    comments_on,
    latest_acts,
    mentioned_on,
    open_reports,
)
from paperround.readers.records import Comment, Reader
from paperround.runs.rights import Role

AddReader = Callable[..., Reader]
AddPaper = Callable[..., PaperId]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=30)


def on(engine: Engine, paper_id: PaperId) -> list[Comment]:
    with read(engine) as connection:
        return comments_on(connection, paper_id)


def test_an_answer_belongs_to_its_comment_and_its_paper(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, one, other = add(), paper(), paper("2606.00002")
    first = comments.add_comment(engine, ada, one, "Why?", NOON)
    answer = comments.add_comment(engine, ada, one, "So.", NOON, parent_id=first)
    with pytest.raises(NotFoundError):
        comments.add_comment(engine, ada, other, "Lost.", NOON, parent_id=first)
    assert [(c.id, c.parent_id, c.author) for c in on(engine, one)] == [
        (first, None, "ada"),
        (answer, first, "ada"),
    ]


def test_a_comment_is_changed_within_its_time_by_who_wrote_it(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, eve, one = add("ada"), add("eve", Role.ADMIN), paper()
    said = comments.add_comment(engine, ada, one, "Frist", NOON)
    with pytest.raises(ForbiddenError):
        comments.edit_comment(engine, eve, said, "Mine", NOON, WINDOW)
    changed = comments.edit_comment(engine, ada, said, "First", NOON + WINDOW, WINDOW)
    assert (changed.text, changed.edited_at) == ("First", NOON + WINDOW)
    with pytest.raises(ForbiddenError, match="30 minutes"):
        late = NOON + WINDOW + timedelta(seconds=1)
        comments.edit_comment(engine, ada, said, "Never", late, WINDOW)


def test_a_comment_that_was_answered_leaves_a_place_and_the_last_answer_takes_it_along(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, bo, one = add("ada"), add("bo"), paper()
    first = comments.add_comment(engine, ada, one, "Why?", NOON)
    answer = comments.add_comment(engine, bo, one, "So.", NOON, parent_id=first)
    comments.take_back(engine, ada, first)
    place, kept = on(engine, one)
    assert (place.is_gone, place.author, place.text) == (True, None, "")
    assert kept.text == "So."
    with pytest.raises(NotFoundError):
        comments.add_comment(engine, bo, one, "To nobody.", NOON, parent_id=first)
    comments.take_back(engine, bo, answer)
    assert on(engine, one) == []


def test_whoever_goes_leaves_answers_of_others_and_nothing_of_their_own(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, bo, one = add("ada"), add("bo"), paper()
    first = comments.add_comment(engine, ada, one, "Why?", NOON)
    comments.add_comment(engine, bo, one, "So.", NOON, parent_id=first)
    own = comments.add_comment(engine, ada, one, "Alone", NOON)
    comments.add_comment(engine, ada, one, "too", NOON, parent_id=own)
    with write(engine) as connection:
        delete_reader(connection, ada)
    assert [(c.text, c.author) for c in on(engine, one)] == [("", None), ("So.", "bo")]


def test_a_mention_leads_both_ways_by_any_spelling(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, one = add(), paper("2606.00001")
    two, three, four = paper("2606.00002"), paper("2606.00003"), paper("acl-x1")
    text = "See 2606.00002v2, (arXiv:2606.00003), /papers/acl-x1. Not 2606.99999, not 2606.00001."
    said = comments.add_comment(engine, ada, one, text, NOON)
    (comment,) = on(engine, one)
    assert comment.mentions == {
        "2606.00002v2": "2606.00002",
        "2606.00003": "2606.00003",
        "acl-x1": "acl-x1",
    }
    with read(engine) as connection:
        for other in (two, three, four):
            assert mentioned_on(connection, other) == [("2606.00001", "2606.00001")]
        assert mentioned_on(connection, one) == []
    comments.edit_comment(engine, ada, said, "See 2606.00002.", NOON, WINDOW)
    with read(engine) as connection:
        assert mentioned_on(connection, three) == []


@pytest.mark.parametrize("text", ["12606.00002", "2606.00002.1", "x2606.00002", "1.2606.00002"])
def test_a_number_that_looks_like_an_id_is_none(
    engine: Engine, add: AddReader, paper: AddPaper, text: str
) -> None:
    paper("2606.00002")
    one = paper("2606.00001")
    comments.add_comment(engine, add(), one, f"Figure {text} says so", NOON)
    assert on(engine, one)[0].mentions == {}


@given(st.text(max_size=300))
def test_any_text_is_kept_clean_or_refused(text: str) -> None:
    try:
        kept = comments.checked_text(text)
    except UsageError:
        return
    assert kept == comments.checked_text(kept)
    assert not any(c < " " and c not in "\n\t" for c in kept)


def test_too_much_text_and_none_are_refused(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, one = add(), paper()
    for text in ("", " \n\t ", "x" * 5001):
        with pytest.raises(UsageError):
            comments.add_comment(engine, ada, one, text, NOON)
    comments.add_comment(engine, ada, one, "x" * 5000, NOON)


def test_commenting_has_a_limit(engine: Engine, add: AddReader, paper: AddPaper) -> None:
    ada, one = add(), paper()
    for n in range(20):
        comments.add_comment(engine, ada, one, f"Number {n}", NOON)
    with pytest.raises(TooOftenError):
        comments.add_comment(engine, ada, one, "One more", NOON)
    comments.add_comment(engine, ada, one, "One more", NOON + timedelta(minutes=11))


def test_a_report_waits_until_a_moderator_settles_it(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, bo, mod = add("ada"), add("bo"), add("mod", Role.MODERATOR)
    said = comments.add_comment(engine, ada, paper(), "Buy my book", NOON)
    with pytest.raises(UsageError):
        comments.report_comment(engine, ada, said, "myself", NOON)
    with pytest.raises(UsageError):
        comments.report_comment(engine, bo, said, "  ", NOON)
    comments.report_comment(engine, bo, said, "an advert", NOON)
    comments.report_comment(engine, bo, said, "an  advert!", NOON)
    with read(engine) as connection:
        (reported,) = open_reports(connection, None, 9)
    assert (reported.comment.id, reported.reasons) == (said, ("an advert!",))
    with pytest.raises(ForbiddenError):
        comments.hide_comment(engine, bo, said, "as I like", NOON)
    with pytest.raises(UsageError):
        comments.hide_comment(engine, mod, said, "", NOON)
    comments.hide_comment(engine, mod, said, "An advert.", NOON)
    with read(engine) as connection:
        assert open_reports(connection, None, 9) == []
        (act,) = latest_acts(connection)
    assert (act.by, act.act, act.on, act.note) == (
        "mod",
        "hid a comment",
        f"comment {said}",
        "An advert.",
    )


@pytest.mark.parametrize("at_once", [True, False])
def test_reports_go_on_page_by_page_and_each_stands_once(
    engine: Engine, add: AddReader, paper: AddPaper, at_once: bool
) -> None:
    ada, bo, one = add("ada"), add("bo"), paper()
    said = [comments.add_comment(engine, ada, one, f"No. {n}", NOON) for n in range(7)]
    for n, number in enumerate(reversed(said)):
        at = NOON if at_once else NOON + timedelta(minutes=n)
        comments.report_comment(engine, bo, number, "an advert", at)
    found: list[int] = []
    after = None
    with read(engine) as connection:
        while page := open_reports(connection, after, 3):
            found += [each.comment.id for each in page]
            after = (page[-1].first_at, page[-1].comment.id)
    assert found == (said if at_once else said[::-1])


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\x00", "\x1b", "\x07"], ids=ascii)
def test_a_reason_has_no_signs_that_cannot_be_seen(
    engine: Engine, add: AddReader, paper: AddPaper, sign: str
) -> None:
    ada, bo, mod = add("ada"), add("bo"), add("mod", Role.MODERATOR)
    said = comments.add_comment(engine, ada, paper(), "Buy my book", NOON)
    with pytest.raises(UsageError):
        comments.report_comment(engine, bo, said, f" {sign} ", NOON)
    comments.report_comment(engine, bo, said, f"an\n{sign}advert", NOON)
    with read(engine) as connection:
        assert open_reports(connection, None, 1)[0].reasons == ("an advert",)
    comments.hide_comment(engine, mod, said, f"an{sign}\tadvert", NOON)
    with read(engine) as connection:
        assert latest_acts(connection)[0].note == "an advert"


def test_a_hidden_comment_is_for_its_author_and_moderators_and_counts_nothing(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, bo, mod = add("ada"), add("bo"), add("mod", Role.MODERATOR)
    one, two = paper(), paper("2606.00002")
    said = comments.add_comment(engine, ada, one, "As 2606.00002 says", NOON)
    comments.hide_comment(engine, mod, said, "No.", NOON)
    with read(engine) as connection:
        for reader, may in ((None, False), (bo, False), (ada, True), (mod, True)):
            if may:
                comments.visible_comment(connection, said, reader)
            else:
                with pytest.raises(NotFoundError):
                    comments.visible_comment(connection, said, reader)
        assert comments_here(connection, [one]) == {}
        assert mentioned_on(connection, two) == []
    with pytest.raises(ForbiddenError):
        comments.edit_comment(engine, ada, said, "Yes.", NOON, WINDOW)
    with pytest.raises(ForbiddenError):
        comments.add_comment(engine, bo, one, "?", NOON, parent_id=said)
    comments.show_comment(engine, mod, said, NOON)
    with read(engine) as connection:
        assert comments_here(connection, [one]) == {one: 1}
