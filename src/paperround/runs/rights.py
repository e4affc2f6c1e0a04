"""Who may start and cancel which runs, and who may generate text: decided in this one place."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from paperround.errors import ForbiddenError
from paperround.runs.card import Scale


class Role(StrEnum):
    """What somebody is to this Paperround, from the least trusted to the most."""

    VISITOR = "visitor"
    READER = "reader"
    MODERATOR = "moderator"
    ADMIN = "admin"


# A quick run takes a minute of the machine, a standard one a quarter of an hour, a full one days.
SCALES_BY_ROLE: Mapping[Role, Collection[Scale]] = {
    Role.VISITOR: (),
    Role.READER: (Scale.QUICK,),
    Role.MODERATOR: (Scale.QUICK, Scale.STANDARD),
    Role.ADMIN: tuple(Scale),
}


@dataclass(frozen=True)
class Asker:
    """Who asks for something: a name for the record, and the role."""

    name: str
    role: Role


# Whoever can type a command on this machine can do all that its program can.
THIS_MACHINE = Asker("this machine", Role.ADMIN)


def check_may_start(asker: Asker, scale: Scale) -> None:
    """Raises ForbiddenError where the asker's role may not start a run of that scale."""
    if scale not in SCALES_BY_ROLE[asker.role]:
        allowed = " and ".join(SCALES_BY_ROLE[asker.role])
        raise ForbiddenError(
            f"a {asker.role} may start {f'runs of the {allowed} scale' if allowed else 'no runs'}"
        )


def check_may_cancel(asker: Asker, owner: str) -> None:
    """Raises ForbiddenError unless the run is the asker's own, or a moderator asks."""
    if asker.role in (Role.MODERATOR, Role.ADMIN):
        return
    if asker.role is Role.VISITOR or asker.name != owner:
        raise ForbiddenError("only its owner and moderators may cancel a run")


def check_may_generate(asker: Asker) -> None:
    """Raises ForbiddenError where the asker may not start quick runs: it takes as much."""
    if Scale.QUICK not in SCALES_BY_ROLE[asker.role]:
        raise ForbiddenError(f"a {asker.role} may not generate text here")


def check_may_delete_generation(asker: Asker, owner: str) -> None:
    """Raises ForbiddenError unless the generation is the asker's own, or a moderator asks."""
    if asker.role in (Role.MODERATOR, Role.ADMIN):
        return
    if asker.role is Role.VISITOR or asker.name != owner:
        raise ForbiddenError("only its owner and moderators may delete what was generated")
