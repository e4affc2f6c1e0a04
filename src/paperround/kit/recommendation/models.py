"""What every model of this family is: histories in, a score per item out.

Neural encoders and counting models share `AbstractSequenceModel`, so that evaluation, the
recommender and a benchmark never ask which kind they have. `ModelKind` is how a model is known by
name; a paper's room offers its own by a module `recommender.py` with a `RECOMMENDERS` mapping.
"""

import importlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from paperround.errors import UsageError
from paperround.kit.offers import completed, offered
from paperround.kit.recommendation.interactions import PAD, Side


class AbstractSequenceModel(nn.Module):
    """A model that scores items 1..n_items after a history of at most `max_len` items."""

    n_items: int
    max_len: int
    # Whether `score_batch` looks at the times; a log without times is then refused in fitting.
    needs_times = False

    @abstractmethod
    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """(batch, n_items + 1) scores of the next item; padding, column 0, gets -inf.

        `items` is (batch, length) padded on the right with 0, length at most `max_len`; a row of
        padding alone is an empty history. No gradients, evaluation mode.
        """

    def inner_product(self) -> tuple[Tensor, Tensor | None] | None:
        """The table (n_items + 1, d) and bias whose inner product with `last_hidden` is the score.

        None where scores are made in another way; then every item is scored to find the best.
        """
        return None

    def tensors(self) -> dict[str, Tensor]:
        """What a file of the model holds."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `tensors` gave; raises UsageError when it belongs to another model."""
        try:
            self.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise UsageError(f"the weights belong to another model: {error}") from error


class AbstractSequenceEncoder(AbstractSequenceModel):
    """A network that turns a history into hidden states, and scores items by inner product.

    `causal` says that the state at a position knows nothing of later positions: only then can all
    positions be trained at once. `padding` is the side on which it expects short rows filled.
    """

    d_model: int
    causal: bool = True
    padding: Side = "right"

    @abstractmethod
    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """(batch, length, d) hidden states of items (batch, length) on the encoder's side."""

    @abstractmethod
    def item_embeddings(self) -> Tensor:
        """(n_items + 1, d): what hidden states are compared with; row 0 is padding's."""

    def item_bias(self) -> Tensor | None:
        """(n_items + 1,) added to the scores, or None."""
        return None

    def inner_product(self) -> tuple[Tensor, Tensor | None] | None:
        """See AbstractSequenceModel; an encoder with a `score` of its own gives None."""
        return self.item_embeddings(), self.item_bias()

    def last_hidden(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """(batch, d): the state that predicts what follows the history, padded on the right."""
        if self.padding == "left":
            items, times = padded_on_the_left(items, times)
            return self(items, times)[:, -1]
        lengths = (items != PAD).sum(dim=1)
        return self(items, times)[torch.arange(items.shape[0]), (lengths - 1).clamp(min=0)]

    def score(self, hidden: Tensor) -> Tensor:
        """(..., n_items + 1) scores of all items; padding gets -inf."""
        scores = hidden @ self.item_embeddings().T
        bias = self.item_bias()
        if bias is not None:
            scores = scores + bias
        return torch.cat([torch.full_like(scores[..., :1], -torch.inf), scores[..., 1:]], dim=-1)

    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceModel."""
        training = self.training
        self.eval()
        with torch.no_grad():
            scores = self.score(self.last_hidden(items, times))
        self.train(training)
        return scores


@dataclass(frozen=True)
class ModelKind:
    """A model known by name: its options with their defaults, how it is made, how it is trained.

    `build(n_items, options)` gives an untrained model, also before weights are loaded. `fit(model,
    task)` trains it in place (see `training.FitTask`) and returns what there is to say about it.
    """

    name: str
    about: str
    build: Callable[[int, Mapping[str, Any]], AbstractSequenceModel]
    fit: Callable[[Any, Any], Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, the given ones in the place of the defaults; refuses unknown ones."""
        return completed(self.name, self.options, options)


def find_model(name: str) -> ModelKind:
    """The kind of that name: one of this folder, or one that a paper's room offers."""
    built_in = _built_in()
    if name in built_in:
        return built_in[name]
    of_rooms = _of_rooms()
    if name in of_rooms:
        return of_rooms[name]
    raise UsageError(f"no model '{name}'; there are {', '.join([*built_in, *of_rooms])}")


def known_models() -> dict[str, ModelKind]:
    """Every model there is, by name: those of this folder, then those of the papers' rooms."""
    return {**_built_in(), **_of_rooms()}


def _built_in() -> Mapping[str, ModelKind]:
    kinds = importlib.import_module("paperround.kit.recommendation.kinds")
    return kinds.BUILT_IN


def _of_rooms() -> dict[str, ModelKind]:
    return offered("recommender", "RECOMMENDERS")


def padded_on_the_left(items: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Rows padded on the right, moved so that their padding stands on the left."""
    length = items.shape[1]
    lengths = (items != PAD).sum(dim=1, keepdim=True)
    # Position p of the moved row takes p - (length - lengths) of the given one.
    place = torch.arange(length, device=items.device) - (length - lengths)
    real = place >= 0
    place = place.clamp(min=0)
    moved = torch.where(real, items.gather(1, place), PAD)
    if times is None:
        return moved, None
    return moved, torch.where(real, times.gather(1, place), 0.0)
