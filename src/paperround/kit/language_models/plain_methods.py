"""The ways to decode that transformers has itself: what the papers' methods stand beside."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from paperround.kit.language_models.declarations import PLAIN_FOLDER, read_declarations
from paperround.kit.language_models.local import LocalModel
from paperround.kit.language_models.methods import (
    PLAIN_SETTINGS,
    Candidate,
    Generated,
    GenerationMethod,
    Request,
)
from paperround.kit.language_models.timing import counted_passes


def _greedy(request: Request) -> Generated:
    return _one(request, "Changes nothing: the most probable token each time.")


def _prompt_lookup(request: Request) -> Generated:
    options = request.options
    try:
        return _one(
            request,
            "Tokens that followed the last {max_ngram} to 1 tokens before were verified together: "
            "{passes} forward passes for {n_tokens} tokens.",
            prompt_lookup_num_tokens=options["max_draft"],
            max_matching_ngram_size=options["max_ngram"],
        )
    except IndexError as error:
        # Learned positions, as GPT-2's, end with the context, and transformers drafts past them.
        raise ValueError(
            "transformers drafts past the end of the context; allow fewer new tokens"
        ) from error


def _one(request: Request, changed: str, **options: Any) -> Generated:
    """A single greedy text by transformers' own loop."""
    n_prompt = request.input_ids.shape[1]
    with counted_passes(request.model) as count:
        found = request.model.generate(
            **request.inputs,
            **_ONE_BY_ONE,
            max_new_tokens=request.max_new_tokens,
            pad_token_id=_pad(request),
            **options,
        )
    new = found[0, n_prompt:]
    figures = {"passes": count.passes, "n_tokens": len(new), **request.options}
    return Generated(
        (Candidate(request.text(new), len(new)),),
        changed.format(**figures),
        count.passes,
        {"passes": count.passes},
    )


def _sampling(request: Request) -> Generated:
    options = request.options
    seam = LocalModel(request.model, request.tokenizer)
    with counted_passes(request.model) as count:
        [texts] = seam.generate(
            [request.prompt],
            n=options["n"],
            max_new_tokens=request.max_new_tokens,
            temperature=options["temperature"],
            top_p=options["top_p"],
            seed=request.seed,
            logprobs=True,
        )
    return Generated(
        tuple(
            Candidate(one.text, one.n_tokens or 0, sum(one.token_log_probs or ())) for one in texts
        ),
        f"Tokens are drawn by lot (seed {request.seed}), {len(texts)} texts in one batch.",
        count.passes,
    )


def _beam_search(request: Request) -> Generated:
    n_beams = request.options["beams"]
    n_prompt = request.input_ids.shape[1]
    with counted_passes(request.model) as count:
        found = request.model.generate(
            **request.inputs,
            **{**_ONE_BY_ONE, "num_beams": n_beams, "num_return_sequences": n_beams},
            length_penalty=0.0,
            max_new_tokens=request.max_new_tokens,
            pad_token_id=_pad(request),
            return_dict_in_generate=True,
            output_scores=True,
        )
    ends = _ends(request)
    candidates = []
    for row, score in zip(found.sequences, found.sequences_scores.tolist(), strict=True):
        new = _until_end(row[n_prompt:], ends)
        candidates.append(Candidate(request.text(new), len(new), score))
    return Generated(
        tuple(candidates),
        f"{n_beams} beams; the most probable whole text comes first.",
        count.passes,
    )


_ONE_BY_ONE: Mapping[str, Any] = {"do_sample": False, "num_beams": 1, **PLAIN_SETTINGS}


def _pad(request: Request) -> int:
    pad = request.tokenizer.pad_token_id
    return next(iter(sorted(_ends(request))), 0) if pad is None else pad


def _ends(request: Request) -> set[int]:
    eos = request.model.generation_config.eos_token_id
    return set(eos if isinstance(eos, list) else [] if eos is None else [eos])


def _until_end(tokens: Tensor, ends: set[int]) -> Tensor:
    """Without the padding that follows the end of a shorter text."""
    for place, token in enumerate(tokens.tolist()):
        if token in ends:
            return tokens[: place + 1]
    return tokens


_DECLARED = read_declarations(PLAIN_FOLDER)
PLAIN: Mapping[str, GenerationMethod] = {
    name: GenerationMethod.declared(_DECLARED[name], generate)
    for name, generate in (
        ("greedy", _greedy),
        ("sampling", _sampling),
        ("beam-search", _beam_search),
        ("prompt-lookup", _prompt_lookup),
    )
}
