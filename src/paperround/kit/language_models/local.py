"""A model of transformers on this machine, behind the seam."""

import hashlib
import inspect
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import UnsupportedError, UsageError
from paperround.kit.language_models.contract import (
    Capability,
    Completion,
    Prompt,
    Score,
    check_sampling,
    cut_at_stop,
    is_chat,
)
from paperround.kit.language_models.decoding import (
    ANY_TOKEN,
    Choice,
    OnToken,
    Row,
    decode_rows,
    evaluating,
)

_BATCH_SIZE = 16
# A pass that scores gives logits of the whole vocabulary for every token: a quarter of a gigabyte.
_LOGITS_AT_ONCE = 1 << 26
# Tokens of the prompt that are decoded with the answer, so that a space at its beginning stays.
_TAIL = 4

# (place of the prompt, number of the sample, the text so far)
OnText = Callable[[int, int, str], None]


class LocalModel:
    """Any causal language model of transformers. `model` and `tokenizer` are the given ones.

    Texts do not depend on what else is in a batch: rows are padded on the left, whatever the
    tokenizer says, and draw from random numbers of their own. Models with a recurrent state, which
    padding would change, get prompts of one length together. `name` says the weights, not where
    they came from. Raises UnsupportedError for an encoder-decoder.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = _BATCH_SIZE,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
        if model.config.is_encoder_decoder:
            raise UnsupportedError(
                "generate", type(model).__name__, "it is an encoder-decoder; give a causal model"
            )
        self.model, self.tokenizer = model, tokenizer
        self._batch_size = batch_size

    @property
    def name(self) -> str:
        """The class and a digest of its weights, such as `LlamaForCausalLM-1f0c…`."""
        digest = hashlib.blake2b(digest_size=8)
        for key, tensor in self.model.state_dict().items():
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
            # A few numbers of each are enough to tell trainings apart, and take milliseconds.
            some = tensor.detach().flatten()[:: max(1, tensor.numel() // 16)]
            digest.update(some.double().cpu().numpy().tobytes())
        return f"{type(self.model).__name__}-{digest.hexdigest()}"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Everything; conversations where the tokenizer has a template for them."""
        can: set[Capability] = {"generate", "score", "logprobs"}
        if getattr(self.tokenizer, "chat_template", None):
            can.add("chat")
        return frozenset(can)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        logprobs: bool = False,
        on_text: OnText | None = None,
    ) -> list[list[Completion]]:
        """As `LanguageModel.generate`. Where the context ends before `max_new_tokens`, so do texts.

        With a seed, a text follows from the seed, its prompt and the number of its sample alone:
        equal prompts get equal texts. `on_text` hears how each text grows, a stop string included.
        """
        encoded = self.check(
            prompts,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
        )
        choice = Choice(temperature, top_p, secrets.randbits(63) if seed is None else seed)
        rows = [
            Row(ids, number, sample) for number, ids in enumerate(encoded) for sample in range(n)
        ]
        watch = self._watch(stop, on_text) if stop or on_text else None
        eos = self._eos()
        for n_tokens, batch in self._batches(rows, max_new_tokens):
            decode_rows(self.model, batch, n_tokens, choice, eos, watch, logprobs)
        completions = [self._completion(row, stop, logprobs) for row in rows]
        return [completions[place : place + n] for place in range(0, len(completions), n)]

    def check(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        stop: Sequence[str],
        seed: int | None = None,
    ) -> list[list[int]]:
        """The prompts' tokens. Raises what `generate` raises, before anything is computed."""
        check_sampling(prompts, n, max_new_tokens, temperature, top_p, stop)
        encoded = [self.encode(prompt) for prompt in prompts]
        for number, ids in enumerate(encoded, start=1):
            if not ids:
                raise UsageError(f"prompt {number} is empty: the tokenizer makes no tokens of it")
            if self.context is not None and len(ids) + (max_new_tokens > 0) > self.context:
                raise UsageError(
                    f"prompt {number} has {len(ids)} tokens; the model's context of "
                    f"{self.context} leaves no room for an answer"
                )
        return encoded

    def score(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Score]:
        """As `LanguageModel.score`, exactly: one pass over prompt and continuation.

        The continuation's tokens are those that follow the prompt's where both are encoded as one
        text. Where that would change the prompt's own tokens (a word that goes on), it is encoded
        by itself. Raises UsageError for an empty prompt and where both exceed the context.
        """
        return self.score_ids(
            [self._encoded_pair(place, *pair) for place, pair in enumerate(pairs, start=1)]
        )

    def score_ids(self, encoded: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        """The scores of continuations that are given as tokens, after prompts of at least one."""
        scores: dict[int, Score] = {}
        n_tokens = _LOGITS_AT_ONCE // self.model.config.get_text_config(decoder=True).vocab_size
        # The longest first: what does not fit into memory fails at once.
        order = sorted(range(len(encoded)), key=lambda place: -sum(map(len, encoded[place])))
        while order:
            longest = sum(map(len, encoded[order[0]]))
            n_rows = max(1, min(self._batch_size, n_tokens // longest))
            batch, order = order[:n_rows], order[n_rows:]
            found = self._scores([encoded[place] for place in batch])
            scores.update(zip(batch, found, strict=True))
        return [scores[place] for place in range(len(encoded))]

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, special ones left out."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def encode(self, prompt: Prompt) -> list[int]:
        """The tokens that the model sees of a prompt, with its template or special tokens."""
        if not is_chat(prompt):
            return list(self.tokenizer.encode(prompt))
        if "chat" not in self.capabilities:
            raise UnsupportedError(
                "chat", type(self.model).__name__, "its tokenizer has no chat template; give a text"
            )
        ids = self.tokenizer.apply_chat_template(
            [dict(message) for message in prompt], add_generation_prompt=True, return_dict=False
        )
        return list(ids)

    @property
    def context(self) -> int | None:
        """How many tokens prompt and text may have together; None where the model has no limit."""
        config = self.model.config.get_text_config(decoder=True)
        return getattr(config, "max_position_embeddings", None)

    def _encoded_pair(
        self, number: int, prompt: Prompt, continuation: str
    ) -> tuple[list[int], list[int]]:
        ids = self.encode(prompt) if prompt else []
        if not ids:
            raise UsageError(f"prompt {number} is empty; a continuation follows some text")
        alone = list(self.tokenizer.encode(continuation, add_special_tokens=False))
        if isinstance(prompt, str):
            together = list(self.tokenizer.encode(prompt + continuation))
            # Some tokenizers end a text with a special token, which stands in the way here.
            if (
                together[: len(ids)] == ids
                and self._text(ids, together[len(ids) :]) == continuation
            ):
                alone = together[len(ids) :]
        if self.context is not None and len(ids) + len(alone) > self.context:
            raise UsageError(
                f"prompt {number} and its continuation have {len(ids) + len(alone)} tokens, "
                f"more than the model's context of {self.context}"
            )
        return ids, alone

    def _batches(self, rows: Sequence[Row], max_new_tokens: int) -> Iterator[tuple[int, list[Row]]]:
        """How many tokens each batch of rows may get. Rows end together where the context does."""
        groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in rows:
            length = len(row.prompt_ids)
            room = max_new_tokens if self.context is None else self.context - length
            # The state of a recurrent model runs over padding as well.
            alike = length if self.model._is_stateful else 0
            groups[min(max_new_tokens, room), alike].append(row)
        for (n_tokens, _), group in groups.items():
            if n_tokens == 0:
                for row in group:
                    row.finish = "length"
                continue
            group.sort(key=lambda row: len(row.prompt_ids))
            for begin in range(0, len(group), self._batch_size):
                yield n_tokens, group[begin : begin + self._batch_size]

    def _watch(self, stop: Sequence[str], on_text: OnText | None) -> OnToken:
        def on_token(row: Row) -> bool:
            text = self._text(row.prompt_ids, row.new_ids)
            if on_text is not None:
                on_text(row.number, row.sample, text)
            return cut_at_stop(text, stop) is not None

        return on_token

    def _completion(self, row: Row, stop: Sequence[str], logprobs: bool) -> Completion:
        text = self._text(row.prompt_ids, row.new_ids)
        assert row.finish is not None
        return Completion(
            text=(cut_at_stop(text, stop) or "") if row.finish == "stop_string" else text,
            n_tokens=len(row.new_ids),
            finish=row.finish,
            token_ids=tuple(row.new_ids),
            token_log_probs=tuple(row.log_probs) if logprobs else None,
        )

    def _text(self, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
        """What the new tokens add to the prompt's text."""

        def decode(ids: Sequence[int]) -> str:
            return self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )

        tail = list(prompt_ids[-_TAIL:])
        before, whole = decode(tail), decode([*tail, *new_ids])
        # A tail may begin or end within a letter; then it says nothing about what follows.
        return whole[len(before) :] if whole.startswith(before) else decode(new_ids)

    def _scores(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        width = max(len(ids) + len(more) for ids, more in pairs)
        # Padded on the right: in a causal model nothing looks there.
        ids = torch.full((len(pairs), width), ANY_TOKEN)
        mask = torch.zeros_like(ids)
        for place, (prompt, more) in enumerate(pairs):
            ids[place, : len(prompt) + len(more)] = torch.tensor([*prompt, *more])
            mask[place, : len(prompt) + len(more)] = 1
        device = self.model.device
        n_logits = width - min(len(prompt) for prompt, _ in pairs) + 1
        options = {"use_cache": False, "logits_to_keep": n_logits}
        taken = inspect.signature(self.model.forward).parameters
        with torch.inference_mode(), evaluating(self.model):
            logits = self.model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                **{name: value for name, value in options.items() if name in taken},
            ).logits
            first = width - logits.shape[1]
            return [
                _score(logits[place, len(prompt) - 1 - first :][: len(more)], more)
                for place, (prompt, more) in enumerate(pairs)
            ]

    def _eos(self) -> frozenset[int]:
        given = self.model.generation_config.eos_token_id
        if given is None:
            given = self.tokenizer.eos_token_id
        return frozenset(given if isinstance(given, list) else [] if given is None else [given])


def _score(logits: Tensor, tokens: Sequence[int]) -> Score:
    """The score of tokens (m,) under the logits (m, vocabulary) that predict them."""
    log_probs = logits.float().log_softmax(dim=-1)
    places = torch.tensor(tokens, dtype=torch.long, device=logits.device)[:, None]
    each = log_probs.gather(1, places)[:, 0]
    return Score(float(each.double().sum()), tuple(each.tolist()))
