"""The ways that are compared, in the order in which they are shown, and what each gave."""

from collections.abc import Sequence
from dataclasses import dataclass

from paperround.papers.fretna.evaluation import Scores
from paperround.papers.fretna.streaming import Stream
from paperround.papers.fretna.trials import Job, Way

RETA = Way("ReTA", "ar")
MASKED = Way("ReTA, last 2 words hidden", "ar", mask_k=2)
SPECULATIVE = Way("ReTA, the former one as draft (ours)", "speculative")
WAIT_3 = Way("wait-3", "wait-k", k=3)
WAIT_5 = Way("wait-5", "wait-k", k=5)
FRETNA = Way("FReTNA", "levt")
BIASED = Way("FReTNA, append bias 1", "levt", append_bias=1.0)
MORE_BIASED = Way("FReTNA, append bias 3", "levt", append_bias=3.0)
ONE = Way("FReTNA, 1 refinement", "levt", refinements=1)
THREE = Way("FReTNA, 3 refinements", "levt", refinements=3)
SCRATCH = Way("FReTNA from nothing", "levt", from_previous=False)
AR_WAYS, WAIT_WAYS = (RETA, MASKED, SPECULATIVE), (WAIT_3, WAIT_5)
# With every seed, and with the first one alone.
LEVT_WAYS, ONCE = (FRETNA, BIASED), (ONE, THREE, MORE_BIASED, SCRATCH)
ORDER = (*AR_WAYS, *WAIT_WAYS, ONE, FRETNA, THREE, BIASED, MORE_BIASED, SCRATCH)
TIMED = (RETA, SPECULATIVE, WAIT_3, ONE, FRETNA, THREE)


@dataclass(frozen=True)
class Outcome:
    """What one way gave with one seed: streams of all test sentences, and their scores."""

    way: Way
    seed: int
    job: Job
    streams: Sequence[Stream]
    scores: Scores


def one(outcomes: Sequence[Outcome], way: Way, seed: int | None = None) -> Outcome:
    """The outcome of that way, and of that seed where it is given."""
    return next(o for o in outcomes if o.way == way and seed in (None, o.seed))
