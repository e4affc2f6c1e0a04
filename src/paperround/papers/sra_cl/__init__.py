"""SRA-CL: contrastive losses for a sequential recommender, from users and items alike in meaning.

Two losses are added while a SASRec-like model learns: a user's state is drawn to a learnt mixture
of users whose texts are like theirs, and two views of one history, in which some items are replaced
by items with similar texts, are drawn together. The model that is kept is the encoder alone, as
fast as before. Use it where items have texts and users have few events. Expect little where data is
plenty, or where titles say nothing of what goes with what. Tune the plain encoder first: most of
what the paper's table shows over SASRec is its training with the full softmax.

    import numpy as np
    from paperround.kit.recommendation import SASRec, SequenceDataset, Trainer
    from paperround.kit.recommendation import build_log, next_items
    from paperround.papers.sra_cl import SemanticContrastive

    log = build_log([n // 5 for n in range(60)], [(n * n) % 9 for n in range(60)])
    item_text = np.vstack([np.zeros(4), np.random.default_rng(0).normal(size=(log.n_items, 4))])
    model = SemanticContrastive(SASRec(log.n_items, max_len=20), log, item_text, k=3)
    data = SequenceDataset(log, max_len=20)
    Trainer(model, data, None, next_items(), aux_losses=model.aux_losses()).fit()
    model.encoder  # all that recommending needs

Vectors of real texts: `paperround.kit.recommendation.item_vectors`. On a command line:
`paperround recommend fit events.csv --model sra-cl --set texts=items.csv --out shop.model`.

Cui et al.: Semantic Retrieval Augmented Contrastive Learning for Sequential Recommendation.
NeurIPS 2025, arXiv:2503.04162.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "LearnableSynthesis": "method",
    "PlainMean": "method",
    "SemanticContrastive": "method",
    "behaviour_vectors": "retrieval",
    "cl4srec": "baselines",
    "co_occurrence_rate": "retrieval",
    "describe": "descriptions",
    "describe_items": "descriptions",
    "describe_users": "descriptions",
    "duorec": "baselines",
    "filled_from": "retrieval",
    "info_nce": "method",
    "item_prompts": "descriptions",
    "load_neighbours": "retrieval",
    "matched_random": "retrieval",
    "save_neighbours": "retrieval",
    "semantic_substitution": "method",
    "user_prompts": "descriptions",
    "user_vectors": "retrieval",
}

__all__ = [
    "LearnableSynthesis",
    "PlainMean",
    "SemanticContrastive",
    "behaviour_vectors",
    "cl4srec",
    "co_occurrence_rate",
    "describe",
    "describe_items",
    "describe_users",
    "duorec",
    "filled_from",
    "info_nce",
    "item_prompts",
    "load_neighbours",
    "matched_random",
    "save_neighbours",
    "semantic_substitution",
    "user_prompts",
    "user_vectors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
