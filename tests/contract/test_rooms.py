"""One suite over every paper's room, ours and others', found as the program finds them."""

import subprocess
import sys
from pathlib import Path

import pytest

from paperround.runs.card import Scale
from paperround.runs.checking import check_room
from paperround.runs.execution import measure
from paperround.runs.results import shipped_results
from paperround.runs.rooms import Room, find_rooms
from paperround.runs.verdicts import Verdict
from paperround.settings import Settings

ROOMS, BROKEN = find_rooms()
# Rooms whose standard scale has not been measured to its end; each leaves with its result.
NOT_MEASURED_AT_STANDARD = {
    "ditto",
    "fretna",
    "set-based-prompting",
}

PATIENCE_S = 300

every_room = pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)


def test_no_room_is_broken() -> None:
    assert BROKEN == {}


@every_room
def test_a_room_has_no_fault(room: Room) -> None:
    faults = check_room(room)
    if room.slug in NOT_MEASURED_AT_STANDARD:
        faults = [fault for fault in faults if not fault.startswith("no result at standard")]
    assert faults == []


@pytest.mark.parametrize("slug", sorted(NOT_MEASURED_AT_STANDARD))
def test_a_room_that_has_its_standard_result_is_not_excused(slug: str) -> None:
    assert Scale.STANDARD not in shipped_results(ROOMS[slug])


@every_room
def test_importing_a_room_costs_nothing(room: Room) -> None:
    code = (
        f"import sys, {room.package}; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0


@every_room
def test_the_readme_explains_itself(room: Room) -> None:
    text = (room.folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "epart" in text
    assert len(text) > 1_500


def patient(room: Room) -> Room:
    """The room with more time: how long a run takes depends on the machine that tests run on.

    That the quick scale fits into its minute is judged by the result that ships (`check_room`).
    """
    notes = room.card.scales[Scale.QUICK].model_copy(update={"time_limit_s": PATIENCE_S})
    scales = {**room.card.scales, Scale.QUICK: notes}
    slow = Room(room.slug, room.package, room.folder)
    slow.__dict__["card"] = room.card.model_copy(update={"scales": scales})
    return slow


@every_room
@pytest.mark.reproduction
@pytest.mark.timeout(PATIENCE_S + 120)
def test_the_quick_scale_measures_again_what_ships(
    room: Room, settings: Settings, tmp_path: Path
) -> None:
    result = measure(
        patient(room),
        Scale.QUICK,
        None,
        tmp_path / "run",
        on_event=lambda event: None,
        cancelled=lambda: False,
        settings=settings,
    )
    assert result.status == "finished", result.reason
    shipped = {claim.id: claim.verdict for claim in shipped_results(room)[Scale.QUICK].claims}
    held = {claim_id for claim_id, verdict in shipped.items() if verdict is Verdict.HOLDS}
    now = {claim.id for claim in result.claims if claim.verdict is Verdict.HOLDS}
    assert held <= now, [claim for claim in result.claims if claim.id in held - now]
    assert held, "a quick scale on which nothing holds proves nothing"
    # What a person wants to see on the paper's page.
    assert result.series
    assert result.tables
    assert result.samples
