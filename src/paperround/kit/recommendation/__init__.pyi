from .counting import (
    ItemKNN,
    Markov,
    Popularity,
)
from .encoders import (
    BERT4Rec,
    GRU4Rec,
    OriginalSASRec,
    SASRec,
)
from .evaluation import (
    Evaluation,
    evaluate,
)
from .interactions import (
    InteractionLog,
    build_log,
    k_core,
)
from .item_text import (
    ItemText,
    load_item_text,
)
from .losses import full_softmax
from .metrics import (
    Ranks,
    count_ranks,
    hit_rate,
    mrr,
    ndcg,
    paired_bootstrap,
    sampled_expectation,
)
from .models import (
    AbstractSequenceEncoder,
    AbstractSequenceModel,
    ModelKind,
    find_model,
    known_models,
)
from .objectives import (
    masked_items,
    next_items,
)
from .reading import (
    load_amazon,
    load_diginetica,
    load_lastfm,
    load_movielens_1m,
    load_movielens_100k,
    read_interactions,
)
from .recommender import (
    Answer,
    Recommender,
)
from .report import (
    Compared,
    Comparison,
    Published,
    compare,
    paired_over_seeds,
    reported_beside_measured,
)
from .samples import (
    Batch,
    SequenceDataset,
)
from .splits import (
    Cases,
    Split,
    leave_one_out,
    temporal_split,
)
from .text import (
    Neighbours,
    TextEncoder,
    item_vectors,
    minilm,
    nearest_neighbours,
    text_vectors,
    tfidf,
    transformer_encoder,
    whitened,
)
from .training import (
    AuxLoss,
    FitTask,
    Trainer,
    TrainingPlan,
    TrainingResult,
    fast_arithmetic,
)

__all__ = [
    "AbstractSequenceEncoder",
    "AbstractSequenceModel",
    "Answer",
    "AuxLoss",
    "BERT4Rec",
    "Batch",
    "Cases",
    "Compared",
    "Comparison",
    "Evaluation",
    "FitTask",
    "GRU4Rec",
    "InteractionLog",
    "ItemKNN",
    "ItemText",
    "Markov",
    "ModelKind",
    "Neighbours",
    "OriginalSASRec",
    "Popularity",
    "Published",
    "Ranks",
    "Recommender",
    "SASRec",
    "SequenceDataset",
    "Split",
    "TextEncoder",
    "Trainer",
    "TrainingPlan",
    "TrainingResult",
    "build_log",
    "compare",
    "count_ranks",
    "evaluate",
    "fast_arithmetic",
    "find_model",
    "full_softmax",
    "hit_rate",
    "item_vectors",
    "k_core",
    "known_models",
    "leave_one_out",
    "load_amazon",
    "load_diginetica",
    "load_item_text",
    "load_lastfm",
    "load_movielens_1m",
    "load_movielens_100k",
    "masked_items",
    "minilm",
    "mrr",
    "ndcg",
    "nearest_neighbours",
    "next_items",
    "paired_bootstrap",
    "paired_over_seeds",
    "read_interactions",
    "reported_beside_measured",
    "sampled_expectation",
    "temporal_split",
    "text_vectors",
    "tfidf",
    "transformer_encoder",
    "whitened",
]
