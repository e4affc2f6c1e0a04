"""A small GPT on real text: its vocabulary, and its training on next tokens.

An ordinary transformers model (Qwen2 architecture) of a million parameters, which the standard
scale trains in the run, since a model this small has to be seen falling into loops first.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2ForCausalLM

from paperround.kit.tiny_gpt import (
    BOS,
    EOS,
    PAD,
    UNK,
    TinyGptConfig,
    build_tiny_gpt,
)

VOCABULARY = 1_536
SIZE = TinyGptConfig(
    d_model=128, n_layers=4, n_heads=4, d_ffn=384, max_positions=1024, number_features=False
)


@dataclass(frozen=True)
class PretrainingPlan:
    """How a small GPT learns next tokens. Our own choice: README.md says what was tried."""

    token_budget: int
    rows: int = 8
    context: int = 256
    learning_rate: float = 3e-3
    final_share: float = 0.1
    warmup_share: float = 0.05
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0

    @property
    def steps(self) -> int:
        """The number of updates; every update has rows x context tokens."""
        return max(1, self.token_budget // (self.rows * self.context))


def learn_vocabulary(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer over bytes, learnt from the texts; every text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[PAD, BOS, EOS, UNK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
    )


def pretrain(
    model: PreTrainedModel,
    ids: Tensor,
    plan: PretrainingPlan,
    *,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """The loss of every update in nats per token; the model is trained in place.

    `ids` (tokens,) is one long text; every update takes `rows` windows at random places of it.
    `on_step(tokens, loss)` is called after each update. Raises ValueError for a text that is
    shorter than one window.
    """
    if len(ids) <= plan.context + 1:
        raise ValueError(f"{len(ids)} tokens are less than a window of {plan.context} and its next")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, betas=plan.betas, weight_decay=plan.weight_decay
    )
    warmup = max(1, int(plan.warmup_share * plan.steps))
    window = torch.arange(plan.context + 1)
    losses: list[float] = []
    model.train()
    for step in range(plan.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        share = plan.final_share + (1 - plan.final_share) * cosine
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * min(share, (step + 1) / warmup)
        starts = torch.randint(len(ids) - plan.context, (plan.rows, 1), generator=generator)
        # (rows, context + 1)
        batch = ids[starts + window]
        logits = model(batch[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(plan.rows * plan.context, losses[-1])
    model.eval()
    return losses


def train_small_lm(
    texts: Sequence[str],
    plan: PretrainingPlan,
    *,
    vocabulary: int = VOCABULARY,
    config: TinyGptConfig = SIZE,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast, list[float]]:
    """A small GPT trained on the texts, its tokenizer learnt from them, the loss of each update."""
    tokenizer = learn_vocabulary(texts, vocabulary)
    model = build_tiny_gpt(tokenizer, config, seed=seed)
    ids = torch.tensor([i for text in texts for i in tokenizer(text)["input_ids"]])
    return model, tokenizer, pretrain(model, ids, plan, seed=seed, on_step=on_step)
