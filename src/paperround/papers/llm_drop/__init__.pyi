from .lora import repair
from .measures import (
    cache_bytes_per_token,
    cache_size_bytes,
    choice_accuracy,
    mean_loss,
    next_passage_choices,
    perplexity,
    speedup_degradation_ratio,
    token_windows,
)
from .peers import (
    plan_by_loss,
    plan_last,
    plan_randomly,
)
from .plans import (
    DropPlan,
    drop,
    dropped,
    plan_angular,
    plan_consecutive,
    plan_drop,
    plan_iteratively,
)
from .saving import (
    SavedModel,
    load_dropped,
    save_dropped,
)
from .scores import (
    Scores,
    SpanScores,
    score_spans,
    score_sublayers,
)
from .speed import (
    DecodingSpeedup,
    StepWork,
    allowed_speedup,
    decoding_speedup,
    step_work,
    time_decoding,
    time_prompts,
)
from .sublayers import (
    Removed,
    drop_sublayers,
    dropped_sublayers,
)

__all__ = [
    "DecodingSpeedup",
    "DropPlan",
    "Removed",
    "SavedModel",
    "Scores",
    "SpanScores",
    "StepWork",
    "allowed_speedup",
    "cache_bytes_per_token",
    "cache_size_bytes",
    "choice_accuracy",
    "decoding_speedup",
    "drop",
    "drop_sublayers",
    "dropped",
    "dropped_sublayers",
    "load_dropped",
    "mean_loss",
    "next_passage_choices",
    "perplexity",
    "plan_angular",
    "plan_by_loss",
    "plan_consecutive",
    "plan_drop",
    "plan_iteratively",
    "plan_last",
    "plan_randomly",
    "repair",
    "save_dropped",
    "score_spans",
    "score_sublayers",
    "speedup_degradation_ratio",
    "step_work",
    "time_decoding",
    "time_prompts",
    "token_windows",
]
