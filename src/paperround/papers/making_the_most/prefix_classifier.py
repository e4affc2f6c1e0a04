"""A small head on a language model's own states that foresees what a text will become.

p(A | prefix) must be known of unfinished texts, so the head learns from every prefix of
continuations that the model itself wrote, each labelled by how its text ended. It sees the state
after the prefix and the token that may come next, so that all candidates of a step cost one small
product and no pass of the model. The form is ours: we could not read that of the thesis.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from paperround.kit.language_models.decoding import evaluating
from paperround.papers.making_the_most.attributes import Extensions
from paperround.papers.making_the_most.prefix_scores import (
    UNTOUCHED,
    HiddenTap,
    check_prompt,
    decoder_prompt_length,
    end_tokens,
)

_IGNORED = -100
# Of the waves that tell lengths apart: our own choice.
_PERIODS = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0)


@dataclass(frozen=True)
class Continuations:
    """Texts that a model wrote, and the states that it wrote them from.

    `tokens`: (texts, T) without the end, 0 after it. `hidden_states`: (texts, T, d), place t is
    the state that token t was drawn from. `lengths`: (texts,), tokens before the end. `ended`:
    (texts,), False for what the limit of T cut off.
    """

    tokens: Tensor
    hidden_states: Tensor
    lengths: Tensor
    ended: Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @staticmethod
    def joined(parts: Sequence["Continuations"]) -> "Continuations":
        """All texts of several batches, sampled with one limit."""
        return Continuations(
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in ("tokens", "hidden_states", "lengths", "ended")
            )
        )


def sample_continuations(
    model: PreTrainedModel,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    n: int,
    max_new_tokens: int,
    seed: int,
    **generate_kwargs: Any,
) -> Continuations:
    """`n` continuations per prompt, drawn by the model at temperature 1, with their states.

    `inputs` as the tokenizer gave them, padded on the left for decoder-only models. The states are
    those of the very passes that drew the tokens, so any family's positions and caches are right.
    Raises ValueError for a prompt without tokens, or too long for the model's positions.
    """
    prompt = dict(inputs) if isinstance(inputs, Mapping) else {"inputs": inputs}
    if n < 1 or max_new_tokens < 1:
        raise ValueError(f"n={n} and max_new_tokens={max_new_tokens} must be at least 1")
    check_prompt(model, prompt, max_new_tokens)
    start = decoder_prompt_length(model, prompt)
    eos = torch.tensor(sorted(end_tokens(model, generate_kwargs)))
    with evaluating(model), HiddenTap(model) as tap, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        keeper = _StateKeeper(tap)
        sequences = model.generate(
            **prompt,
            **{
                **UNTOUCHED,
                "do_sample": True,
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "min_p": None,
                "num_beams": 1,
                **generate_kwargs,
                "num_return_sequences": n,
                "max_new_tokens": max_new_tokens,
                "logits_processor": LogitsProcessorList([keeper]),
                "return_dict_in_generate": False,
            },
        )
    tokens = sequences[:, start:]
    is_end = torch.isin(tokens, eos.to(tokens.device))
    ended = is_end.any(dim=1)
    lengths = torch.where(ended, is_end.int().argmax(dim=1), tokens.shape[1])
    states = torch.stack(keeper.states[: tokens.shape[1]], dim=1)
    missing = max_new_tokens - tokens.shape[1]
    within = torch.arange(max_new_tokens, device=tokens.device) < lengths[:, None]
    return Continuations(
        tokens=nn.functional.pad(tokens, (0, missing)).masked_fill(~within, 0),
        hidden_states=nn.functional.pad(states, (0, 0, 0, missing)),
        lengths=lengths,
        ended=ended,
    )


class PrefixClassifier(nn.Module):
    """log p(class of the finished text | prefix, next token) from the state after the prefix.

    A layer over the normalised state, the model's own embedding of the token and the length. It has
    the form of an `attributes.Posterior`. `embeddings` stay the model's and are not trained.
    """

    needs_hidden_states = True

    def __init__(
        self, d_hidden: int, embeddings: nn.Embedding, n_classes: int, width: int = 128
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        # In a tuple, so that the model's weights are no part of the head.
        self._embeddings = (embeddings,)
        self.norm = nn.LayerNorm(d_hidden)
        self.from_state = nn.Linear(d_hidden, width)
        self.from_token = nn.Linear(embeddings.weight.shape[1], width, bias=False)
        self.from_length = nn.Linear(2 * len(_PERIODS) + 1, width, bias=False)
        self.head = nn.Linear(width, n_classes)

    def forward(self, hidden_states: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(rows, k, n_classes) for states (rows, d), tokens (rows, k) and lengths (rows,)."""
        with torch.no_grad():
            embedded = self._embeddings[0].weight[tokens].float()
        features = (
            self.from_state(self.norm(hidden_states.float()))[:, None]
            + self.from_token(nn.functional.normalize(embedded, dim=-1) * math.sqrt(8))
            + self.from_length(_length_features(lengths))[:, None]
        )
        return self.head(nn.functional.gelu(features)).log_softmax(dim=-1)

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k, n_classes) for the candidates of one step of a search."""
        states = extensions.hidden_states
        if states is None:
            raise ValueError(
                "this posterior needs the model's states; wrap the search in HiddenTap"
            )
        lengths = torch.full((states.shape[0],), extensions.length, device=states.device)
        with torch.inference_mode():
            return self(states, extensions.tokens, lengths)


def _length_features(lengths: Tensor) -> Tensor:
    """(rows, features): neighbouring lengths differ as plainly as distant ones."""
    periods = torch.tensor(_PERIODS, device=lengths.device)
    angles = 2 * math.pi * lengths[:, None] / periods
    scale = torch.log1p(lengths.float())[:, None]
    return torch.cat([angles.cos(), angles.sin(), scale], dim=-1)


@dataclass(frozen=True)
class FitPlan:
    """How a classifier is fitted: our own choice."""

    steps: int = 400
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    width: int = 128


def fit_length_classifier(
    model: PreTrainedModel,
    continuations: Continuations,
    n_classes: int,
    plan: FitPlan | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[float], None] | None = None,
) -> PrefixClassifier:
    """A classifier of how many tokens follow: 0, 1, ..., and n_classes - 1 or more.

    For `attributes.Length`. Prefixes of texts that were cut off count where their class is certain.
    """
    places = torch.arange(continuations.tokens.shape[1], device=continuations.tokens.device)
    remaining = continuations.lengths[:, None] - places - 1
    classes = remaining.clamp(max=n_classes - 1)
    uncertain = ~continuations.ended[:, None] & (remaining < n_classes - 1)
    labels = classes.masked_fill((remaining < 0) | uncertain, _IGNORED)
    return _fit(model, continuations, labels, n_classes, plan or FitPlan(), seed, on_step)


def fit_label_classifier(
    model: PreTrainedModel,
    continuations: Continuations,
    label: Callable[[Sequence[int], bool], bool],
    plan: FitPlan | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[float], None] | None = None,
) -> PrefixClassifier:
    """A classifier with two classes: what `label(tokens, ended)` will say of the finished text.

    For `attributes.Labelled` and, with its `holds` as the label, `attributes.NonDegenerate`. Raises
    ValueError where all the texts have one label.
    """
    ends = continuations.lengths.tolist()
    texts = zip(continuations.tokens.tolist(), ends, continuations.ended.tolist(), strict=True)
    of_text = torch.tensor([int(label(tokens[:n], ended)) for tokens, n, ended in texts])
    if int(of_text.min()) == int(of_text.max()):
        raise ValueError(
            f"all {len(of_text)} continuations have the label {bool(of_text[0])}: "
            "there is nothing to tell apart"
        )
    places = torch.arange(continuations.tokens.shape[1])
    outside = places >= continuations.lengths[:, None].cpu()
    labels = of_text[:, None].expand(outside.shape).masked_fill(outside, _IGNORED)
    return _fit(
        model, continuations, labels.to(continuations.tokens.device), 2, plan or FitPlan(), seed,
        on_step,
    )  # fmt: skip


def _fit(
    model: PreTrainedModel,
    continuations: Continuations,
    labels: Tensor,
    n_classes: int,
    plan: FitPlan,
    seed: int,
    on_step: Callable[[float], None] | None,
) -> PrefixClassifier:
    rows, places = (labels != _IGNORED).nonzero(as_tuple=True)
    if rows.numel() == 0:
        raise ValueError("no prefix of the continuations has a certain label")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = PrefixClassifier(
            continuations.hidden_states.shape[-1],
            model.get_input_embeddings(),
            n_classes,
            plan.width,
        ).to(rows.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        drawn = torch.randint(rows.numel(), (plan.batch_size,), generator=generator)
        row, place = rows[drawn.to(rows.device)], places[drawn.to(rows.device)]
        log_probs = classifier(
            continuations.hidden_states[row, place],
            continuations.tokens[row, place][:, None],
            place + 1,
        )
        loss = nn.functional.nll_loss(log_probs[:, 0], labels[row, place])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if on_step is not None:
            on_step(loss.item())
    return classifier.eval()


class _StateKeeper(LogitsProcessor):
    """Changes nothing; keeps the state of every step."""

    def __init__(self, tap: HiddenTap) -> None:
        self._tap, self.states = tap, list[Tensor]()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        state = self._tap.hidden_states
        assert state is not None
        self.states.append(state.clone())
        return scores
