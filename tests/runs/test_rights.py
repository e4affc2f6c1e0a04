import itertools

import pytest

from paperround.db import read
from paperround.errors import ForbiddenError
from paperround.runs.actions import cancel_run, queue_run
from paperround.runs.card import Scale
from paperround.runs.queries import run_by_id
from paperround.runs.rights import (
    SCALES_BY_ROLE,
    THIS_MACHINE,
    Asker,
    Role,
    check_may_cancel,
    check_may_delete_generation,
    check_may_generate,
    check_may_start,
)

ANNA = Asker("anna", Role.READER)


def test_every_role_has_its_scales_and_none_loses_one_on_the_way_up():
    rights = [set(SCALES_BY_ROLE[role]) for role in Role]
    assert set(SCALES_BY_ROLE) == set(Role)
    assert all(lower <= higher for lower, higher in itertools.pairwise(rights))
    assert rights[0] == set()
    assert rights[-1] == set(Scale)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("scale", Scale)
def test_a_run_starts_only_by_a_role_that_may(role, scale):
    if scale in SCALES_BY_ROLE[role]:
        check_may_start(Asker("x", role), scale)
    else:
        with pytest.raises(ForbiddenError, match=f"a {role} may start"):
            check_may_start(Asker("x", role), scale)


@pytest.mark.parametrize(
    ("asker", "owner", "may"),
    [
        (ANNA, "anna", True),
        (ANNA, "bert", False),
        (Asker("bert", Role.MODERATOR), "anna", True),
        (THIS_MACHINE, "anna", True),
        # A visitor has no name that could be an owner's.
        (Asker("anna", Role.VISITOR), "anna", False),
        (Asker("", Role.VISITOR), "", False),
    ],
)
def test_a_run_is_cancelled_by_its_owner_or_a_moderator(asker, owner, may):
    if may:
        check_may_cancel(asker, owner)
    else:
        with pytest.raises(ForbiddenError, match="only its owner"):
            check_may_cancel(asker, owner)


@pytest.mark.parametrize("role", Role)
def test_text_is_generated_by_who_may_start_quick_runs(role):
    if Scale.QUICK in SCALES_BY_ROLE[role]:
        check_may_generate(Asker("x", role))
    else:
        with pytest.raises(ForbiddenError, match=f"a {role} may not generate"):
            check_may_generate(Asker("x", role))


def test_a_generation_is_deleted_by_its_owner_or_a_moderator():
    check_may_delete_generation(ANNA, "anna")
    check_may_delete_generation(Asker("bert", Role.MODERATOR), "anna")
    for asker in (ANNA, Asker("bert", Role.VISITOR)):
        with pytest.raises(ForbiddenError, match="only its owner"):
            check_may_delete_generation(asker, "bert")


def test_a_run_belongs_to_who_asked_for_it(make_room, engine):
    make_room()
    run_id = queue_run(engine, "little", "quick", asker=ANNA)
    with read(engine) as connection:
        assert run_by_id(connection, run_id).owner == "anna"
    with pytest.raises(ForbiddenError):
        queue_run(engine, "little", "standard", asker=ANNA)
    with pytest.raises(ForbiddenError):
        cancel_run(engine, run_id, asker=Asker("bert", Role.READER))
    cancel_run(engine, run_id, asker=ANNA)
    with read(engine) as connection:
        assert run_by_id(connection, run_id).state == "cancelled"
