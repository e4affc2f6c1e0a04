"""CopySpec for `paperround generate`: the paper's rule, and our own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.kit.language_models.declarations import read_declarations
from paperround.kit.language_models.methods import (
    PLAIN_SETTINGS,
    Candidate,
    Generated,
    GenerationMethod,
    Request,
)
from paperround.papers.copyspec.adaptive import AdaptiveCopy, measure_pass_cost
from paperround.papers.copyspec.generation import generate


def _papers_rule(request: Request) -> Generated:
    options = request.options
    return _copied(
        request,
        "Where the last {gamma} tokens had occurred before, up to {max_copy} that followed them "
        "were copied and verified together: ",
        gamma=options["gamma"],
        max_copy=options["max_copy"],
    )


def _own_rule(request: Request) -> Generated:
    cost = measure_pass_cost(request.model)
    return _copied(
        request,
        "What followed the longest suffix that had occurred before was copied, as much as pays by "
        "what a pass costs here: ",
        rule=AdaptiveCopy(cost, longest_draft=request.options["max_copy"]),
    )


def _copied(request: Request, changed: str, **options: Any) -> Generated:
    output = generate(
        request.model,
        **request.inputs,
        **PLAIN_SETTINGS,
        max_new_tokens=request.max_new_tokens,
        **options,
    )
    stats = output.stats
    new = output.sequences[0, request.input_ids.shape[1] :]
    return Generated(
        (Candidate(request.text(new), len(new)),),
        changed.format(**request.options)
        + f"{stats.passes} forward passes for {stats.new_tokens} tokens, "
        f"{stats.copied_share:.0%} of them copied, {stats.verified_tokens} computed.",
        stats.passes,
        {
            "passes": stats.passes,
            "tokens_per_pass": round(stats.tau, 3),
            "copied": stats.copied,
            "copied_share": round(stats.copied_share, 4),
            "attempts": stats.attempts,
            "verified_tokens": stats.verified_tokens,
        },
    )


def _measured(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]
) -> PreTrainedModel:
    """The model, of which it is known now what its passes cost."""
    measure_pass_cost(model)
    return model


_DECLARED = read_declarations(Path(__file__).parent, "copyspec")
GENERATORS: Mapping[str, GenerationMethod] = {
    "copyspec": GenerationMethod.declared(_DECLARED["copyspec"], _papers_rule),
    "copyspec-adaptive": GenerationMethod.declared(
        _DECLARED["copyspec-adaptive"], _own_rule, _measured
    ),
}
