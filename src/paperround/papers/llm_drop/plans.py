"""Which sub-layers to drop: the paper's rules over similarity scores.

A plan names layers of the intact model, in the order in which they were chosen: the first one is
the most redundant.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedModel

from paperround.papers.llm_drop.scores import (
    Batch,
    ScoredKind,
    Scores,
    SpanScores,
    score_sublayers,
)
from paperround.papers.llm_drop.sublayers import Removed, drop_sublayers

DropKind = Literal["attention", "mlp", "block", "joint"]
# A kind of sub-layer and its layer's number.
Unit = tuple[ScoredKind, int]


@dataclass(frozen=True)
class DropPlan:
    """The layers that lose their attention, and those that lose their MLP."""

    attention: tuple[int, ...] = ()
    mlp: tuple[int, ...] = ()

    @property
    def n_sublayers(self) -> int:
        """How many sub-layers go; a block is two."""
        return len(self.attention) + len(self.mlp)

    def as_set(self) -> frozenset[Unit]:
        """What is dropped, whatever the order: equal for plans that give the same model."""
        return frozenset(
            [("attention", i) for i in self.attention] + [("mlp", i) for i in self.mlp]
        )

    def __str__(self) -> str:
        """Such as `attention 25, 26; MLP 17`, most redundant first."""
        parts = [
            f"{name} {', '.join(map(str, layers))}"
            for name, layers in (("attention", self.attention), ("MLP", self.mlp))
            if layers
        ]
        return "; ".join(parts) or "nothing"


def plan_drop(
    scores: Scores, n: int, kind: DropKind = "attention", *, protect: Iterable[int] = ()
) -> DropPlan:
    """The n sub-layers of that kind with the highest similarity: Block, Attention, MLP, Joint Drop.

    For `joint`, attentions and MLPs are ranked in one list and the n best go, whichever they are;
    for `block`, n layers lose both. Layers in `protect` keep everything. Equal scores: the lower
    layer first, attention before MLP. Raises ValueError where fewer than n can be dropped, or the
    scores lack the kind. Source: the paper, section 3; the official code's one-shot drop.
    """
    order = ranked(scores, kind, protect)
    if not 0 <= n <= len(order):
        raise ValueError(f"{n} cannot be dropped: {len(order)} of kind '{kind}' can be chosen from")
    return plan_of(order[:n])


def plan_consecutive(spans: SpanScores, n: int, *, protect: Iterable[int] = ()) -> DropPlan:
    """The n consecutive blocks over which the residual stream turns least (mean cosine).

    Raises ValueError where no span of n layers is free of protected ones. Source: the paper's
    consecutive Block Drop; ShortGPT and "The unreasonable ineffectiveness of the deeper layers".
    """
    return _best_span(spans.similarity, n, protect, largest=True)


def plan_angular(spans: SpanScores, n: int, *, protect: Iterable[int] = ()) -> DropPlan:
    """The n consecutive blocks with the smallest angular distance at the last token.

    Raises ValueError as `plan_consecutive`. Source: Gromov et al., arXiv 2403.17887, equation 7.
    """
    return _best_span(spans.angular_distance, n, protect, largest=False)


def plan_iteratively(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    n: int,
    kind: DropKind = "attention",
    *,
    protect: Iterable[int] = (),
    on_step: Callable[[], None] = lambda: None,
) -> DropPlan:
    """As `plan_drop`, with the scores taken anew from the dropped model after every single drop.

    The model is intact again afterwards. Costs n passes over the batches; `on_step` is called after
    each. The paper reports no clear gain. Raises ValueError as `plan_drop`.
    """
    protected, units = tuple(protect), list[Unit]()
    for _ in range(n):
        with dropped(model, plan_of(units)):
            scores = score_sublayers(model, batches, scored_kinds(kind))
        order = [unit for unit in ranked(scores, kind, protected) if unit not in units]
        if not order:
            raise ValueError(f"{n} cannot be dropped: {len(units)} of kind '{kind}' could be")
        units.append(order[0])
        on_step()
    return plan_of(units)


@contextmanager
def dropped(model: PreTrainedModel, plan: DropPlan) -> Iterator[PreTrainedModel]:
    """The model without what the plan names, and intact again when the block ends."""
    removed = drop(model, plan)
    try:
        yield model
    finally:
        removed.restore()


def drop(model: PreTrainedModel, plan: DropPlan) -> Removed:
    """Drops in place what the plan names; keep what is returned to be able to `restore()`.

    Raises ValueError as `drop_sublayers`.
    """
    return drop_sublayers(model, plan.attention, plan.mlp)


def scored_kinds(kind: DropKind) -> tuple[ScoredKind, ...]:
    """The scores that a plan of that kind is made from."""
    if kind == "joint":
        return ("attention", "mlp")
    if kind not in ("attention", "mlp", "block"):
        raise ValueError(f"no kind '{kind}'; there are attention, mlp, block and joint")
    return (kind,)


def ranked(scores: Scores, kind: DropKind, protect: Iterable[int] = ()) -> list[Unit]:
    """All that can be dropped, highest similarity first. Raises ValueError for scores that lack."""
    protected = set(protect)
    units: list[tuple[float, int, int, Unit]] = []
    for place, of_kind in enumerate(scored_kinds(kind)):
        if of_kind not in scores.similarity:
            raise ValueError(f"the scores have no '{of_kind}'; score it for a {kind} drop")
        for layer, similarity in enumerate(scores.similarity[of_kind]):
            if similarity is not None and layer not in protected:
                units.append((-similarity, layer, place, (of_kind, layer)))
    return [unit for *_, unit in sorted(units)]


def plan_of(units: Iterable[Unit]) -> DropPlan:
    """The plan that drops these; a block is an attention and an MLP."""
    attention, mlp = list[int](), list[int]()
    for kind, layer in units:
        if kind in ("attention", "block"):
            attention.append(layer)
        if kind in ("mlp", "block"):
            mlp.append(layer)
    return DropPlan(tuple(attention), tuple(mlp))


def _best_span(
    table: Sequence[Sequence[float]], n: int, protect: Iterable[int], *, largest: bool
) -> DropPlan:
    n_layers, protected = len(table) - 1, set(protect)
    starts = [
        i for i in range(n_layers - n + 1) if n > 0 and not protected.intersection(range(i, i + n))
    ]
    if n == 0:
        return DropPlan()
    if not starts:
        raise ValueError(f"no {n} consecutive layers of {n_layers} are free of protected ones")
    # Of equal spans the lower one.
    best = min(starts, key=lambda i: -table[i][i + n] if largest else table[i][i + n])
    layers = tuple(range(best, best + n))
    return DropPlan(layers, layers)
