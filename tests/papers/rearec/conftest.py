"""Small models and histories that every test of this room may use."""

import pytest
import torch

from paperround.kit.recommendation.encoders import BERT4Rec, SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.papers.rearec import LatentReasoning

N_ITEMS, MAX_LEN = 30, 9


def make_model(num_steps=2, seed=0, backbone="sasrec", dropout=0.0, padding="right", **options):
    """A small model in evaluation mode whose weights are large enough to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"d_model": 16, "max_len": MAX_LEN, "dropout": dropout}
        if backbone == "bert4rec":
            encoder = BERT4Rec(N_ITEMS, **sizes)
        else:
            encoder = SASRec(N_ITEMS, causal=backbone == "sasrec", padding=padding, **sizes)
        model = LatentReasoning(encoder, num_steps, step_dropout=dropout, **options)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.3 * torch.randn_like(parameter)
            encoder.items.weight[0] = 0.0
    return model.eval()


def make_histories(lengths=(9, 4, 1, 6), seed=0):
    """Rows of items, padded on the right to MAX_LEN."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(len(lengths), MAX_LEN, dtype=torch.long)
    for row, length in enumerate(lengths):
        rows[row, :length] = torch.randint(1, N_ITEMS + 1, (length,), generator=generator)
    return rows


@pytest.fixture(scope="session")
def a_model():
    """Makes a model: `a_model(num_steps, backbone=…)`."""
    return make_model


@pytest.fixture(scope="session")
def histories():
    """Makes histories: `histories(lengths)`."""
    return make_histories


@pytest.fixture(scope="session")
def a_log():
    """Eight users who walk around the items three apart."""
    users, steps = 8, 8
    return build_log(
        [user for user in range(users) for _ in range(steps)],
        [(user * 3 + step) % N_ITEMS for user in range(users) for step in range(steps)],
    )
