"""DITTO: pseudo-repetitive sequences from ordinary text, and the loss that breaks their loop.

`build_pseudo_repetition` turns each row of a batch into a prefix and one of its sentences, repeated
until the row is full. `ditto_loss` pushes the probability of every token of a copy to lambda times
that of the same token one copy earlier. `trainer.py` hands both to the Trainer of transformers,
`plain.py` has the same from the equations, one token at a time.

Legend: T tokens in a row, P of them in the prefix, L in one copy; p_t the probability of target t,
b_t = p_{t-L} its baseline, held constant.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

# Section 3 and the published command (rep_reduce_gamma); the parser's default is 0.95.
LAMBDA = 0.5
# Keeps the logarithm finite where a probability misses its aim by one.
EPS = 1e-20
# The published code multiplies its squared error by three.
_MSE_SCALE = 3.0
# Transformers' mark of a target that no loss counts.
IGNORED = -100
END_TOKENS = (".", "!", "?", "\n")

Kind = Literal["nl", "nl_clip", "mse"]
Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True)
class PseudoBatch:
    """Pseudo-repetitive rows. All are full, so a model needs no attention mask for them.

    `input_ids` and `labels` (rows, T): `labels[:, t]` is what follows `input_ids[:, t]`; they are
    shifted already. `prev_index` (rows, T): t - L where the target has an earlier copy to be
    compared with, else -1; `mask` says where. `row_index` (rows,): from which row of the batch each
    was made; rows without a sentence to repeat are left out, so there may be none.
    """

    input_ids: Tensor
    labels: Tensor
    prev_index: Tensor
    mask: Tensor
    row_index: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class Sentence:
    """Where a row's prefix and the sentence to repeat stand: two half-open ranges of its tokens."""

    prefix: tuple[int, int]
    copy: tuple[int, int]

    def fits(self, length: int, min_len: int, max_len: int) -> bool:
        """Whether two whole copies fit behind the prefix, and the copy's length is allowed."""
        n_prefix, n_copy = self.prefix[1] - self.prefix[0], self.copy[1] - self.copy[0]
        return min_len <= n_copy <= max_len and n_prefix + 2 * n_copy <= length


def build_pseudo_repetition(
    input_ids: Tensor,
    end_ids: Collection[int],
    *,
    generator: torch.Generator | None = None,
    attention_mask: Tensor | None = None,
    labels: Tensor | None = None,
    length: int | None = None,
    min_len: int = 3,
    max_len: int | None = None,
) -> PseudoBatch:
    """Each row's previous sentence as prefix, then one sentence of it repeated to `length` tokens.

    `input_ids` (rows, tokens) is ordinary text, padded on either side where `attention_mask` is 0.
    A sentence starts with the end mark before it and stops before its own, so that each copy has
    one (published code, `re_orgnize_sentence`). Where `labels` (rows, tokens) ignores the beginning
    of a row, as it does for a prompt, the prompt is the prefix, and the sentence is one of the
    answer after it, with its own end mark.

    `length` is the width of `input_ids` unless given. Sentences of fewer than `min_len` tokens or
    more than `max_len` (a third of `length`) are not chosen, nor any that leaves no room for two
    copies; among the others the choice is uniform. Raises ValueError for arguments that cannot be.
    """
    _check(input_ids, end_ids, attention_mask, labels, length, min_len, max_len)
    length = input_ids.shape[1] if length is None else length
    longest = max(min_len, length // 3) if max_len is None else max_len
    ends = frozenset(end_ids)
    rows: list[list[int]] = []
    shapes: list[tuple[int, int]] = []
    sources: list[int] = []
    for i, row in enumerate(input_ids.tolist()):
        real = _real_tokens(attention_mask, i, len(row))
        tokens = [row[t] for t in real]
        counted = None if labels is None else [int(labels[i, t]) != IGNORED for t in real]
        fitting = [
            sentence
            for sentence in sentences_of(tokens, ends, counted)
            if sentence.fits(length, min_len, longest)
        ]
        if not fitting:
            continue
        chosen = fitting[int(torch.randint(len(fitting), (1,), generator=generator))]
        prefix = tokens[slice(*chosen.prefix)]
        copy = tokens[slice(*chosen.copy)]
        n_copies = -(-(length + 1 - len(prefix)) // len(copy))
        rows.append((prefix + copy * n_copies)[: length + 1])
        shapes.append((len(prefix), len(copy)))
        sources.append(i)
    return _packed(rows, shapes, sources, length, input_ids.device)


def sentences_of(
    tokens: Sequence[int], ends: Collection[int], counted: Sequence[bool] | None = None
) -> list[Sentence]:
    """Every sentence that a row's tokens offer, in order, whatever its length.

    `counted` says of each token whether it is a target; a row whose first token is none has a
    prompt. Of several answers only the first is looked at.
    """
    if counted is not None and (not any(counted)):
        return []
    if counted is not None and not counted[0]:
        start = list(counted).index(True)
        stop = start
        while stop < len(tokens) and counted[stop]:
            stop += 1
        starts = [start]
        found = []
        for t in range(start, stop):
            if tokens[t] in ends:
                found.append(Sentence((0, start), (starts[-1], t + 1)))
                starts.append(t + 1)
        return found
    marks = [t for t, token in enumerate(tokens) if token in ends]
    # j uniform in [1, m - 2]: prefix x[e_{j-1} + 1 : e_j), sentence x[e_j : e_{j+1}).
    return [
        Sentence((marks[j - 1] + 1, marks[j]), (marks[j], marks[j + 1]))
        for j in range(1, len(marks) - 1)
    ]


def ditto_loss(
    logits: Tensor,
    labels: Tensor,
    prev_index: Tensor,
    mask: Tensor,
    lam: float = LAMBDA,
    kind: Kind = "nl",
    eps: float = EPS,
    reduction: Reduction = "mean",
) -> Tensor:
    """How far the probability of each repeated token is from `lam` times that one copy earlier.

    `logits` (rows, T, vocabulary), the others (rows, T) as in `PseudoBatch`: `logits[:, t]` is for
    `labels[:, t]`. With b held constant (no gradient goes into it), for the masked targets

        nl:       -log max(1 - |p_t - lam b_t|, eps)     the paper's
        nl_clip:  the same with max(p_t - lam b_t, 0): only too high is punished
        mse:      3 (p_t - lam b_t)^2

    `reduction` is "mean" over the masked targets, "sum", or "none", which gives (rows, T) with 0
    elsewhere. Computed in float32 whatever the logits are, for 1 - |p - lam b| rounds to 0 in half
    precision. Without masked targets the loss is 0. Raises ValueError for unknown words and for a
    `lam` outside 0 to 1.
    """
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam is {lam}; it must be within 0 and 1")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; write 'mean', 'sum' or 'none'")
    scores = logits.float()
    # Targets that are ignored (-100) are never masked; any index serves there.
    targets = labels.clamp_min(0).unsqueeze(-1)
    log_p = scores.gather(-1, targets).squeeze(-1) - scores.logsumexp(-1)
    aim = lam * log_p.detach().exp().gather(-1, prev_index.clamp_min(0))
    losses = _distance(log_p, aim, kind, eps).masked_fill(~mask, 0.0)
    if reduction == "none":
        return losses
    total = losses.sum()
    return total / mask.sum().clamp_min(1) if reduction == "mean" else total


def end_token_ids(
    tokenizer: PreTrainedTokenizerBase, end_tokens: Collection[str] = END_TOKENS
) -> frozenset[int]:
    """The ids of all tokens that end a sentence: those which, decoded, are end marks and blanks.

    A vocabulary of pieces has several for each mark (".", " .", "?!", a full stop and a line
    break); one of words has one. A line break among the marks also takes tokens of blanks that hold
    one. Special tokens are left out. Raises ValueError where no token is an end mark, since nothing
    could be repeated then.
    """
    marks = set("".join(end_tokens))
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    texts = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    found = frozenset(
        i for i, text in zip(ids, texts, strict=True) if _is_end(text, marks, "\n" in marks)
    )
    if not found:
        raise ValueError(
            f"no token of the vocabulary is one of {sorted(marks)}; give other end_tokens"
        )
    return found


def _is_end(text: str, marks: set[str], line_breaks: bool) -> bool:
    inner = text.strip()
    return set(inner) <= marks if inner else line_breaks and "\n" in text


def _distance(log_p: Tensor, aim: Tensor, kind: Kind, eps: float) -> Tensor:
    p = log_p.exp()
    if kind == "mse":
        return _MSE_SCALE * (p - aim) ** 2
    # 1 - p as -expm1(log p): exact where p is near 1, where a looping model's probabilities are.
    above = -torch.expm1(log_p) + aim
    if kind == "nl":
        below = 1 - aim + p
    elif kind == "nl_clip":
        below = torch.ones_like(p)
    else:
        raise ValueError(f"kind is {kind!r}; write 'nl', 'nl_clip' or 'mse'")
    return -torch.where(p >= aim, above, below).clamp(eps, 1.0).log()


def _real_tokens(attention_mask: Tensor | None, row: int, width: int) -> list[int]:
    if attention_mask is None:
        return list(range(width))
    return [t for t, seen in enumerate(attention_mask[row].tolist()) if seen]


def _packed(
    rows: list[list[int]],
    shapes: list[tuple[int, int]],
    sources: list[int],
    length: int,
    device: torch.device,
) -> PseudoBatch:
    # (rows, length + 1), also where there are no rows.
    sequences = torch.tensor(rows, dtype=torch.long).view(len(rows), length + 1)
    places = torch.arange(length).expand(len(rows), length)
    n_prefix, n_copy = torch.tensor(shapes, dtype=torch.long).view(len(rows), 2, 1).unbind(1)
    # The mask starts at P + L among the targets: the first token of the second copy is target
    # P + L - 1, and the published code leaves it out.
    mask = places >= n_prefix + n_copy
    return PseudoBatch(
        input_ids=sequences[:, :-1].to(device),
        labels=sequences[:, 1:].to(device),
        prev_index=torch.where(mask, places - n_copy, -1).to(device),
        mask=mask.to(device),
        row_index=torch.tensor(sources, dtype=torch.long, device=device),
    )


def _check(
    input_ids: Tensor,
    end_ids: Collection[int],
    attention_mask: Tensor | None,
    labels: Tensor | None,
    length: int | None,
    min_len: int,
    max_len: int | None,
) -> None:
    if input_ids.dim() != 2:
        raise ValueError(f"input_ids has {input_ids.dim()} dimensions; it must be (rows, tokens)")
    for name, other in (("attention_mask", attention_mask), ("labels", labels)):
        if other is not None and other.shape != input_ids.shape:
            raise ValueError(
                f"{name} has the shape {tuple(other.shape)}, input_ids {tuple(input_ids.shape)}"
            )
    if not end_ids:
        raise ValueError("end_ids is empty; end_token_ids(tokenizer) gives them")
    if length is not None and length < 1:
        raise ValueError(f"length is {length}; it must be at least 1")
    if min_len < 1:
        raise ValueError(f"min_len is {min_len}; it must be at least 1")
    if max_len is not None and max_len < min_len:
        raise ValueError(f"max_len is {max_len}, below min_len {min_len}")
