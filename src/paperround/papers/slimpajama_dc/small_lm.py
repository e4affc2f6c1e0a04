"""A small GPT and its training: what duplicates in a corpus cost a model at an equal token budget.

Four layers of width 128 over a byte-pair vocabulary of 1,024, in plain PyTorch: large enough that
the order of arms shows, small enough that one arm trains in under a minute on one core.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

CONTEXT = 128
BATCH = 4
VOCABULARY = 1_024
_LEARNING_RATE = 3e-3
_WARM_UP_SHARE = 0.05


@dataclass(frozen=True)
class Arm:
    """One training: its name, seed, the tokens in the order they come, the held-out sets."""

    name: str
    seed: int
    tokens: NDArray[np.int32]
    held_out: Mapping[str, NDArray[np.int32]]


class SmallGPT(nn.Module):
    """Logits (batch, time, vocabulary) for tokens (batch, time); input and output share weights."""

    def __init__(
        self, vocabulary: int = VOCABULARY, d_model: int = 128, n_layers: int = 4, n_heads: int = 4
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, d_model)
        self.place = nn.Embedding(CONTEXT, d_model)
        self.blocks = nn.ModuleList(_Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        # GPT-2's: with torch's own, the blocks drown the embeddings and 600 steps learn little.
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                into_stream = name.endswith(("out.weight", "mlp.2.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * n_layers if into_stream else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits of the next token at every place."""
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.token.weight.T


class _Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.before_attention, self.before_mlp = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, d_model = x.shape
        qkv = self.qkv(self.before_attention(x)).view(batch, time, 3, self.n_heads, -1)
        # each (batch, heads, time, d_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, d_model))
        return x + self.mlp(self.before_mlp(x))


def train_and_evaluate(arm: Arm) -> dict[str, float]:
    """The held-out loss of every source in nats per token, after one pass over the arm's tokens.

    Runs on one thread, so that several arms can share a machine, one process each.
    """
    torch.set_num_threads(1)
    torch.manual_seed(arm.seed)
    model = SmallGPT()
    n_steps = (len(arm.tokens) - 1) // (BATCH * CONTEXT)
    if n_steps < 1:
        raise ValueError(f"{len(arm.tokens)} tokens are less than one batch")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
    rows = n_steps * BATCH
    tokens = torch.from_numpy(arm.tokens[: rows * CONTEXT + 1].astype(np.int64))
    inputs, targets = tokens[:-1].view(rows, CONTEXT), tokens[1:].view(rows, CONTEXT)
    for step in range(n_steps):
        # Step s takes rows s, s + n_steps, ...: documents next to each other share no batch.
        loss = F.cross_entropy(
            model(inputs[step::n_steps]).flatten(0, 1), targets[step::n_steps].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return {source: _loss(model, held) for source, held in arm.held_out.items()}


def _rate(step: int, n_steps: int) -> float:
    warm_up = max(1, int(_WARM_UP_SHARE * n_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up)))


def _loss(model: SmallGPT, held: NDArray[np.int32]) -> float:
    rows = (len(held) - 1) // CONTEXT
    tokens = torch.from_numpy(held[: rows * CONTEXT + 1].astype(np.int64))
    inputs, targets = tokens[:-1].view(rows, CONTEXT), tokens[1:].view(rows, CONTEXT)
    total = 0.0
    with torch.no_grad():
        for i in range(0, rows, 32):
            logits = model(inputs[i : i + 32]).flatten(0, 1)
            total += F.cross_entropy(logits, targets[i : i + 32].flatten(), reduction="sum").item()
    return total / targets.numel()


class Encoder:
    """Texts to token ids: byte-pair encoding over bytes, trained on the texts it is given."""

    def __init__(self, texts: Iterable[str], vocabulary: int = VOCABULARY) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        self._tokenizer.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=vocabulary,
                special_tokens=["<end>"],
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text, closed by the end token, 0."""
        return [*self._tokenizer.encode(text).ids, 0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without end tokens."""
        return str(self._tokenizer.decode(list(ids)))
