"""ReaRec: a sequential recommender that reasons K latent steps before it scores.

The last hidden state of a user's history is fed back as one more token, K times, through the same
weights; training keeps the steps apart (ERL) or sharpens them one after the other (PRL). Use it to
give a SASRec or BERT4Rec more depth at inference without more layers; a step costs one token.
Expect little where users and items have plenty of data: the paper's gains are at sparse users and
rare items, and heavy users lose with more steps. Tune the baseline's temperature and dropout first.

    from paperround.kit.recommendation import Recommender

    events = [(f"user {n % 9}", f"item {(n % 9 + n // 9) % 7}") for n in range(90)]
    recommender = Recommender("rearec", recipe="erl", epochs=3, d_model=16).fit(events)
    print(recommender.recommend(["user 1", ["item 4", "item 5"]], k=3, exclude_seen=False))

Around an encoder of your own: `LatentReasoning(SASRec(n_items), num_steps=2)`, trained by the kit's
Trainer with `objective_of("erl")`. Over a transformers decoder: `reason_with_cache`. In a shell:
`paperround recommend evaluate events.csv --model rearec --set recipe=prl --set backbone=bert4rec`.

Tang, Dai, Shi, Xu, Chen, Chen, Wu, Jiang: Think Before Recommend: Unleashing the Latent Reasoning
Power for Sequential Recommendation. arXiv:2503.22675, 2025.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
