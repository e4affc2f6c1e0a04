"""UniRec: a sequential recommender that learns irregular users and rare items better.

Two losses of training alone: users with regular gaps are made irregular and must keep their
representation, and what frequent items know of their neighbours is handed to rare ones. A third
part encodes times, by the calendar and by interval. Use the losses on any encoder of the kit where
events have times; they cost nothing afterwards. Look at the room's README first: beside a SASRec
with full softmax, equally tuned, they gain little here.

    from paperround.kit.recommendation import Recommender

    events = [(u, (u + n) % 9, 86_400.0 * n * (1 + u % 3)) for u in range(30) for n in range(8)]
    recommender = Recommender("unirec", epochs=3, d_model=16).fit(events)
    print(recommender.recommend([3, 5], k=2))

On a command line: `paperround recommend fit events.csv --model unirec --out shop.model`.

Liu, Wang, Feng: UniRec: A Dual Enhancement of Uniformity and Frequency in Sequential
Recommendations. arXiv:2406.18470, CIKM 2024.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "AdmixAttention": "admix",
    "AdmixEncoder": "admix",
    "CalendarTimeEncoding": "time_encoding",
    "Curriculum": "enhancements",
    "IntervalEmbedding": "time_encoding",
    "ItemFrequencyLoss": "enhancements",
    "ItemNeighbours": "neighbours",
    "KeepFrequent": "enhancements",
    "SequenceUniformityLoss": "enhancements",
    "TimeAware": "timed",
    "UniRec": "enhancements",
    "admix_bce": "admix",
    "calendar_fields": "time_encoding",
    "frequency_split": "uniformity",
    "gap_variance": "uniformity",
    "item_interval_variance": "uniformity",
    "matched_difference": "study",
    "rarity": "uniformity",
    "uniformity_split": "uniformity",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
