"""How much repeating a sentence makes it repeat: its probability, copy after copy.

Section 2 of the paper. A prefix is followed by N copies of a sentence, and one teacher-forced pass
reads p_{n,l}, the probability of token l of copy n given all before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The published analysis takes one of four fixed sentences by the sentence's number; these are ours.
PREFIXES = (
    "The letter had been lying on the table since the morning.",
    "In the spring of that year the river rose higher than before.",
    "There are several reasons why the plan was changed.",
    "She had studied the subject for a long time.",
)
POSITIONS = ("first", "middle", "last")


@dataclass(frozen=True)
class Reinforcement:
    """What each copy's tokens were worth to the model; n = 0 is the sentence's first occurrence.

    `token_probability[n]` is TP_n, the mean probability of copy n's tokens; `improvement_rate[n]`
    IR_n, the share of tokens more probable than in copy 0; `winning_rate[n]` WR_n, the share that
    the model would have chosen. All are pooled over the sentences' tokens. `by_position` splits
    TP_n into a copy's first token, its last one (the end mark), and those between; a position that
    no sentence has is left out. `per_sentence[i][n]` is TP_n of sentence i alone.
    """

    token_probability: tuple[float, ...]
    improvement_rate: tuple[float, ...]
    winning_rate: tuple[float, ...]
    by_position: dict[str, tuple[float, ...]]
    per_sentence: tuple[tuple[float, ...], ...]

    def rows(self) -> list[dict[str, float]]:
        """A row per copy, as `pandas.DataFrame(curve.rows())` takes them."""
        return [
            {
                "n": n,
                "TP": self.token_probability[n],
                "IR": self.improvement_rate[n],
                "WR": self.winning_rate[n],
                **{f"TP_{name}": values[n] for name, values in self.by_position.items()},
            }
            for n in range(len(self.token_probability))
        ]


def self_reinforcement(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str | Sequence[int]],
    prefix: str | Sequence[str] = PREFIXES,
    n_repeats: int = 16,
    max_tokens: int | None = None,
    batch_size: int = 4,
) -> Reinforcement:
    """TP, IR and WR of `n_repeats` copies of every sentence, after a prefix.

    Sentences are texts or token ids. Of several prefixes, sentence i gets number i modulo their
    number. Longer sequences than `max_tokens` (the model's positions unless given) are refused.
    The model's mode and its device stay as they are. Raises ValueError where nothing can be
    measured: no sentence, a sentence or prefix without tokens, too long a sequence.
    """
    if n_repeats < 2:
        raise ValueError(f"n_repeats is {n_repeats}; a repetition needs at least 2 copies")
    if not sentences:
        raise ValueError("no sentences")
    prefixes = [prefix] if isinstance(prefix, str) else list(prefix)
    heads = [list(tokenizer(text)["input_ids"]) for text in prefixes]
    if not heads or not all(heads):
        raise ValueError("a prefix has no tokens; the first copy would have nothing before it")
    limit = (
        getattr(model.config, "max_position_embeddings", None) if max_tokens is None else max_tokens
    )
    copies = [_ids(tokenizer, sentence) for sentence in sentences]
    rows = []
    for i, copy in enumerate(copies):
        head = heads[i % len(heads)]
        rows.append((head, copy))
        if limit is not None and len(head) + n_repeats * len(copy) > limit:
            raise ValueError(
                f"sentence {i}: {len(head)} + {n_repeats} x {len(copy)} tokens are more than "
                f"{limit}"
            )
    found: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(rows), batch_size):
        found += _probabilities(model, rows[start : start + batch_size], n_repeats)
    return _pooled(found)


def _ids(tokenizer: PreTrainedTokenizerBase, sentence: str | Sequence[int]) -> list[int]:
    if isinstance(sentence, str):
        # With a blank before it, as it stands after another sentence: every copy has equal tokens.
        ids = list(tokenizer(" " + sentence.strip(), add_special_tokens=False)["input_ids"])
    else:
        ids = list(sentence)
    if not ids or (isinstance(sentence, str) and not sentence.strip()):
        raise ValueError(f"the sentence {sentence!r} has no tokens")
    return ids


def _probabilities(
    model: PreTrainedModel, rows: Sequence[tuple[list[int], list[int]]], n_repeats: int
) -> list[tuple[Tensor, Tensor]]:
    """For each row p_{n,l} and whether the token won, both (copies, tokens of a copy)."""
    sequences = [torch.tensor(head + copy * n_repeats) for head, copy in rows]
    # Padding stands on the right, where a causal model never sees it from a real token.
    ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(model.device)
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=model.device)
    mask = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits[:, :-1]
    model.train(was_training)
    targets = ids[:, 1:]
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1).float()
    p = (chosen - torch.logsumexp(logits.float(), -1)).exp().cpu()
    won = (logits.argmax(-1) == targets).cpu()
    found = []
    for i, (head, copy) in enumerate(rows):
        part = slice(len(head) - 1, len(head) - 1 + n_repeats * len(copy))
        shape = (n_repeats, len(copy))
        found.append((p[i, part].view(shape), won[i, part].view(shape)))
    return found


def _pooled(found: Sequence[tuple[Tensor, Tensor]]) -> Reinforcement:
    # (copies, tokens of all sentences): a mean over them weighs sentences by their tokens.
    p = torch.cat([p for p, _ in found], dim=1)
    won = torch.cat([won for _, won in found], dim=1)
    by_position = {
        "first": torch.cat([p[:, :1] for p, _ in found], dim=1),
        "middle": torch.cat([p[:, 1:-1] for p, _ in found], dim=1),
        "last": torch.cat([p[:, 1:][:, -1:] for p, _ in found], dim=1),
    }
    return Reinforcement(
        token_probability=_means(p),
        improvement_rate=_means((p > p[0]).float()),
        winning_rate=_means(won.float()),
        by_position={name: _means(part) for name, part in by_position.items() if part.numel()},
        per_sentence=tuple(_means(p) for p, _ in found),
    )


def _means(values: Tensor) -> tuple[float, ...]:
    return tuple(values.double().mean(1).tolist())
