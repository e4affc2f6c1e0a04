"""The arms of the small model: the corpora must differ in what they claim to differ in."""

import random

import numpy as np
import pytest

from paperround.papers.slimpajama_dc import training
from paperround.papers.slimpajama_dc.planting import Document
from paperround.papers.slimpajama_dc.small_lm import Arm, Encoder, SmallGPT, train_and_evaluate


def pools(per_source=40):
    rng = random.Random(1)

    def a_text():
        return " ".join("".join(rng.choices("abcdefghijklmno", k=5)) for _ in range(60))

    return {s: [a_text() for _ in range(per_source)] for s in ("web", "code", "wiki", "news")}


def characters(corpus):
    return sum(len(text) for texts in corpus.values() for text in texts)


def distinct(corpus):
    return {text for texts in corpus.values() for text in texts}


@pytest.mark.parametrize("mass", [0.0, 0.1, 0.4])
def test_the_share_of_copies_is_the_one_asked_for(mass):
    clean = pools(300)
    raw = training.with_duplicates(clean, mass, seed=0)
    copies = 1 - characters(clean) / characters(raw)
    # The last document of each kind may overshoot by its copies, 100 at most.
    assert mass <= copies + 1e-9 <= mass + (0.07 if mass else 0.0) + 1e-9
    assert distinct(raw) == distinct(clean)


def test_global_restores_every_text_once_and_local_leaves_one_per_source():
    clean = pools()
    raw = training.with_duplicates(clean, 0.4, seed=0)
    whole = training.deduplicated(raw, "global")
    inside = training.deduplicated(raw, "local")
    assert sorted(t for ts in whole.values() for t in ts) == sorted(distinct(clean))
    for source, texts in inside.items():
        assert len(texts) == len(set(texts))
        assert set(texts) == set(raw[source])
    assert characters(whole) < characters(inside) < characters(raw)


def test_the_arms_have_equal_budgets_and_the_mixtures_only_their_sources():
    corpora = training.corpora_of(pools(), seed=0)
    assert set(corpora) == {
        *("raw 0%", "raw 10%", "raw 40%", "global 40%", "local 40%"),
        *("web", "web + code"),
    }
    assert set(corpora["web"]) == {"web"}
    assert set(corpora["web + code"]) == {"web", "code"}
    encoder = Encoder(distinct(corpora["raw 0%"]))
    lengths = {len(training.drawn_tokens(c, encoder, seed=0)) for c in corpora.values()}
    assert lengths == {training.N_TOKENS}


def test_no_held_out_text_is_trained_on_even_as_a_near_copy():
    clean = pools(60)
    docs = [Document(f"{s}{i}", s, t) for s, ts in clean.items() for i, t in enumerate(ts)]
    docs += [Document(f"copy{i}", "web", doc.text.upper()) for i, doc in enumerate(docs[:20])]
    train, held = training.hold_out(docs)
    lower = {text.lower() for texts in train.values() for text in texts}
    assert not lower & {text.lower() for texts in held.values() for text in texts}
    assert all(len(texts) == 30 for texts in held.values())


def test_encoding_round_trips_and_closes_each_text():
    encoder = Encoder(["some plain words, and more of them"] * 3, vocabulary=300)
    ids = encoder.encode("plain words — ünïcödé")
    assert ids[-1] == 0
    assert encoder.decode(ids[:-1]) == "plain words — ünïcödé"
    assert max(ids) < 300


def test_the_model_does_not_see_the_token_it_predicts():
    import torch

    torch.manual_seed(0)
    model = SmallGPT(vocabulary=50, d_model=16, n_layers=2, n_heads=2)
    tokens = torch.randint(0, 50, (1, 20))
    changed = tokens.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 50
    before, after = model(tokens), model(changed)
    assert torch.allclose(before[:, :12], after[:, :12], atol=1e-6)
    assert not torch.allclose(before[:, 12:], after[:, 12:], atol=1e-6)


def test_training_repeats_itself():
    tokens = np.arange(3 * 512 + 1, dtype=np.int32) % 50
    arm = Arm("x", 3, tokens, {"same": tokens})
    assert train_and_evaluate(arm) == train_and_evaluate(arm)


def test_training_learns_a_pattern_and_not_noise():
    pattern = np.array([(i * 7) % 20 for i in range(40 * 512 + 1)], dtype=np.int32)
    noise = np.random.default_rng(0).integers(0, 20, 2_000).astype(np.int32)
    arm = Arm("x", 0, pattern, {"pattern": pattern[:1_000], "noise": noise})
    loss = train_and_evaluate(arm)
    assert loss["pattern"] < 0.5 < np.log(20) < loss["noise"]
    with pytest.raises(ValueError, match="less than one batch"):
        train_and_evaluate(Arm("x", 0, pattern[:100], {}))


def test_the_claims_follow_from_the_losses_by_hand(tmp_path):
    from pathlib import Path

    from paperround.papers import slimpajama_dc
    from paperround.runs.card import Scale, read_card
    from paperround.runs.reproduction import Run

    card = read_card(Path(slimpajama_dc.__file__).with_name("card.toml"))
    events = []
    run = Run(card, Scale.STANDARD, (0, 1, 2), tmp_path, events.append)
    base = {"raw 0%": 4.0, "raw 10%": 4.1, "raw 40%": 4.4, "local 40%": 4.3, "global 40%": 4.0}
    base |= {"web": 5.0, "web + code": 4.5}
    # Seeds shift every arm by 0, 0.1, 0.2: a standard deviation of 0.1.
    losses = {
        (name, seed): {"web": loss + seed / 10 - 0.2, "math": loss + seed / 10 + 0.2}
        for name, loss in base.items()
        for seed in (0, 1, 2)
    }
    training._report_scopes(run, losses)
    training._report_mixtures(run, losses)
    measured = {}
    for event in events:
        if event["kind"] == "measure":
            measured.setdefault(event["claim"], []).append(event["value"])
    assert measured["global-beats-raw"] == pytest.approx([4.0])
    assert measured["global-local-raw-order"] == pytest.approx([0.1])
    assert measured["diversity-wins"] == pytest.approx([0.5] * 3)
    assert measured["diversity-worst-source"] == pytest.approx([1.0] * 3)
    (chart,) = [event for event in events if event["kind"] == "series"]
    assert chart["lines"]["raw"] == [
        [0.0, pytest.approx(4.1)],
        [10, pytest.approx(4.2)],
        [40, pytest.approx(4.5)],
    ]
    assert chart["lines"]["global"] == [[0.0, pytest.approx(4.1)], [40.0, pytest.approx(4.1)]]
