from .encoding import (
    MASK_ONLY,
    PLAIN,
    POSITIONS_ONLY,
    SET_BASED,
    Form,
    SetBatch,
    SetEncoding,
    collate,
    encode_set_prompt,
    encode_set_prompts,
    set_attention_mask,
    to_additive,
)
from .generation import (
    GenerateOutput,
    set_decoding,
    set_generate,
)
from .models import (
    require_support,
    set_inputs,
)
from .prompts import (
    SetPart,
    SetPrompt,
    set_of,
)
from .scoring import (
    contains_only_correct,
    official_option_probabilities,
    score_options,
    score_questions,
)
from .sensitivity import (
    OrderSensitivity,
    average_over_orders,
    order_sensitivity,
    rotations,
    vote_over_orders,
)

__all__ = [
    "MASK_ONLY",
    "PLAIN",
    "POSITIONS_ONLY",
    "SET_BASED",
    "Form",
    "GenerateOutput",
    "OrderSensitivity",
    "SetBatch",
    "SetEncoding",
    "SetPart",
    "SetPrompt",
    "average_over_orders",
    "collate",
    "contains_only_correct",
    "encode_set_prompt",
    "encode_set_prompts",
    "official_option_probabilities",
    "order_sensitivity",
    "require_support",
    "rotations",
    "score_options",
    "score_questions",
    "set_attention_mask",
    "set_decoding",
    "set_generate",
    "set_inputs",
    "set_of",
    "to_additive",
    "vote_over_orders",
]
