"""CopySpec inside transformers' own assisted decoding, for those who build on that loop."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation import (
    CandidateGenerator,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from paperround.papers.copyspec.generation import GAMMA, MAX_COPY
from paperround.papers.copyspec.index import CopyIndex, Policy


class CopyCandidateGenerator(CandidateGenerator):
    """Candidates that are copied from earlier in the text. Serves one generation.

    `max_length` is how many tokens prompt and answer may have; candidates leave one of them to the
    model.
    """

    def __init__(
        self,
        gamma: int = GAMMA,
        max_copy: int = MAX_COPY,
        policy: Policy = "first",
        sources: Sequence[Sequence[int]] = (),
        max_length: int | None = None,
    ) -> None:
        if max_copy < 0:
            raise ValueError(f"max_copy is {max_copy}; write 0 to switch copying off")
        self._index = CopyIndex(gamma, policy, sources)
        self._max_copy, self._max_length = max_copy, max_length

    def get_candidates(self, input_ids: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        """`input_ids` (1, tokens) followed by the copied tokens, and no logits for them."""
        self._follow(input_ids)
        n_tokens = self._max_copy
        if self._max_length is not None:
            n_tokens = max(0, min(n_tokens, self._max_length - input_ids.shape[1] - 1))
        copied = self._index.propose(n_tokens)
        if not copied:
            return input_ids, None
        candidate = input_ids.new_empty((1, input_ids.shape[1] + len(copied)))
        candidate[:, : input_ids.shape[1]] = input_ids
        candidate[0, input_ids.shape[1] :] = input_ids.new_tensor(copied)
        return candidate, None

    def update_candidate_strategy(
        self, input_ids: Tensor, scores: Tensor | None, num_matches: int
    ) -> None:
        """Enters the tokens that were accepted since."""
        self._follow(input_ids)

    def _follow(self, input_ids: Tensor) -> None:
        if input_ids.shape[0] != 1:
            raise ValueError(f"a batch of {input_ids.shape[0]}; candidates serve one sequence")
        known = len(self._index)
        if input_ids.shape[1] < known:
            raise ValueError(
                f"the text has {input_ids.shape[1]} tokens and had {known} before; "
                "make a new CopyCandidateGenerator for each generation"
            )
        self._index.extend(input_ids[0, known:].tolist())


def assisted_copy_decoding(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    gamma: int = GAMMA,
    max_copy: int = MAX_COPY,
    policy: Policy = "first",
    sources: Sequence[Sequence[int]] = (),
    **model_kwargs: Any,
) -> Any:
    """What transformers' assisted decoding gives when its candidates are copied.

    Use as `model.generate(input_ids, custom_generate=assisted_copy_decoding, gamma=3)`. Returns
    what `model.generate` returns: token ids, or its output class with `return_dict_in_generate`.
    """
    candidates = CopyCandidateGenerator(
        gamma, max_copy, policy, sources, max_length=generation_config.max_length
    )
    # transformers makes the generator itself, from options that know no CopySpec. The loop gets a
    # stand-in for the model that answers this one question differently; the model is not touched.
    return type(model)._assisted_decoding(
        _WithCandidates(model, candidates),
        input_ids,
        logits_processor=logits_processor,
        stopping_criteria=stopping_criteria,
        generation_config=generation_config,
        **model_kwargs,
    )


class _WithCandidates:
    def __init__(self, model: PreTrainedModel, candidates: CandidateGenerator) -> None:
        self._model, self._candidates = model, candidates

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**inputs)

    def _get_candidate_generator(self, **_: Any) -> CandidateGenerator:
        return self._candidates
