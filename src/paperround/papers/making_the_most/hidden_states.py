"""Part B: gradient steps on the cached states of what was read; the weights stay as they are.

    for each window of the text:
        losses of its tokens, given the cached states C               (these are the scores)
        G = gradient of their mean for C and for the window's own states
        C <- Adam or SGD step with G; moments belong to a state and move with it
        the window's states join C; the oldest leave, with their moments

States are the keys and values of every layer, (rows, heads, columns, size of a head), or the
layers' inputs, (rows, columns, d), as Transformer-XL keeps them. A row of a batch is a text of its
own: its gradients come from its loss alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from paperround.papers.making_the_most.decoders import (
    GivenStates,
    check_ids,
    checked_layer,
    frozen,
    layers_of,
    token_losses,
)
from paperround.papers.making_the_most.layer_inputs import LayerInputs, keys_values_of

Optimizer = Literal["adam", "sgd"]
StateKind = Literal["kv", "hidden"]


@dataclass
class States:
    """Cached states with their moments; columns, one a token, are the last dimension but one."""

    tensors: list[Tensor]
    # Adam's moments, beside each tensor; empty for SGD.
    first: list[Tensor]
    second: list[Tensor]
    # For each column, (columns,): how many steps it has had, and its place in the text.
    age: Tensor
    positions: Tensor

    @property
    def n_columns(self) -> int:
        """How many tokens are in the cache."""
        return len(self.age)

    def joined(self, new: Sequence[Tensor], positions: Tensor, with_moments: bool) -> "States":
        """These states with a window's own behind them, which have had no step yet."""
        moments = [torch.zeros_like(states) for states in new] if with_moments else []
        return States(
            _joined(self.tensors, new),
            _joined(self.first, moments),
            _joined(self.second, moments),
            torch.cat([self.age, torch.zeros_like(positions)]),
            torch.cat([self.positions, positions]),
        )

    def kept(self, columns: Tensor) -> "States":
        """Of these states some columns, each with its moments."""
        return States(
            [states[..., columns, :] for states in self.tensors],
            [states[..., columns, :] for states in self.first],
            [states[..., columns, :] for states in self.second],
            self.age[columns],
            self.positions[columns],
        )


def _joined(old: Sequence[Tensor], new: Sequence[Tensor]) -> list[Tensor]:
    if not old:
        return list(new)
    return [torch.cat(pair, dim=-2) for pair in zip(old, new, strict=True)]


class HiddenStateOptimizer:
    """Reads texts with a causal model of transformers and optimises its cached states on the way.

    `lr` is one number, or a tensor with one for each row of what is read. `states` are "kv" (keys
    and values) or "hidden" (inputs of layers, whose keys and values are computed again for every
    window); `layers` the layers whose states are changed, by default all. `steps` are taken after
    each `window` of tokens, on a cache of `max_cache` tokens at most, of which the first `n_sinks`
    never leave: a model that rests its attention on the first tokens needs them. With `refresh`
    the window is read once more after its last step, and the states that this gives are kept.

    `misplaced` is a control and no method: each step's changes are given to columns in an order
    that this generator draws, and not to the columns that they were computed for.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        lr: float | Tensor,
        *,
        optimizer: Optimizer = "adam",
        states: StateKind = "kv",
        layers: Sequence[int] | None = None,
        steps: int = 1,
        window: int = 32,
        max_cache: int = 512,
        n_sinks: int = 0,
        refresh: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        misplaced: torch.Generator | None = None,
    ) -> None:
        if optimizer not in ("adam", "sgd"):
            raise ValueError(f"the optimizer is 'adam' or 'sgd', not '{optimizer}'")
        if states not in ("kv", "hidden"):
            raise ValueError(f"states are 'kv' or 'hidden', not '{states}'")
        if steps < 0 or window < 1 or not 0 <= n_sinks < max_cache:
            raise ValueError(
                "steps have to be 0 or more, window 1 or more, n_sinks fewer than max_cache"
            )
        n_layers = len(layers_of(model))
        chosen = range(n_layers) if layers is None else [checked_layer(model, i) for i in layers]
        self.model, self.kind, self.optimizer, self.steps = model, states, optimizer, steps
        self.window, self.max_cache, self.n_sinks = window, max_cache, n_sinks
        self.refresh, self.betas, self.eps, self.misplaced = refresh, betas, eps, misplaced
        # States are kept in float32 where the model is in half precision, which would round small
        # steps away.
        self._dtype = torch.promote_types(model.dtype, torch.float32)
        self.lr = torch.as_tensor(lr, dtype=self._dtype, device=model.device)
        if self.lr.ndim > 1 or bool((self.lr < 0).any()):
            raise ValueError("lr is one number of 0 or more, or one for each row")
        # Whether each tensor of the states is changed: two a layer, or one.
        per_layer = 2 if states == "kv" else 1
        self._changed = [i // per_layer in set(chosen) for i in range(per_layer * n_layers)]

    def score(self, ids: Tensor) -> Tensor:
        """The losses of all tokens of (rows, tokens) but the first, (rows, tokens - 1) in nats.

        A token's loss is taken before any step that has seen the token. Behind shorter texts may
        stand any tokens, whose losses are to be left out: nothing later changes a loss.
        """
        check_ids(self.model, ids, ids.shape[-1], shortest=2)
        losses, _ = self._read_all(ids, ends_scored=True)
        return torch.cat(losses, dim=1)

    def descend(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Every window's mean loss before and after the steps on it, each (rows, windows).

        The second reads the same window again, with the steps taken: how far these went downhill.
        It is no score, for the steps have seen what it is taken on.
        """
        check_ids(self.model, ids, ids.shape[-1], shortest=2)
        before, after = [], []
        states = self._empty()
        for start in range(0, ids.shape[1] - 1, self.window):
            targets = ids[:, start + 1 : start + 1 + self.window]
            read = ids[:, start : start + targets.shape[1]]
            positions = self._positions(start, read)
            losses, joined, again = self._optimised(read, targets, states, positions, again=True)
            before.append(losses.mean(dim=1))
            after.append(again.mean(dim=1))
            states = self._bounded(joined)
        return torch.stack(before, dim=1), torch.stack(after, dim=1)

    def fit_prompt(self, ids: Tensor) -> DynamicCache:
        """A cache as transformers has it, of a prompt (rows, tokens), optimised on the prompt.

        To go on with `generate`, give this the prompt without its last token, and `generate` all of
        it and `past_key_values`. Raises ValueError for a prompt longer than `max_cache`.
        """
        check_ids(self.model, ids, ids.shape[-1], shortest=1)
        if ids.shape[1] > self.max_cache:
            raise ValueError(
                f"the prompt has {ids.shape[1]} tokens, and max_cache is {self.max_cache}"
            )
        _, states = self._read_all(ids, ends_scored=False)
        with frozen(self.model), torch.no_grad():
            tensors = self._keys_values(states)
        cache = DynamicCache(config=self.model.config)
        for layer in range(len(tensors) // 2):
            keys, values = tensors[2 * layer : 2 * layer + 2]
            cache.update(keys.to(self.model.dtype), values.to(self.model.dtype), layer)
        return cache

    def classify(
        self, prompt: Tensor, queries: Sequence[Tensor], labels: Sequence[Tensor], rows: int = 32
    ) -> Tensor:
        """How likely each label is behind prompt and query: log p, (queries, labels), in nats.

        All are token ids of one dimension; `prompt` is what `fit_prompt` takes, without rows. So
        many queries are read at a time.
        """
        if not queries or not labels or min(len(ids) for ids in (*queries, *labels)) == 0:
            raise ValueError("there have to be queries and labels, each of one token or more")
        n_asked = max(map(len, queries)) + max(map(len, labels)) - 1
        check_ids(self.model, prompt[None], len(prompt) + n_asked, shortest=1)
        cache = self.fit_prompt(prompt[None])
        past = [states for layer in cache.layers for states in (layer.keys, layer.values)]
        # Labels that differ in their last token only are scored by one reading.
        starts = sorted({tuple(label[:-1].tolist()) for label in labels})
        found = torch.empty(len(queries), len(labels), device=prompt.device)
        with frozen(self.model), torch.no_grad():
            for at in range(0, len(queries), rows):
                asked = queries[at : at + rows]
                for start in starts:
                    logs = self._continuations(past, asked, prompt.new_tensor(start), len(prompt))
                    for place, label in enumerate(labels):
                        if tuple(label[:-1].tolist()) == start:
                            steps = torch.arange(len(label), device=logs.device)
                            found[at : at + rows, place] = logs[:, steps, label].sum(dim=1)
        return found

    def _continuations(
        self, past: Sequence[Tensor], queries: Sequence[Tensor], start: Tensor, n_prompt: int
    ) -> Tensor:
        """Log-probabilities behind a query and each token of `start`: (queries, 1 + n, words)."""
        texts = [torch.cat([query, start]) for query in queries]
        # Padding stands behind the text, where a causal model does not see it.
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        expanded = [states.expand(len(texts), -1, -1, -1) for states in past]
        logits = self._logits(ids, GivenStates(expanded), self._positions(n_prompt, ids))
        last = torch.tensor([len(query) - 1 for query in queries], device=ids.device)
        wanted = last[:, None] + torch.arange(len(start) + 1, device=ids.device)
        rows = torch.arange(len(texts), device=ids.device)[:, None]
        return logits[rows, wanted].float().log_softmax(dim=-1)

    def _read_all(self, ids: Tensor, *, ends_scored: bool) -> tuple[list[Tensor], States]:
        """The losses of every window, and the states at the end.

        Where the end is only scored, the last token is not read and the last window takes no step.
        """
        states = self._empty()
        losses = []
        n_read = ids.shape[1] - 1 if ends_scored else ids.shape[1]
        for start in range(0, n_read, self.window):
            read = ids[:, start : min(start + self.window, n_read)]
            targets = ids[:, start + 1 : start + 1 + read.shape[1]]
            steps = 0 if ends_scored and start + self.window >= n_read else self.steps
            if targets.shape[1] == 0:
                # A prompt's last token alone: there is nothing to learn from it.
                steps = 0
            found, states, _ = self._optimised(
                read, targets, states, self._positions(start, read), steps=steps
            )
            states = self._bounded(states)
            losses.append(found)
        return losses, states

    def _optimised(
        self,
        ids: Tensor,
        targets: Tensor,
        states: States,
        positions: Tensor,
        *,
        steps: int | None = None,
        again: bool = False,
    ) -> tuple[Tensor, States, Tensor]:
        """The window's losses before any step, all states behind the steps, and the losses again.

        The losses again are those before the last step unless they are asked for.
        """
        steps = self.steps if steps is None else steps
        past = [states_.detach() for states_ in states.tensors]
        n_past = states.n_columns
        deltas: list[Tensor] = []
        moved: States | None = None
        scored: Tensor | None = None
        with frozen(self.model):
            for _ in range(steps):
                with torch.enable_grad():
                    leaves = [one.detach().requires_grad_() for one in past]
                    logits, new = self._forward(ids, leaves, deltas, positions, states.positions)
                    losses = token_losses(logits, targets)
                    # Rows are texts of their own: the sum keeps their gradients apart.
                    loss = losses.mean(dim=1).sum()
                    gradients = self._gradients(loss, leaves, new)
                scored = losses.detach() if scored is None else scored
                values = [one.detach().to(self._dtype) for one in new]
                if moved is None:
                    moved = states.joined(values, positions, self.optimizer == "adam")
                    deltas = [torch.zeros_like(one) for one in values]
                else:
                    # Read again: the window's states are other ones, changed as before.
                    moved.tensors = _joined(past, values)
                changes = self._changes(moved, gradients)
                moved.tensors = [a - b for a, b in zip(moved.tensors, changes, strict=True)]
                past = [one[..., :n_past, :] for one in moved.tensors] if past else past
                deltas = [a - b[..., n_past:, :] for a, b in zip(deltas, changes, strict=True)]
            with torch.no_grad():
                if moved is None or self.refresh or again:
                    logits, new = self._forward(ids, past, deltas, positions, states.positions)
                    losses = token_losses(logits, targets)
                    scored = losses if scored is None else scored
                    new = [one.to(self._dtype) for one in new]
                    if moved is None:
                        moved = states.joined(new, positions, self.optimizer == "adam")
                    elif self.refresh:
                        moved.tensors = _joined(past, new)
        assert scored is not None, "the window was read at least once"
        return scored, moved, losses.detach()

    def _forward(
        self,
        ids: Tensor,
        past: Sequence[Tensor],
        deltas: Sequence[Tensor],
        positions: Tensor,
        past_positions: Tensor,
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of a window, and the window's own states as nodes of the graph."""
        if self.kind == "kv":
            cache = GivenStates(past, deltas)
            return self._logits(ids, cache, positions), cache.new
        cache = GivenStates(keys_values_of(self.model, past, past_positions) if past else ())
        with LayerInputs(self.model, deltas) as inputs:
            logits = self._logits(ids, cache, positions)
        return logits, inputs.seen

    def _logits(self, ids: Tensor, cache: DynamicCache, positions: Tensor) -> Tensor:
        return self.model(
            input_ids=ids, position_ids=positions[None], past_key_values=cache, use_cache=True
        ).logits

    def _keys_values(self, states: States) -> list[Tensor]:
        if self.kind == "kv":
            return states.tensors
        return keys_values_of(self.model, states.tensors, states.positions)

    def _gradients(
        self, loss: Tensor, past: Sequence[Tensor], new: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The gradient of each tensor of the states, past and window joined; None if unchanged."""
        changed = [i for i, is_changed in enumerate(self._changed) if is_changed]
        wanted = [*(past[i] for i in changed if past), *(new[i] for i in changed)]
        found = torch.autograd.grad(loss, wanted)
        own = [one.to(self._dtype) for one in found[-len(changed) :]]
        old: Sequence[Tensor] = found[: len(changed)] if past else ()
        joined = iter(_joined(old, own))
        return [next(joined) if is_changed else None for is_changed in self._changed]

    def _changes(self, states: States, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """What is taken from each tensor; moves the moments and the ages on."""
        lr = self.lr
        beta_1, beta_2 = self.betas
        states.age = states.age + 1
        # (columns, 1): a state's moments began with the state.
        correction_1 = (1 - beta_1 ** states.age.to(lr.dtype))[:, None]
        correction_2 = (1 - beta_2 ** states.age.to(lr.dtype))[:, None]
        order = None
        if self.misplaced is not None:
            order = torch.randperm(states.n_columns, generator=self.misplaced).to(lr.device)
        changes = []
        for i, gradient in enumerate(gradients):
            if gradient is None:
                changes.append(torch.zeros_like(states.tensors[i]))
                continue
            rate = lr.reshape(-1, *[1] * (gradient.ndim - 1))
            if self.optimizer == "sgd":
                change = rate * gradient
            else:
                states.first[i] = beta_1 * states.first[i] + (1 - beta_1) * gradient
                states.second[i] = beta_2 * states.second[i] + (1 - beta_2) * gradient**2
                scale = (states.second[i] / correction_2).sqrt() + self.eps
                change = rate * (states.first[i] / correction_1) / scale
            changes.append(change if order is None else change[..., order, :])
        return changes

    def _bounded(self, states: States) -> States:
        """Without the oldest columns, where there are more than `max_cache`; sinks stay."""
        n = states.n_columns
        if n <= self.max_cache:
            return states
        columns = torch.arange(n, device=states.age.device)
        recent = columns[n - (self.max_cache - self.n_sinks) :]
        return states.kept(torch.cat([columns[: self.n_sinks], recent]))

    def _empty(self) -> States:
        nothing = torch.empty(0, dtype=torch.long, device=self.model.device)
        return States([], [], [], nothing, nothing)

    def _positions(self, start: int, ids: Tensor) -> Tensor:
        return torch.arange(start, start + ids.shape[1], device=ids.device)
