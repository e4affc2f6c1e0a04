"""Wait-k: reads k source words, then writes one word for each that it reads, and changes none.

The encoder sees no later words, and each target position only the source words that have been read
when it is written; trained for all k at once. Source: Ma et al., STACL, ACL 2019; Elbayad et
al., Efficient Wait-k Models, Interspeech 2020 (the encoder, and many k).
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers import EncoderDecoderCache, MarianMTModel, PreTrainedTokenizerFast

from paperround.errors import UsageError
from paperround.kit.translation import (
    IGNORED,
    Batch,
    Pair,
    TrainingPlan,
    batches_by_tokens,
    begin_words,
    check_sources,
    encode_pairs,
    length_limit,
    source_ids,
    train_by_plan,
)
from paperround.papers.fretna.autoregressive import choices, never_chosen, new_cache
from paperround.papers.fretna.streaming import Shown, Stream, edits_between

# The k that a training draws from.
KS = tuple(range(1, 10))


def encode_unidirectional(model: MarianMTModel, source: Tensor) -> Tensor:
    """The states of sources of which no position sees a later one: (batch, length, d_model)."""
    n = source.shape[1]
    later = torch.ones(n, n, dtype=torch.bool, device=source.device).triu(1)
    blocked = later * torch.finfo(model.dtype).min
    return model.get_encoder()(
        input_ids=source, attention_mask=blocked.expand(len(source), 1, n, n)
    ).last_hidden_state


def visible_sources(batch: Batch, k: int, beginnings: frozenset[int], end: int) -> Tensor:
    """Which source positions each target position may see: (batch, target, source), booleans.

    The position that predicts a piece of word w (from 0) sees the first k + w source words, and
    `</s>` with the last of them; the one that predicts `</s>` sees as much as one more word would.
    """
    begins = torch.tensor(sorted(beginnings), device=batch.source.device)

    def words(ids: Tensor) -> Tensor:
        """The number of the word that each piece belongs to; `</s>` counts as one in targets."""
        starts = torch.isin(ids, begins)
        # A text may begin in the middle of a word, where its first letter is unknown.
        starts[:, 0] = True
        return starts

    target = (words(batch.target) | (batch.target == end)).cumsum(1) - 1
    source = words(batch.source).cumsum(1) - 1
    seen = source[:, None, :] < k + target[:, :, None]
    return seen & (batch.source_mask[:, None, :] == 1)


def wait_k_loss(
    model: MarianMTModel,
    batch: Batch,
    k: int,
    beginnings: frozenset[int],
    *,
    label_smoothing: float = 0.1,
) -> Tensor:
    """The mean cross-entropy of the targets under the wait-k policy."""
    labels = batch.target.masked_fill(batch.target_mask == 0, IGNORED)
    seen = visible_sources(batch, k, beginnings, model.config.eos_token_id)
    blocked = (~seen) * torch.finfo(model.dtype).min
    h = model.get_decoder()(
        input_ids=model.prepare_decoder_input_ids_from_labels(labels),
        encoder_hidden_states=encode_unidirectional(model, batch.source),
        encoder_attention_mask=blocked[:, None],
        use_cache=False,
    ).last_hidden_state
    return nn.functional.cross_entropy(
        (model.lm_head(h) + model.final_logits_bias).flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )


def train_wait_k(
    model: MarianMTModel,
    pairs: Sequence[Pair],
    tokenizer: PreTrainedTokenizerFast,
    plan: TrainingPlan,
    *,
    seed: int,
    ks: Sequence[int] = KS,
    on_progress: Callable[[int, float], None] | None = None,
) -> MarianMTModel:
    """The model itself, trained for every k of `ks` and in evaluation mode; repeatable for a seed.

    Prefixes of sources are of no use here, so `plan.prefix_share` is not used.
    """
    if plan.steps is None:
        raise ValueError("a wait-k model is trained for a number of steps; give one")
    beginnings = begin_words(tokenizer)
    batches = batches_by_tokens(
        encode_pairs(tokenizer, pairs, longest=model.config.max_position_embeddings - 1),
        plan.batch_tokens,
        pad=tokenizer.pad_token_id,
        seed=seed,
    )
    rng = random.Random(f"wait-k {seed}")

    def loss() -> Tensor:
        return wait_k_loss(
            model,
            next(batches),
            rng.choice(ks),
            beginnings,
            label_smoothing=plan.label_smoothing,
        )

    train_by_plan(model, plan, loss, seed=seed, on_progress=on_progress)
    return model


class WaitK:
    """Translates a stream of words by the wait-k policy; a word that was shown stays.

    Signs that end a word's text, such as a comma, come with it or not at all, so texts should have
    their signs as words of their own.
    """

    def __init__(self, model: MarianMTModel, tokenizer: PreTrainedTokenizerFast, k: int) -> None:
        if k < 1:
            raise UsageError(f"k is {k}; a policy waits for at least one word")
        self.model, self.tokenizer, self.k = model.eval(), tokenizer, k
        self._beginnings = begin_words(tokenizer)
        vocabulary = torch.arange(self.model.config.vocab_size)
        begins = torch.isin(vocabulary, torch.tensor(sorted(self._beginnings)))
        ends = vocabulary == self.model.config.eos_token_id
        forbidden = never_chosen(self.model)
        forbidden = torch.zeros_like(ends) if forbidden is None else forbidden.cpu()
        device = self.model.device
        # By whether the source is finished: what cannot begin a word, and what cannot go on.
        self._never_first = {
            True: (~(begins | ends) | forbidden).to(device),
            False: (~begins | forbidden).to(device),
        }
        self._never_next = {True: forbidden.to(device), False: (ends | forbidden).to(device)}

    def stream(self, words: Iterable[str]) -> Iterator[Shown]:
        """What is shown after each word: nothing for k - 1 words, then a word more each time.

        With the last source word comes all that is missing.
        """
        prefix: list[str] = []
        cache = new_cache(self.model)
        tokens: list[int] = []
        shown: tuple[str, ...] = ()
        coming = iter(words)
        word = next(coming, None)
        while word is not None:
            started = time.perf_counter()
            prefix.append(word)
            word = next(coming, None)
            passes = 0
            if len(prefix) >= self.k or word is None:
                passes = self._write(tokens, cache, " ".join(prefix), finished=word is None)
            now = tuple(self.tokenizer.decode(tokens, skip_special_tokens=True).split())
            edits = edits_between(shown, now)
            shown = now
            yield Shown(now, edits, passes, time.perf_counter() - started)

    def stream_of(self, source: str) -> Stream:
        """The whole stream of a source."""
        updates = list(self.stream(source.split()))
        return Stream(
            tuple(update.words for update in updates),
            tuple(update.passes for update in updates),
            tuple(update.seconds for update in updates),
        )

    def _write(
        self, tokens: list[int], cache: EncoderDecoderCache, prefix: str, *, finished: bool
    ) -> int:
        """Appends the next word to `tokens`, or all that is missing; the decoder's passes."""
        config = self.model.config
        source = source_ids(self.tokenizer, prefix, finished=finished)
        check_sources(self.model, [source])
        limit = min(length_limit(len(source)), config.max_position_embeddings - 1)
        with torch.inference_mode():
            ids = torch.tensor([source], device=self.model.device)
            states = encode_unidirectional(self.model, ids)
            # What was written keeps what it saw; the source has more to see from here on.
            step = EncoderDecoderCache(
                cache.self_attention_cache, new_cache(self.model).cross_attention_cache
            )
            if tokens:
                # The last token was looked at with one source word less.
                step.self_attention_cache.crop(-1)
            last = tokens[-1] if tokens else config.decoder_start_token_id
            passes = written = 0
            while True:
                # The first piece of what is written begins a word: what was shown stays.
                never = (self._never_next if written else self._never_first)[finished]
                following = int(choices(self.model, [last], states, step, never=never)[-1])
                passes += 1
                ended = following == config.eos_token_id or len(tokens) >= limit
                next_word = written and following in self._beginnings
                if ended or (next_word and not finished):
                    return passes
                tokens.append(following)
                written += 1
                last = following
