"""Diverse beam search for `paperround generate`."""

from collections.abc import Mapping
from pathlib import Path

from paperround.kit.language_models.declarations import read_declarations
from paperround.kit.language_models.methods import (
    PLAIN_SETTINGS,
    Candidate,
    Generated,
    GenerationMethod,
    Request,
)
from paperround.kit.language_models.timing import counted_passes
from paperround.papers.diverse_beam_search.method import generate_diverse
from paperround.papers.diverse_beam_search.metrics import distinct_n


def _generate(request: Request) -> Generated:
    options = request.options
    n_beams, penalty = options["beams"], float(options["penalty"])
    n_groups = options["groups"] or n_beams
    with counted_passes(request.model) as count:
        found = generate_diverse(
            request.model,
            request.inputs,
            num_beams=n_beams,
            num_beam_groups=n_groups,
            diversity_penalty=penalty,
            diversity=options["diversity"],
            max_new_tokens=request.max_new_tokens,
            **PLAIN_SETTINGS,
        )
    n_prompt = request.input_ids.shape[1]
    rows = zip(found.sequences, found.lengths.tolist(), found.model_log_probs.tolist(), strict=True)
    candidates = sorted(
        (
            Candidate(request.text(row[n_prompt : n_prompt + length]), length, log_prob)
            for row, length, log_prob in rows
            # A row without tokens is one that no sequence could fill.
            if length
        ),
        key=lambda candidate: -(candidate.log_prob or 0.0),
    )
    distinct = distinct_n([candidate.text.split() for candidate in candidates], 2)
    return Generated(
        tuple(candidates),
        f"{n_beams} beams in {n_groups} groups; a token costs {penalty:g} for each earlier group "
        f"that chose it at the same step. Distinct 2-grams per word: {distinct:.2f}.",
        count.passes,
        {"distinct_2": round(distinct, 4)},
    )


_DECLARED = read_declarations(Path(__file__).parent, "diverse-beam-search")
GENERATORS: Mapping[str, GenerationMethod] = {
    "diverse-beam-search": GenerationMethod.declared(_DECLARED["diverse-beam-search"], _generate)
}
