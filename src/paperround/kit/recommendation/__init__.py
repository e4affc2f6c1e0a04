"""Sequential recommendation: what a user takes next, from what they took before.

Start with `Recommender` (recommender.py): fit it to a log of interactions, ask for recommendations.
What it stands on can be used alone, and the papers' rooms do:

- interactions.py, reading.py: the log, from files, frames and our data sets; splits.py: what
  trains, what chooses, what tests; samples.py: training rows and negatives.
- models.py: what every model is; counting.py and encoders.py: the baselines; kinds.py: by name.
- losses.py, objectives.py, training.py: how networks learn; metrics.py, evaluation.py: how well.
- ranking.py: the best items, also among a million; export.py: ONNX.
- item_text.py, text.py: titles and attributes, as vectors and by nearness; report.py: several
  models over seeds in one table, with a paired test.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "AbstractSequenceEncoder": "models",
    "AbstractSequenceModel": "models",
    "Answer": "recommender",
    "AuxLoss": "training",
    "BERT4Rec": "encoders",
    "Batch": "samples",
    "Cases": "splits",
    "Compared": "report",
    "Comparison": "report",
    "Evaluation": "evaluation",
    "FitTask": "training",
    "GRU4Rec": "encoders",
    "InteractionLog": "interactions",
    "ItemKNN": "counting",
    "ItemText": "item_text",
    "Markov": "counting",
    "ModelKind": "models",
    "Neighbours": "text",
    "OriginalSASRec": "encoders",
    "Popularity": "counting",
    "Published": "report",
    "Ranks": "metrics",
    "Recommender": "recommender",
    "SASRec": "encoders",
    "SequenceDataset": "samples",
    "Split": "splits",
    "TextEncoder": "text",
    "Trainer": "training",
    "TrainingPlan": "training",
    "TrainingResult": "training",
    "build_log": "interactions",
    "compare": "report",
    "count_ranks": "metrics",
    "evaluate": "evaluation",
    "fast_arithmetic": "training",
    "find_model": "models",
    "full_softmax": "losses",
    "hit_rate": "metrics",
    "item_vectors": "text",
    "k_core": "interactions",
    "known_models": "models",
    "leave_one_out": "splits",
    "load_amazon": "reading",
    "load_diginetica": "reading",
    "load_item_text": "item_text",
    "load_lastfm": "reading",
    "load_movielens_100k": "reading",
    "load_movielens_1m": "reading",
    "masked_items": "objectives",
    "minilm": "text",
    "mrr": "metrics",
    "ndcg": "metrics",
    "nearest_neighbours": "text",
    "next_items": "objectives",
    "paired_bootstrap": "metrics",
    "paired_over_seeds": "report",
    "read_interactions": "reading",
    "reported_beside_measured": "report",
    "sampled_expectation": "metrics",
    "temporal_split": "splits",
    "text_vectors": "text",
    "tfidf": "text",
    "transformer_encoder": "text",
    "whitened": "text",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
