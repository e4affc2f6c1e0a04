"""What the room promises from outside: its names, its example, its full scale."""

from pathlib import Path

import pytest

import paperround.papers.making_the_most as room
from paperround.errors import UsageError
from paperround.runs.card import Scale, read_card
from paperround.runs.reproduction import Run

FOLDER = Path(room.__file__).parent


def test_every_public_name_can_be_had_and_no_other():
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    assert set(room.__all__) <= set(dir(room))
    with pytest.raises(AttributeError, match="attribute recurrence_of"):
        _ = room.recurrence_of


def test_the_cards_example_runs(capsys):
    exec(read_card(FOLDER / "card.toml").use, {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_full_scale_is_refused_with_where_to_read(tmp_path):
    from paperround.papers.making_the_most.reproduction import reproduce

    run = Run(read_card(FOLDER / "card.toml"), Scale.FULL, (0,), tmp_path, lambda event: None)
    with pytest.raises(UsageError, match="README"):
        reproduce(run)


def test_no_module_hides_a_name_that_is_spelled_alike():
    modules = {path.stem for path in FOLDER.glob("*.py")}
    assert modules.isdisjoint(room.__all__)
