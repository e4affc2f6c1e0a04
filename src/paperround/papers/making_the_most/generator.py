"""Conditional beam search for `paperround generate`."""

from collections.abc import Mapping
from pathlib import Path

from paperround.kit.language_models.declarations import read_declarations
from paperround.kit.language_models.methods import (
    Candidate,
    Generated,
    GenerationMethod,
    Request,
)
from paperround.kit.language_models.timing import counted_passes
from paperround.papers.making_the_most.attributes import Attribute, Length, NonDegenerate
from paperround.papers.making_the_most.conditional_search import conditional_beam_search


def _generate(request: Request) -> Generated:
    options = request.options
    length = options["length"]
    attribute: Attribute
    if length:
        attribute = Length(length)
        wish = f"of exactly {length} tokens and an end"
    else:
        attribute = NonDegenerate(options["min_length"], options["max_repeats"])
        wish = (
            f"of at least {options['min_length']} tokens in which nothing stands more than "
            f"{options['max_repeats']} times in a row"
        )
    with counted_passes(request.model) as count:
        found = conditional_beam_search(
            request.model,
            request.inputs,
            attribute,
            num_beams=options["beams"],
            num_return_sequences=options["beams"],
            top_k=options["top_k"],
            max_new_tokens=request.max_new_tokens,
        )
    n_prompt = request.input_ids.shape[1]
    rows = zip(found.sequences, found.lengths.tolist(), found.log_probs.tolist(), strict=True)
    candidates = tuple(
        Candidate(request.text(row[n_prompt : n_prompt + n]), n, log_prob)
        for row, n, log_prob in rows
        if n
    )
    if not candidates:
        raise ValueError(f"no text {wish} was among the {options['beams']} beams; allow more beams")
    return Generated(
        candidates,
        f"{options['beams']} beams that hold only texts {wish}: {len(candidates)} were found.",
        count.passes,
        {"found": len(candidates)},
    )


_DECLARED = read_declarations(Path(__file__).parent, "making-the-most")
GENERATORS: Mapping[str, GenerationMethod] = {
    "making-the-most": GenerationMethod.declared(_DECLARED["making-the-most"], _generate)
}
