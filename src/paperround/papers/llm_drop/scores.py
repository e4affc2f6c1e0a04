"""How little each block, attention and MLP turns the residual stream: the paper's similarity.

X, Y  what goes into a sub-layer's norm and the residual stream after it, (tokens, hidden)
s     mean over all tokens of cos(X, Y); the paper's importance is 1 - s

Scores are taken from the intact model in one pass over the calibration text, layer by layer, and
nothing is stored but sums: memory does not grow with the text.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paperround.errors import ScoresError
from paperround.papers.llm_drop.measures import check_fits
from paperround.papers.llm_drop.sublayers import (
    Dropped,
    dropped_sublayers,
    layers_of,
    layout_of,
)

ScoredKind = Literal["block", "attention", "mlp"]
SCORED_KINDS: tuple[ScoredKind, ...] = get_args(ScoredKind)
# Token ids of shape (sequences, tokens), or those with their attention mask under the names that a
# tokenizer gives them.
Batch: TypeAlias = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """Similarity by kind and layer, in [-1, 1]; None where the sub-layer is dropped already."""

    similarity: Mapping[ScoredKind, tuple[float | None, ...]]
    n_tokens: int

    @property
    def n_layers(self) -> int:
        """How many layers the model has, dropped ones included."""
        return len(next(iter(self.similarity.values())))

    def rows(self) -> list[dict[str, Any]]:
        """A row per layer and kind, as `pandas.DataFrame` takes them."""
        return [
            {"layer": layer, "kind": kind, "similarity": similarity}
            for kind, by_layer in self.similarity.items()
            for layer, similarity in enumerate(by_layer)
        ]


@dataclass(frozen=True)
class SpanScores:
    """Between the residual stream before layer i and before layer j, [i][j], i <= j <= n_layers.

    `similarity` is the mean cosine over all tokens, `angular_distance` the mean of arccos(cosine)
    / pi over the last token of each sequence.
    """

    similarity: tuple[tuple[float, ...], ...]
    angular_distance: tuple[tuple[float, ...], ...]


def score_sublayers(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    kinds: Sequence[ScoredKind] = SCORED_KINDS,
    *,
    norm_included: bool = True,
) -> Scores:
    """The similarity of every sub-layer of the asked kinds, over all tokens of the batches.

    Tokens that an attention mask hides are not counted; all others are, a BOS token among them.
    Cosines are taken in float32 at least and added in float64. With `norm_included` false, X is the
    output of the norm and Y that of the module without the residual: the paper's ablation, for
    attentions and MLPs. Raises ValueError without any token, for sequences longer than the model's
    positions, for a kind that is unknown, and for blocks without their norms; ScoresError where the
    residual stream is not finite.
    """
    for kind in kinds:
        if kind not in SCORED_KINDS:
            raise ValueError(f"no kind '{kind}'; there are {', '.join(SCORED_KINDS)}")
    if not norm_included and "block" in kinds:
        raise ValueError("a block has a residual stream only; score it with its norms")
    sums = {kind: [0.0] * len(layers_of(model)) for kind in kinds}
    n_tokens = 0
    gone = dict(zip(("attention", "mlp"), dropped_sublayers(model), strict=True))
    for ids, counted in _unpacked(batches, model):
        n_tokens += int(counted.sum())

        def add(
            kind: ScoredKind, layer: int, x: Tensor, y: Tensor, counted: Tensor = counted
        ) -> None:
            if kind in sums:
                sums[kind][layer] += float(cosines(x, y)[counted].double().sum())

        with _watched(model, add, norm_included):
            _run(model, ids, counted)
    if not n_tokens:
        raise ValueError("the calibration text has no tokens")
    _check_finite(total for by_layer in sums.values() for total in by_layer)
    return Scores(
        {
            kind: tuple(
                None if layer in gone.get(kind, ()) else _clamped(total / n_tokens)
                for layer, total in enumerate(by_layer)
            )
            for kind, by_layer in sums.items()
        },
        n_tokens,
    )


def score_spans(model: PreTrainedModel, batches: Iterable[Batch]) -> SpanScores:
    """How much the residual stream turns over every span of consecutive layers.

    Holds the residual streams of one batch at a time. Raises as `score_sublayers`.
    """
    n = len(layers_of(model)) + 1
    cosine_sums = torch.zeros(n, n, dtype=torch.float64)
    angle_sums = torch.zeros(n, n, dtype=torch.float64)
    n_tokens = n_sequences = 0
    for ids, counted in _unpacked(batches, model):
        n_tokens, n_sequences = n_tokens + int(counted.sum()), n_sequences + len(ids)
        streams: list[Tensor] = []

        def keep(
            kind: ScoredKind, layer: int, x: Tensor, y: Tensor, streams: list[Tensor] = streams
        ) -> None:
            if kind == "block":
                streams += [x, y] if layer == n - 2 else [x]

        with _watched(model, keep):
            _run(model, ids, counted)
        # The last token that counts; with padding on either side.
        positions = torch.arange(counted.shape[1], device=counted.device)
        last = torch.where(counted, positions, -1).max(dim=1).values
        rows = torch.arange(len(ids), device=ids.device)
        for i in range(n):
            for j in range(i, n):
                cosine = cosines(streams[i], streams[j])
                cosine_sums[i, j] += float(cosine[counted].double().sum())
                angles = cosine[rows, last].double().clamp(-1, 1).arccos() / math.pi
                angle_sums[i, j] += float(angles.sum())
    if not n_tokens:
        raise ValueError("the calibration text has no tokens")
    _check_finite([float(cosine_sums.sum()), float(angle_sums.sum())])
    return SpanScores(
        tuple(tuple(_clamped(x / n_tokens) for x in row) for row in cosine_sums.tolist()),
        tuple(tuple(x / n_sequences for x in row) for row in angle_sums.tolist()),
    )


def cosines(before: Tensor, after: Tensor) -> Tensor:
    """cos(X, Y) along the last dimension, in float32 at least; 0 where either is all zeros."""
    x, y = (t if t.dtype == torch.float64 else t.float() for t in (before, after))
    return torch.nn.functional.cosine_similarity(x, y, dim=-1)


def _check_finite(sums: Iterable[float]) -> None:
    if not all(math.isfinite(total) for total in sums):
        raise ScoresError(
            "the residual stream is not finite on this text, nothing can be ranked by it; is the "
            "dtype too small for the model?"
        )


def _clamped(cosine: float) -> float:
    # Rounding may lead out by some 1e-7.
    return max(-1.0, min(1.0, cosine))


def _unpacked(batches: Iterable[Batch], model: PreTrainedModel) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and which of them count, both (sequences, tokens), where the model is."""
    for batch in batches:
        ids = batch if isinstance(batch, Tensor) else batch["input_ids"]
        if ids.ndim != 2:
            raise ValueError(f"token ids of shape (sequences, tokens) are needed, not {ids.shape}")
        check_fits(model, ids.shape[1])
        mask = None if isinstance(batch, Tensor) else batch.get("attention_mask")
        counted = torch.ones_like(ids) if mask is None else mask
        if ids.numel() and bool(counted.any()):
            yield ids.to(model.device), counted.to(model.device, torch.bool)


def _run(model: PreTrainedModel, ids: Tensor, counted: Tensor) -> None:
    padded = {}
    if not bool(counted.all()):
        # Positions start at the first token that counts, on whichever side the padding is.
        positions = (counted.long().cumsum(dim=1) - 1).clamp(min=0)
        padded = {"attention_mask": counted.to(ids.dtype), "position_ids": positions}
    with torch.inference_mode():
        # The logits are not asked for; of all tokens they would cost as much as some layers.
        model(input_ids=ids, use_cache=False, logits_to_keep=1, **padded)


@contextmanager
def _watched(
    model: PreTrainedModel,
    see: Callable[[ScoredKind, int, Tensor, Tensor], None],
    norm_included: bool = True,
) -> Iterator[None]:
    """While the model runs, calls `see(kind, layer, X, Y)` as soon as each layer is done."""
    layout = layout_of(model)
    # Of the one layer that runs: its input, and what goes into its MLP's norm.
    stream: dict[str, Tensor] = {}

    def note(place: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            stream[place] = _input(args, kwargs)

        return hook

    def layer_ended(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            x, a, y = stream["x"], stream["a"], _output(output)
            see("block", layer, x, y)
            if norm_included:
                see("attention", layer, x, a)
                see("mlp", layer, a, y)

        return hook

    def module_ended(kind: ScoredKind, layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            if not isinstance(module, Dropped):
                see(kind, layer, _input(args, kwargs), _output(output))

        return hook

    handles = []
    for i, layer in enumerate(layers_of(model)):
        before_mlp = getattr(layer, layout.mlp_norms[0])
        handles += [
            layer.register_forward_pre_hook(note("x"), with_kwargs=True),
            before_mlp.register_forward_pre_hook(note("a"), with_kwargs=True),
            layer.register_forward_hook(layer_ended(i), with_kwargs=True),
        ]
        if not norm_included:
            attention, mlp = getattr(layer, layout.attention), getattr(layer, layout.mlp)
            handles += [
                attention.register_forward_hook(module_ended("attention", i), with_kwargs=True),
                mlp.register_forward_hook(module_ended("mlp", i), with_kwargs=True),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _output(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
