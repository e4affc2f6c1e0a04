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

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
