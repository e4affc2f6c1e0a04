"""What the models cost: seconds, how they grow with the length, and counted operations."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.samples import Batch
from paperround.papers.tim4rec.baselines import MAX_INTERVAL

_HOUR_S, _START_S = 3_600.0, 1.7e9


def histories(rows: int, length: int, n_items: int, seed: int) -> tuple[Tensor, Tensor]:
    """Full rows (rows, length) of random items, and times that are hours apart on average."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, n_items + 1, (rows, length), generator=generator)
    gaps = torch.empty(rows, length, dtype=torch.float64).exponential_(generator=generator)
    return items, _START_S + (gaps * _HOUR_S).cumsum(dim=1)


def seconds_in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after one round that does not count.

    In turns, so that what else the machine does meets all of them alike.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                took[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in took.items()}


def reading(model: AbstractSequenceEncoder, items: Tensor, times: Tensor) -> Callable[[], object]:
    """A pass over the histories without gradients."""
    model.eval()

    def read() -> object:
        with torch.inference_mode():
            return model(items, times)

    return read


def training_step(
    model: AbstractSequenceEncoder, items: Tensor, times: Tensor
) -> Callable[[], object]:
    """A whole step of training: full softmax at every position, gradients, Adam."""
    model.train()
    objective, generator = next_items("ce"), torch.Generator()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batch = Batch(items, items.roll(-1, dims=1), torch.arange(len(items)), times, times)
    if not model.causal:
        # One target a row, as a model that sees later events has to be trained.
        targets = torch.zeros_like(items)
        targets[:, -1] = items[:, 0]
        batch = Batch(items, targets, batch.users, times, times)

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        objective(model, batch, generator).backward()
        return optimizer.step()

    return step


def growth(lengths: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log length, by least squares: 1 is linear, 2 quadratic."""
    x, y = [math.log(length) for length in lengths], [math.log(value) for value in seconds]
    return statistics.linear_regression(x, y).slope


def megaflops(
    length: int,
    *,
    d_model: int = 64,
    d_state: int = 32,
    expand: int = 2,
    head_dim: int = 32,
    d_conv: int = 4,
    chunk_size: int = 32,
    max_interval: int = MAX_INTERVAL,
) -> dict[str, float]:
    """Counted multiplications and additions, in millions, of one layer over one history.

    Without the feed-forward part, which all have alike. TiM4Rec's paper variant adds to the SSD two
    matrices over the length, on one number per head; attention pays the length on every channel.
    """
    d_inner = expand * d_model
    heads, conv_dim = d_inner // head_dim, d_inner + 2 * d_state
    q = min(chunk_size, length)
    ssd = 2 * length * d_model * (2 * d_inner + 2 * d_state + heads)
    ssd += 2 * length * conv_dim * d_conv + 2 * length * d_inner * d_model
    # C B^T once, the mask and X for every head, then into the state and out of it.
    ssd += 2 * length * q * d_state + length * q * heads + 2 * length * q * d_inner
    ssd += 4 * length * d_inner * d_state
    convolutions = 2 * 2 * length * heads * d_conv
    projections = 4 * 2 * length * d_model**2
    attention = projections + 4 * length**2 * d_model
    return {
        "SSD4Rec*": ssd / 1e6,
        "TiM4Rec, causal": (ssd + convolutions + 2 * length * heads * (2 * 16 + heads)) / 1e6,
        "TiM4Rec, paper": (ssd + convolutions + 2 * 3 * length**2 * heads) / 1e6,
        "SASRec": attention / 1e6,
        "TiSASRec, explicit": (attention + 4 * length**2 * d_model) / 1e6,
        "TiSASRec, factored": (attention + 4 * length * (max_interval + 1) * d_model) / 1e6,
    }
