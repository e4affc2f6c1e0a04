"""Dynamic evaluation, the peer of part B: the same loss, but the steps are taken on the weights.

Krause, Kahembwe, Murray, Renals: Dynamic Evaluation of Neural Sequence Models, ICML 2018. Where a
state remembers one text's tokens, a weight moves for everything that comes after.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paperround.papers.making_the_most.decoders import GivenStates, check_ids, token_losses

Rule = Literal["sgd", "rms"]
Chosen = Literal["norms", "all"] | Callable[[str, nn.Parameter], bool]
# Of the running mean of squared gradients.
_RMS_DECAY = 0.99


class DynamicEvaluation:
    """Reads texts with a causal model of transformers that goes on learning while it reads.

    `parameters` says which weights learn: "norms" (norms and biases, whatever has one dimension),
    "all", or a function of name and parameter. `decay` draws them back to where they started, by
    that share a step. With "rms" steps are divided by the root of the gradients' running mean
    square. Cache and windows are those of `HiddenStateOptimizer`; what a window has left in the
    cache was computed with the weights of its time. Afterwards the weights are what they were, bit
    for bit; while a text is read, the model is of use to nobody else.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        lr: float,
        *,
        optimizer: Rule = "sgd",
        parameters: Chosen = "norms",
        decay: float = 0.0,
        steps: int = 1,
        window: int = 32,
        max_cache: int = 512,
        n_sinks: int = 0,
        eps: float = 1e-8,
    ) -> None:
        if optimizer not in ("sgd", "rms"):
            raise ValueError(f"the optimizer is 'sgd' or 'rms', not '{optimizer}'")
        if lr < 0 or not 0 <= decay <= 1:
            raise ValueError("lr has to be 0 or more, decay from 0 to 1")
        if steps < 0 or window < 1 or not 0 <= n_sinks < max_cache:
            raise ValueError(
                "steps have to be 0 or more, window 1 or more, n_sinks fewer than max_cache"
            )
        self.model, self.lr, self.optimizer, self.decay = model, lr, optimizer, decay
        self.steps, self.window, self.max_cache = steps, window, max_cache
        self.n_sinks, self.eps = n_sinks, eps
        self._chosen = [
            parameter
            for name, parameter in model.named_parameters()
            if parameters == "all"
            or (parameters == "norms" and parameter.ndim == 1)
            or (callable(parameters) and parameters(name, parameter))
        ]
        if not self._chosen:
            raise ValueError("no parameter was chosen to learn")

    def score(self, ids: Tensor) -> Tensor:
        """The losses of all tokens of (rows, tokens) but the first, (rows, tokens - 1) in nats.

        A token's loss is taken before any step that has seen the token. Every row begins with the
        model's own weights.
        """
        check_ids(self.model, ids, ids.shape[-1], shortest=2)
        found = []
        for row in ids:
            with self._learning() as start_values:
                found.append(self._score_row(row[None], start_values))
        return torch.cat(found)

    def _score_row(self, ids: Tensor, start_values: list[Tensor]) -> Tensor:
        squares = [torch.zeros_like(parameter) for parameter in self._chosen]
        past: list[Tensor] = []
        losses = []
        n_steps = 0
        for start in range(0, ids.shape[1] - 1, self.window):
            read = ids[:, start : start + self.window][:, : ids.shape[1] - 1 - start]
            targets = ids[:, start + 1 : start + 1 + read.shape[1]]
            is_last = start + self.window >= ids.shape[1] - 1
            steps = 0 if is_last else self.steps
            positions = torch.arange(start, start + read.shape[1], device=ids.device)[None]
            # One reading at least, whose losses are the scores.
            for step in range(max(1, steps)):
                cache = GivenStates(past)
                with torch.set_grad_enabled(steps > 0):
                    logits = self.model(
                        input_ids=read,
                        position_ids=positions,
                        past_key_values=cache,
                        use_cache=True,
                    ).logits
                    found = token_losses(logits, targets)
                if step == 0:
                    losses.append(found.detach())
                if steps > 0:
                    gradients = torch.autograd.grad(found.mean(), self._chosen, allow_unused=True)
                    n_steps += 1
                    self._step(gradients, squares, start_values, n_steps)
            past = self._bounded(past, [one.detach() for one in cache.new])
        return torch.cat(losses, dim=1)

    def _step(
        self,
        gradients: tuple[Tensor | None, ...],
        squares: list[Tensor],
        start_values: list[Tensor],
        n_steps: int,
    ) -> None:
        rows = zip(self._chosen, gradients, squares, start_values, strict=True)
        with torch.no_grad():
            for parameter, gradient, square, start in rows:
                if gradient is None:
                    continue
                if self.optimizer == "rms":
                    square.mul_(_RMS_DECAY).addcmul_(gradient, gradient, value=1 - _RMS_DECAY)
                    mean = square / (1 - _RMS_DECAY**n_steps)
                    gradient = gradient / (mean.sqrt() + self.eps)
                if self.lr:
                    parameter.sub_(self.lr * gradient)
                if self.decay:
                    parameter.lerp_(start, self.decay)

    def _bounded(self, past: list[Tensor], new: list[Tensor]) -> list[Tensor]:
        joined = [torch.cat(pair, dim=-2) for pair in zip(past, new, strict=True)] if past else new
        n = joined[0].shape[-2]
        if n <= self.max_cache:
            return joined
        recent = n - (self.max_cache - self.n_sinks)
        return [
            torch.cat([states[..., : self.n_sinks, :], states[..., recent:, :]], dim=-2)
            for states in joined
        ]

    @contextmanager
    def _learning(self) -> Iterator[list[Tensor]]:
        """The chosen weights' values. Only these learn, without dropout, and are put back."""
        parameters = list(self.model.parameters())
        asked = [parameter.requires_grad for parameter in parameters]
        values = [parameter.detach().clone() for parameter in self._chosen]
        training = self.model.training
        self.model.eval()
        self.model.requires_grad_(False)
        for parameter in self._chosen:
            parameter.requires_grad_(True)
        try:
            yield values
        finally:
            with torch.no_grad():
                for parameter, value in zip(self._chosen, values, strict=True):
                    parameter.copy_(value)
            for parameter, was_asked in zip(parameters, asked, strict=True):
                parameter.requires_grad_(was_asked)
            self.model.train(training)
