"""What parts of a search ask of a transformers model, decoder-only or encoder-decoder."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paperround.kit.language_models.methods import PLAIN_SETTINGS
from paperround.papers.making_the_most.decoders import check_ids, check_positions

Tokens = tuple[int, ...]
# What a model's own settings may ask of `generate` that would change its probabilities, or the sums
# of a search: switched off. Many translation models are stored with a forced end, whose probability
# would count as 1, and with logits normalised again behind every processor.
UNTOUCHED: Mapping[str, Any] = {
    **PLAIN_SETTINGS,
    "forced_eos_token_id": None,
    "renormalize_logits": False,
}


class PrefixScorer:
    """The model's next-token log-probabilities after one prompt and any prefixes.

    `inputs` is one prompt: its ids (1, length), or what the tokenizer gave. For an encoder-decoder
    the encoder runs once. Prefixes are run anew, without a cache: searches over short texts ask for
    many different ones at once. Raises ValueError for several prompts.
    """

    def __init__(self, model: PreTrainedModel, inputs: Tensor | Mapping[str, Tensor]) -> None:
        given = dict(inputs) if isinstance(inputs, Mapping) else {"input_ids": inputs}
        ids = _prompt_ids(given)
        if ids.ndim != 2 or ids.shape[0] != 1:
            raise ValueError(f"one prompt is searched at a time; ids of shape {tuple(ids.shape)}")
        mask = given.get("attention_mask", torch.ones_like(ids)).bool()
        self._model = model
        self._prompt = ids[:, mask[0]]
        self._encoder_outputs = None
        if model.config.is_encoder_decoder:
            start = _decoder_start(model)
            check_ids(model, self._prompt, self._prompt.shape[1], shortest=1)
            with torch.inference_mode():
                self._encoder_outputs = model.get_encoder()(
                    input_ids=self._prompt, return_dict=True
                )
            self._source, self._prompt = self._prompt, torch.tensor([[start]], device=ids.device)
        elif self._prompt.shape[1] == 0:
            raise ValueError("an empty prompt: a decoder needs a token to start from")

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text."""
        return end_tokens(self._model)

    def logits(self, prefixes: Sequence[Tokens]) -> Tensor:
        """(prefixes, longest + 1, V): after the prompt and after each token of every prefix.

        Rows of shorter prefixes have meaningless ends.
        """
        longest, n_prompt = max(map(len, prefixes)), self._prompt.shape[1]
        check_positions(self._model, n_prompt + longest)
        ids = self._prompt.new_zeros((len(prefixes), n_prompt + longest))
        ids[:, :n_prompt] = self._prompt
        for row, prefix in enumerate(prefixes):
            # Padding on the right, where no real token of a causal decoder sees it.
            ids[row, n_prompt : n_prompt + len(prefix)] = torch.tensor(prefix, dtype=torch.long)
        with torch.inference_mode():
            if self._encoder_outputs is None:
                found = self._model(input_ids=ids, use_cache=False).logits
            else:
                states = self._encoder_outputs.last_hidden_state.expand(len(prefixes), -1, -1)
                found = self._model(
                    encoder_outputs=type(self._encoder_outputs)(last_hidden_state=states),
                    attention_mask=torch.ones_like(self._source).expand(len(prefixes), -1),
                    decoder_input_ids=ids,
                    use_cache=False,
                ).logits
        return found[:, n_prompt - 1 :]

    def next_log_probs(self, prefixes: Sequence[Tokens]) -> Tensor:
        """(prefixes, V): log p(next token | prompt, prefix), at least in float32."""
        last = torch.tensor([len(prefix) for prefix in prefixes])
        logits = self.logits(prefixes)[torch.arange(len(prefixes)), last]
        return _log_softmax(logits)

    def log_prob(self, tokens: Tokens, *, ended: bool = True) -> float:
        """The log-probability of tokens, and of their end if `ended`, by one forward pass."""
        log_probs = _log_softmax(self.logits([tokens])[0])
        total = sum(float(log_probs[place, token]) for place, token in enumerate(tokens))
        if ended:
            total += max(float(log_probs[len(tokens), token]) for token in self.eos)
        return total


class HiddenTap:
    """Keeps what the model's output layer was last given: (rows, d), the last position's state.

    Works for every family that has an output layer, by a hook on it. Where it is not wanted it does
    nothing, and `hidden_states` is None.
    """

    def __init__(self, model: PreTrainedModel, wanted: bool = True) -> None:
        self.hidden_states: Tensor | None = None
        head = model.get_output_embeddings() if wanted else None
        if wanted and not isinstance(head, nn.Module):
            raise ValueError(f"{type(model).__name__} has no output layer to take states from")
        self._head, self._hook = head, None

    def __enter__(self) -> Self:
        if self._head is not None:
            self._hook = self._head.register_forward_pre_hook(self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _take(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.hidden_states = args[0][:, -1].detach()


def end_tokens(model: PreTrainedModel, given: Mapping[str, Any] | None = None) -> frozenset[int]:
    """The tokens that end a text: those `given` to generate, or the model's own."""
    eos = model.generation_config.eos_token_id
    if given and "eos_token_id" in given:
        eos = given["eos_token_id"]
    if eos is None:
        return frozenset()
    if isinstance(eos, Tensor):
        eos = eos.flatten().tolist()
    return frozenset(eos if isinstance(eos, Sequence) else [eos])


def decoder_prompt_length(model: PreTrainedModel, prompt: Mapping[str, Tensor]) -> int:
    """How many tokens stand before the first new one in what `generate` returns."""
    if model.config.is_encoder_decoder:
        given = prompt.get("decoder_input_ids")
        return 1 if given is None else given.shape[1]
    return _prompt_ids(prompt).shape[1]


def check_prompt(model: PreTrainedModel, prompt: Mapping[str, Tensor], max_new_tokens: int) -> None:
    """Raises ValueError for a prompt without ids or tokens, or too long for learnt positions."""
    ids = _prompt_ids(prompt)
    check_ids(model, ids, ids.shape[-1], shortest=1)
    # What the limit ends with is not read.
    check_positions(model, decoder_prompt_length(model, prompt) + max_new_tokens - 1)


def _prompt_ids(prompt: Mapping[str, Tensor]) -> Tensor:
    ids = prompt.get("input_ids", prompt.get("inputs"))
    if ids is None:
        raise ValueError(f"the inputs hold {', '.join(prompt) or 'nothing'}, and no input_ids")
    return ids


def _decoder_start(model: PreTrainedModel) -> int:
    for holder in (model.generation_config, model.config):
        start = getattr(holder, "decoder_start_token_id", None)
        if start is not None:
            return start
    raise ValueError(f"{type(model).__name__} does not say which token its decoder starts from")


def _log_softmax(logits: Tensor) -> Tensor:
    return nn.functional.log_softmax(
        logits, dim=-1, dtype=None if logits.dtype == torch.float64 else torch.float32
    )
