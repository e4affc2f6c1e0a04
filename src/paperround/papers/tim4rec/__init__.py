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

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
