"""The shipped model, the decoders of the reproduction, and the room's lazy door."""

import subprocess
import sys
from statistics import fmean

import pytest

from paperround.kit.tasks import countdown
from paperround.papers.diverse_beam_search.checkpoint import (
    DIFFICULTY,
    SHIPPED,
    shipped_countdown_model,
    train_countdown_model,
)
from paperround.papers.diverse_beam_search.decoders import (
    Language,
    beam_search_of_transformers,
    decode,
    diverse,
    sampling,
    sibling_rank,
)
from paperround.runs.card import read_card


def a_language():
    model, tokenizer = shipped_countdown_model()
    return Language(model, tokenizer, n_new_tokens=14, prompts_per_batch=8)


def test_importing_the_room_imports_no_torch():
    program = (
        "import sys, paperround.papers.diverse_beam_search as room;"
        "assert 'torch' not in sys.modules; print(len(dir(room)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_card_names_what_the_room_exports():
    import paperround.papers.diverse_beam_search as room

    card = read_card(SHIPPED.parents[1] / "card.toml")
    assert set(card.names) <= set(room.__all__)
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    with pytest.raises(AttributeError, match="attribute beam"):
        _ = room.beam


def test_the_shipped_model_is_small_and_solves_problems_that_it_never_saw():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 2_000_000
    problems = countdown.generate("test", 24, seed=99, difficulty=DIFFICULTY)
    found = decode(a_language(), [p.prompt for p in problems], diverse(8, 1, 0.0))
    solved = fmean(
        any(countdown.grade(p, c.text).ok for c in candidates)
        for p, candidates in zip(problems, found.lists, strict=True)
    )
    # Chance is far below: random words never form a solution.
    assert solved > 0.3


def test_training_the_shipped_model_again_moves_the_loss_the_same_way():
    # A thirtieth of its budget, from the same start.
    _, _, losses = train_countdown_model(30_000, seed=0)
    assert losses[0] > 4.0
    assert fmean(losses[-3:]) < 0.75 * losses[0]


def test_every_decoder_gives_the_same_number_of_candidates_per_prompt():
    language = a_language()
    prompts = [p.prompt for p in countdown.generate("test", 3, seed=1, difficulty=DIFFICULTY)]
    for decoder in (diverse(4, 2, 0.5), sibling_rank(4, 0.5), sampling(4, 1.0, 0.95, seed=0)):
        assert [len(found) for found in decode(language, prompts, decoder).lists] == [4, 4, 4]


def test_beam_search_here_and_in_transformers_write_the_same_lists():
    language = a_language()
    prompts = [p.prompt for p in countdown.generate("test", 4, seed=2, difficulty=DIFFICULTY)]
    ours = decode(language, prompts, diverse(4, 1, 0.0)).lists
    theirs = decode(language, prompts, beam_search_of_transformers(4)).lists
    assert [{c.text for c in found} for found in ours] == [
        {c.text for c in found} for found in theirs
    ]


def test_sampling_follows_its_seed_and_leaves_the_callers_random_state_alone():
    import torch

    language = a_language()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    prompt = [countdown.generate("test", 1, seed=2, difficulty=DIFFICULTY)[0].prompt]
    lists = [decode(language, prompt, sampling(8, 1.0, 1.0, seed)).lists for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(2), expected)
    assert lists[0] == lists[1] != lists[2]
