from .admix import (
    AdmixAttention,
    AdmixEncoder,
    admix_bce,
)
from .enhancements import (
    Curriculum,
    ItemFrequencyLoss,
    KeepFrequent,
    SequenceUniformityLoss,
    UniRec,
)
from .neighbours import ItemNeighbours
from .study import matched_difference
from .time_encoding import (
    CalendarTimeEncoding,
    IntervalEmbedding,
    calendar_fields,
)
from .timed import TimeAware
from .uniformity import (
    frequency_split,
    gap_variance,
    item_interval_variance,
    rarity,
    uniformity_split,
)

__all__ = [
    "AdmixAttention",
    "AdmixEncoder",
    "CalendarTimeEncoding",
    "Curriculum",
    "IntervalEmbedding",
    "ItemFrequencyLoss",
    "ItemNeighbours",
    "KeepFrequent",
    "SequenceUniformityLoss",
    "TimeAware",
    "UniRec",
    "admix_bce",
    "calendar_fields",
    "frequency_split",
    "gap_variance",
    "item_interval_variance",
    "matched_difference",
    "rarity",
    "uniformity_split",
]
