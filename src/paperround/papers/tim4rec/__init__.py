"""TiM4Rec: a state-space recommender whose memory fades by the time between events.

A Mamba-2 layer in place of attention: training costs time linear in the history, and serving a user
keeps a state of one size, updated event by event. The gaps between events scale the steps of the
layer's structured mask. Use it for long histories with times, or to serve without rereading them.
On histories of 50 without a GPU, SASRec is faster and about as good: try `--model sasrec` first.

    import torch
    from paperround.papers.tim4rec import TimeAwareSSDRecommender

    model = TimeAwareSSDRecommender(n_items=100).eval()
    hidden, state = model.step(torch.tensor([3]), torch.tensor([1.7e9]), model.start(1))
    print(model.score(hidden).shape)

On a command line: `paperround recommend evaluate events.csv --model tim4rec`. The layer alone, with
mamba_ssm's arguments and no CUDA: `ssd_scan`, `ssd_recurrent_step`, `Mamba2Mixer`.

Fan, Zhu, Hu, Feng, He, Liu, Liu: TiM4Rec: An Efficient Sequential Recommendation Model Based on
Time-Aware Structured State Space Duality Model. arXiv:2409.16182, Neurocomputing 654, 2025.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "GapBucketSASRec": "baselines",
    "GapBucketSSD": "baselines",
    "Mamba2Mixer": "mixer",
    "RecurrentState": "method",
    "TiSASRec": "baselines",
    "TimeAwareSSDRecommender": "method",
    "TimeModulation": "modulation",
    "ssd_matrix": "plain",
    "ssd_recurrence": "plain",
    "ssd_recurrent_step": "scan",
    "ssd_scan": "scan",
    "structured_mask": "plain",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
