"""Rooms are found by entry point; a broken one is told of and hides no other."""

import itertools
import shutil

import pytest

from paperround.errors import CardError, NotFoundError
from paperround.runs.rooms import InstalledRooms, find_room, find_rooms


def test_a_room_of_any_package_is_found_with_its_card(make_room):
    make_room(slug="little")
    rooms, broken = find_rooms()
    assert rooms["little"].card.title == "A little paper"
    assert "little" not in broken
    assert list(rooms) == sorted(rooms)


def test_an_unknown_slug_is_answered_with_near_ones(make_room):
    make_room(slug="little")
    with pytest.raises(NotFoundError, match="no runnable paper 'litle'; did you mean little"):
        find_room("litle")
    with pytest.raises(NotFoundError, match="see `paperround papers`"):
        find_room("zzzzzz")


def test_a_broken_card_is_told_of_and_hides_no_other_room(make_room):
    make_room(slug="good")
    bad = make_room(slug="bad")
    bad.folder.joinpath("card.toml").write_text("slug = 3")
    rooms, broken = find_rooms()
    assert "good" in rooms
    assert "card.toml" in broken["bad"]
    with pytest.raises(CardError, match="bad: "):
        find_room("bad")


def test_a_card_with_another_slug_than_its_entry_point_is_broken(make_room):
    room = make_room(slug="one")
    path = room.folder / "card.toml"
    path.write_text(path.read_text().replace('slug = "one"', 'slug = "two"'))
    assert "the entry point says 'one', the card 'two'" in find_rooms()[1]["one"]


@pytest.mark.parametrize("value", ["no_such_package", "no_such_package.room", "raising.room"])
def test_an_entry_point_to_nothing_or_to_a_package_that_raises_is_broken(make_room, value):
    room = make_room(slug="lost")
    site = room.folder.parent
    site.joinpath("raising").mkdir()
    site.joinpath("raising", "__init__.py").write_text("raise RuntimeError('at import')")
    [points] = site.glob("*.dist-info/entry_points.txt")
    points.write_text(f"[paperround.papers]\nlost = {value}\n")
    rooms, broken = find_rooms()
    assert "lost" not in rooms
    assert broken["lost"]


def test_a_slug_that_two_packages_offer_is_neither_of_them(make_room):
    room = make_room(slug="mine")
    other = make_room(slug="other")
    [points] = other.folder.parent.glob("*.dist-info/entry_points.txt")
    points.write_text(f"[paperround.papers]\nmine = {other.package}\n")
    rooms, broken = find_rooms()
    assert "mine" not in rooms
    assert broken["mine"] == f"offered by several packages: {room.package}, {other.package}"


def test_a_room_that_comes_changes_or_goes_shows_without_a_restart(make_room):
    clock = itertools.count()
    installed = InstalledRooms(monotonic=lambda: 2.0 * next(clock))
    assert "little" not in installed.now()[0]
    room = make_room()
    assert installed.now()[0]["little"].card.title == "A little paper"
    card = room.folder / "card.toml"
    card.write_text(card.read_text().replace("A little paper", "A grown paper"))
    assert installed.now()[0]["little"].card.title == "A grown paper"
    card.write_text("broken")
    assert "little" in installed.now()[1]
    shutil.rmtree(room.folder.parent)
    assert "little" not in installed.now()[0]


def test_rooms_are_looked_for_only_when_something_was_installed(make_room, monkeypatch):
    make_room()
    clock = itertools.count()
    installed = InstalledRooms(monotonic=lambda: 2.0 * next(clock))
    first = installed.now()
    monkeypatch.setattr("paperround.runs.rooms.find_rooms", lambda: pytest.fail("looked again"))
    assert installed.now() is first


def test_finding_rooms_imports_none_of_them(make_room):
    import sys

    room = make_room(slug="little")
    room.folder.joinpath("__init__.py").write_text("raise RuntimeError('imported')")
    assert "little" in find_rooms()[0]
    assert room.package not in sys.modules


def test_a_rooms_reproduction_is_its_own_function(make_room):
    room = make_room("raise LookupError('mine')", slug="its-own")
    with pytest.raises(LookupError, match="mine"):
        room.reproduction()(None)
