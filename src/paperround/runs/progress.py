"""How far a run is, computed from what it has emitted; nothing of it is stored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from paperround.runs.reproduction import Event

# Below this, a share extrapolates to nonsense.
_TELLING_SHARE = 0.05
_TELLING_SECONDS = 1.0


@dataclass(frozen=True)
class StageProgress:
    """A stage that has begun. `total` and `share` (0..1) are None where the stage has no total."""

    name: str
    done: int
    total: int | None
    started_at: datetime
    # Set once it has ended.
    seconds: float | None = None
    # When it last told of a step.
    moved_at: datetime | None = None

    @property
    def share(self) -> float | None:
        """How much of the stage is done, 0..1; 1 for an ended stage."""
        if self.seconds is not None:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True)
class Progress:
    """The stages so far in the order of their start, the one under way, and an estimate.

    `seconds_left` is for the whole run and only known where earlier runs tell how long each stage
    takes; `stage_seconds_left` is for the current stage, from its own pace. `ahead` are the stages
    that earlier runs had and this one has not begun, each with the seconds that it may take.
    """

    stages: tuple[StageProgress, ...]
    current: StageProgress | None
    measured: int
    seconds: float
    seconds_left: float | None
    stage_seconds_left: float | None
    ahead: tuple[tuple[str, float], ...] = ()

    @property
    def share(self) -> float | None:
        """How much of the whole run is done, 0..1, by time; None where that is not known."""
        if self.seconds_left is None:
            return None
        whole = self.seconds + self.seconds_left
        return self.seconds / whole if whole > 0 else 0.0


def progress_of(
    events: Iterable[tuple[datetime, Event]],
    now: datetime,
    earlier: Sequence[Event] = (),
) -> Progress:
    """The progress of a run that has emitted `events`, each with its time.

    `earlier` says how long the stages of other runs at the same scale took: `typical_stages`, or
    the `stages` of one result. Only what came after the last `started` event counts: a run that
    was given back begins anew.
    """
    stages: list[StageProgress] = []
    measured, started_at = 0, now
    for at, event in events:
        kind = event["kind"]
        if kind == "started":
            stages, measured, started_at = [], 0, at
        elif kind == "stage":
            stages.append(StageProgress(event["stage"], 0, event["total"], at))
        elif kind == "measure":
            measured += 1
        elif kind in ("progress", "stage-end"):
            place = _open_stage(stages, event["stage"])
            if place is None:
                continue
            if kind == "progress":
                stages[place] = replace(
                    stages[place], done=event["done"], total=event["total"], moved_at=at
                )
            else:
                stages[place] = replace(stages[place], seconds=event["seconds"])
    current = next((stage for stage in reversed(stages) if stage.seconds is None), None)
    expected = _Expected.of(stages, earlier)
    stage_left = None if current is None else _by_pace(current, now)
    return Progress(
        stages=tuple(stages),
        current=current,
        measured=measured,
        seconds=max(0.0, (now - started_at).total_seconds()),
        seconds_left=_run_left(current, stage_left, now, expected) if earlier else None,
        stage_seconds_left=stage_left,
        ahead=expected.ahead,
    )


def _open_stage(stages: Sequence[StageProgress], name: str) -> int | None:
    for place in range(len(stages) - 1, -1, -1):
        if stages[place].name == name and stages[place].seconds is None:
            return place
    return None


@dataclass(frozen=True)
class _Expected:
    """What earlier runs say of this one, at this machine's present speed.

    `current` is how long the stage under way takes in all, None where no earlier run had it.
    """

    current: float | None
    ahead: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, stages: Sequence[StageProgress], earlier: Sequence[Event]) -> Self:
        # Fetching assets is done once and says nothing of the next run.
        left = [(e["stage"], float(e["seconds"])) for e in earlier if e["stage"] != "assets"]
        took, before, current = 0.0, 0.0, None
        for stage in stages:
            place = next((i for i, (name, _) in enumerate(left) if name == stage.name), None)
            if place is None:
                continue
            _, typical = left.pop(place)
            if stage.seconds is None:
                current = typical
            else:
                took, before = took + stage.seconds, before + typical
        # How this machine compares with the earlier runs, from the stages that both have ended.
        factor = took / before if before > 1 else 1.0
        return cls(
            current=None if current is None else current * factor,
            ahead=tuple((name, seconds * factor) for name, seconds in left),
        )


def _by_pace(stage: StageProgress, now: datetime) -> float | None:
    """The seconds left of a stage whose steps go on as they went until the last one.

    Counted from that step: between two long ones the estimate falls, and does not grow.
    """
    moved_at, share = stage.moved_at or now, stage.share
    elapsed = (now - stage.started_at).total_seconds()
    until_moved = (moved_at - stage.started_at).total_seconds()
    if share is None or share < _TELLING_SHARE or elapsed < _TELLING_SECONDS:
        return None
    # Steps that came all at once tell less than the time since.
    told = until_moved if until_moved >= _TELLING_SECONDS else elapsed
    return max(0.0, told / share - elapsed)


def _run_left(
    current: StageProgress | None, by_pace: float | None, now: datetime, expected: _Expected
) -> float | None:
    ahead = sum(seconds for _, seconds in expected.ahead)
    if current is None:
        return ahead
    if expected.current is None:
        return None if by_pace is None else by_pace + ahead
    elapsed = (now - current.started_at).total_seconds()
    by_earlier = max(0.0, expected.current - elapsed)
    if by_pace is None:
        return by_earlier + ahead
    # The further the stage is, the more its own pace tells.
    weight = current.share or 0.0
    return weight * by_pace + (1 - weight) * by_earlier + ahead
