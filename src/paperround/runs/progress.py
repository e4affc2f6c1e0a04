"""How far a run is, computed from what it has emitted; nothing of it is stored."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

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

    @property
    def share(self) -> float | None:
        """How much of the stage is done, 0..1; 1 for an ended stage."""
        if self.seconds is not None:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True)
class Progress:
    """The stages so far in the order of their start, the one under way, and an estimate.

    `seconds_left` is for the whole run and only known where an earlier run tells how long each
    stage takes; `stage_seconds_left` is for the current stage, from its own pace.
    """

    stages: tuple[StageProgress, ...]
    current: StageProgress | None
    measured: int
    seconds: float
    seconds_left: float | None
    stage_seconds_left: float | None


def progress_of(
    events: Iterable[tuple[datetime, Event]],
    now: datetime,
    earlier: Sequence[Event] = (),
) -> Progress:
    """The progress of a run that has emitted `events`, each with its time.

    `earlier` is `Result.stages` of another run at the same scale. Only what came after the last
    `started` event counts: a run that was given back begins anew.
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
                stages[place] = replace(stages[place], done=event["done"], total=event["total"])
            else:
                stages[place] = replace(stages[place], seconds=event["seconds"])
    current = next((stage for stage in reversed(stages) if stage.seconds is None), None)
    stage_left = None if current is None else _by_pace(current, now)
    return Progress(
        stages=tuple(stages),
        current=current,
        measured=measured,
        seconds=max(0.0, (now - started_at).total_seconds()),
        seconds_left=_run_left(stages, current, stage_left, now, earlier),
        stage_seconds_left=stage_left,
    )


def _open_stage(stages: Sequence[StageProgress], name: str) -> int | None:
    for place in range(len(stages) - 1, -1, -1):
        if stages[place].name == name and stages[place].seconds is None:
            return place
    return None


def _by_pace(stage: StageProgress, now: datetime) -> float | None:
    elapsed, share = (now - stage.started_at).total_seconds(), stage.share
    if share is None or share < _TELLING_SHARE or elapsed < _TELLING_SECONDS:
        return None
    return elapsed * (1 - share) / share


def _run_left(
    stages: Sequence[StageProgress],
    current: StageProgress | None,
    stage_left: float | None,
    now: datetime,
    earlier: Sequence[Event],
) -> float | None:
    if not earlier:
        return None
    # Fetching assets is done once and says nothing of the next run.
    expected = [(e["stage"], float(e["seconds"])) for e in earlier if e["stage"] != "assets"]
    begun = Counter(stage.name for stage in stages)
    typical = dict(expected)
    ahead = 0.0
    for name, seconds in expected:
        if begun[name]:
            begun[name] -= 1
        else:
            ahead += seconds
    # How this machine compares with the earlier run, from the stages that both have ended.
    ended = [s for s in stages if s.seconds is not None and s.name in typical]
    before = sum(typical[stage.name] for stage in ended)
    factor = sum(stage.seconds or 0.0 for stage in ended) / before if before > 1 else 1.0
    if current is None:
        here = 0.0
    elif stage_left is not None:
        here = stage_left
    elif current.name in typical:
        elapsed = (now - current.started_at).total_seconds()
        here = max(0.0, typical[current.name] * factor - elapsed)
    else:
        return None
    return here + ahead * factor
