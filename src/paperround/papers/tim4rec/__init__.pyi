from .baselines import (
    GapBucketSASRec,
    GapBucketSSD,
    TiSASRec,
)
from .method import (
    RecurrentState,
    TimeAwareSSDRecommender,
)
from .mixer import Mamba2Mixer
from .modulation import TimeModulation
from .plain import (
    ssd_matrix,
    ssd_recurrence,
    structured_mask,
)
from .scan import (
    ssd_recurrent_step,
    ssd_scan,
)

__all__ = [
    "GapBucketSASRec",
    "GapBucketSSD",
    "Mamba2Mixer",
    "RecurrentState",
    "TiSASRec",
    "TimeAwareSSDRecommender",
    "TimeModulation",
    "ssd_matrix",
    "ssd_recurrence",
    "ssd_recurrent_step",
    "ssd_scan",
    "structured_mask",
]
