"""One suite over every paper's room, ours and others', found as the program finds them."""

import subprocess
import sys

import pytest
from sqlalchemy import Engine

from paperround.runs.card import Scale
from paperround.runs.checking import check_room
from paperround.runs.results import shipped_results
from paperround.runs.rooms import Room, find_rooms
from paperround.runs.verdicts import Verdict
from paperround.runs.worker import Worker
from paperround.settings import Settings

ROOMS, BROKEN = find_rooms()
# Rooms whose standard scale has not been measured to its end; each leaves with its result.
NOT_MEASURED_AT_STANDARD = {"copyspec", "diverse-beam-search", "slimpajama-dc"}

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


@every_room
@pytest.mark.reproduction
@pytest.mark.timeout(180)
def test_the_quick_scale_measures_again_what_ships(
    room: Room, engine: Engine, settings: Settings
) -> None:
    seeds = room.card.scales[Scale.QUICK].seeds
    result = Worker(engine, settings).run_now(room.slug, Scale.QUICK, seeds, lambda event: None)
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
