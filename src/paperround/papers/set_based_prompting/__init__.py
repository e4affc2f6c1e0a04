r"""Set-based prompting: a prompt whose parts have no order, for any transformer, by construction.

The options of a question, the documents that a search found, the candidates that a model is to
judge: a language model answers otherwise when they stand in another order. Two edits of a model's
input take the order away, without training and in one pass: the members of a set start at the same
position, and none may attend to another. Use it where the order of candidates must not decide
(judging, re-ranking, multiple choice). It costs accuracy where the model profits from reading the
candidates one after another; with an interface that takes no mask, average over orders instead.

    from paperround.papers.set_based_prompting import SetPrompt, set_generate, set_of

    prompt = SetPrompt(["Which one can fly?", set_of(["\n- a crow", "\n- a cat"]), "\nAnswer:"])
    print(set_generate(model, tokenizer, prompt, max_new_tokens=10).texts)

Reid McIlroy-Young, Katrina Brown, Conlan Olson, Linjun Zhang, Cynthia Dwork: Set-Based Prompting:
Provably Solving the Language Model Order Dependency Problem, arXiv 2406.06581, 2024 (NeurIPS 2024,
as Order-Independence Without Fine Tuning).
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "prompts": ("SetPart", "SetPrompt", "set_of"),
    "encoding": (
        "MASK_ONLY",
        "PLAIN",
        "POSITIONS_ONLY",
        "SET_BASED",
        "Form",
        "SetBatch",
        "SetEncoding",
        "collate",
        "encode_set_prompt",
        "encode_set_prompts",
        "set_attention_mask",
        "to_additive",
    ),
    "models": ("require_support", "set_inputs"),
    "generation": ("GenerateOutput", "set_decoding", "set_generate"),
    "scoring": (
        "contains_only_correct",
        "official_option_probabilities",
        "score_options",
        "score_questions",
    ),
    "sensitivity": (
        "OrderSensitivity",
        "average_over_orders",
        "order_sensitivity",
        "rotations",
        "vote_over_orders",
    ),
}

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


def __getattr__(name: str) -> Any:
    # Importing the room must not import torch: the web process lists every room.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
