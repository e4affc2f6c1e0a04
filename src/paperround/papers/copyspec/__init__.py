"""CopySpec: decoding that copies what the text has said before, with the same output.

When the last few tokens occurred earlier in the conversation, the text may go on as it did there:
the next tokens are copied as a draft and verified in one forward pass. No second model, no extra
memory, the output unchanged. Use it where answers repeat their context: editing, rewriting with a
change, quoting retrieved passages, refactoring code, self-correction. Where nothing repeats it
gains nothing and costs a little; in batches, and for models with a recurrent state, it is refused.

    from paperround.papers import copyspec

    inputs = tokenizer("Fix the typo and give the whole text again: ...", return_tensors="pt")
    output = copyspec.generate(model, **inputs, gamma=3, max_copy=10, max_new_tokens=200)
    print(tokenizer.decode(output.sequences[0]), output.stats.tau)

`AdaptiveCopy` is a rule of our own for what to copy and how much, faster than the paper's; give
`generate` one as `rule=AdaptiveCopy(measure_pass_cost(model))`. On a command line:
`paperround generate --method copyspec`, and `--method copyspec-adaptive`.

Razvan-Gabriel Dumitru, Minglai Yang, Vikas Yadav, Mihai Surdeanu: CopySpec: Accelerating LLMs with
Speculative Copy-and-Paste Without Compromising Quality. arXiv:2502.08923, 2025.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CopyIndex": "index",
    "generate": "generation",
    "copy_decoding": "generation",
    "GenerateOutput": "generation",
    "CopyCandidateGenerator": "candidates",
    "assisted_copy_decoding": "candidates",
    "DecodingStats": "steps",
    "Step": "steps",
    "AdaptiveCopy": "adaptive",
    "PassCost": "adaptive",
    "measure_pass_cost": "adaptive",
    "replay": "replays",
    "Adaptive": "replays",
    "CopySpec": "replays",
    "PromptLookup": "replays",
    "Greedy": "replays",
    "Oracle": "replays",
    "CostModel": "cost",
    "fit_cost": "cost",
}

__all__ = [  # noqa: RUF022  (in the order in which one meets them)
    "generate",
    "GenerateOutput",
    "DecodingStats",
    "Step",
    "CopyIndex",
    "copy_decoding",
    "assisted_copy_decoding",
    "CopyCandidateGenerator",
    "AdaptiveCopy",
    "PassCost",
    "measure_pass_cost",
    "replay",
    "CopySpec",
    "Adaptive",
    "PromptLookup",
    "Greedy",
    "Oracle",
    "CostModel",
    "fit_cost",
]


# Lazy, so that listing papers imports no torch.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
