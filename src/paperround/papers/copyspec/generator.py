"""CopySpec for `paperround generate`: the paper's rule, and our own."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.kit.language_models.methods import (
    PLAIN_SETTINGS,
    Candidate,
    Generated,
    GenerationMethod,
    Request,
)
from paperround.papers.copyspec.adaptive import LONGEST_DRAFT, AdaptiveCopy, measure_pass_cost
from paperround.papers.copyspec.generation import GAMMA, MAX_COPY, generate


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


GENERATORS: Mapping[str, GenerationMethod] = {
    method.name: method
    for method in (
        GenerationMethod(
            "copyspec",
            "the greedy text in fewer passes: copies what it said before (arXiv 2502.08923)",
            _papers_rule,
            {"gamma": GAMMA, "max_copy": MAX_COPY},
            is_greedy=True,
        ),
        GenerationMethod(
            "copyspec-adaptive",
            "the same by a rule of our own: the longest match, and as much as pays here",
            _own_rule,
            {"max_copy": LONGEST_DRAFT},
            prepare=_measured,
            is_greedy=True,
        ),
    )
}
