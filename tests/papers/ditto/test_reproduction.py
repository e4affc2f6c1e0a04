"""Every stage of both scales at a tiny size, and what the card, the text and the model promise."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import paperround.papers.ditto as room
from paperround.kit.tiny_gpt import TinyGptConfig, build_tiny_gpt, load_tiny_gpt, save_tiny_gpt
from paperround.papers.ditto import reproduction
from paperround.papers.ditto.fine_tuning import (
    DITTO,
    MLE,
    Arm,
    FineTuning,
    fine_tune,
    train_last_layers,
)
from paperround.papers.ditto.method import end_token_ids
from paperround.papers.ditto.small_lm import (
    PretrainingPlan,
    learn_vocabulary,
    pretrain,
    train_small_lm,
)
from paperround.papers.ditto.texts import read_wikitext
from paperround.papers.ditto.trials import run_arm
from paperround.runs.card import Scale, read_card
from paperround.runs.reproduction import Run

FOLDER = Path(room.__file__).parent
TEXT = FOLDER / "data"
SIZE = TinyGptConfig(
    d_model=16, n_layers=2, n_heads=2, d_ffn=24, max_positions=700, number_features=False
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random model over a vocabulary learnt from the room's own text."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ditto") / "model"
    tokenizer = learn_vocabulary([read_wikitext(TEXT)[0][:60_000]], 400)
    save_tiny_gpt(build_tiny_gpt(tokenizer, SIZE, seed=0), tokenizer, folder)
    return folder


def tiny(size):
    """The scale's own size with everything in it, but little of each."""

    def small(setting):
        return replace(
            setting,
            plan=replace(setting.plan, updates=4, rows=4, context=96),
            n_sentences=4,
            n_copies=9,
            n_prefixes=3,
            prefix_tokens=8,
            new_tokens=50,
            fit_tokens=400,
            looks=(2,) if setting.looks else (),
            last_layers=setting.last_layers and 1,
        )

    return replace(
        size,
        sentences_per_seed=3,
        small=small(size.small),
        large=size.large and small(size.large),
    )


def events_of(scale, folder, tmp_path, monkeypatch):
    """The events of `reproduce` at a scale made tiny, in this process, on the random model."""
    events = []
    run = Run(read_card(FOLDER / "card.toml"), scale, (0, 1, 2), tmp_path, events.append, 1)
    places = {"wikitext-2-valid": TEXT, "ditto-small-lm": folder, "smollm2-135m": folder}
    assert set(places) == set(run.card.scales[scale].assets)
    monkeypatch.setattr(Run, "asset", lambda self, name: places[name])
    monkeypatch.setattr(reproduction, "load_language_model", load_tiny_gpt)
    monkeypatch.setattr(
        reproduction, "run_all", lambda jobs, processes: ((job, run_arm(*job)) for job in jobs)
    )
    make = reproduction.SIZES[scale]
    monkeypatch.setattr(reproduction, "SIZES", {scale: lambda *where: tiny(make(*where))})
    reproduction.reproduce(run)
    return run, events


@pytest.mark.parametrize("scale", [Scale.QUICK, Scale.STANDARD])
def test_every_claim_with_a_bar_is_measured_and_the_page_has_all_it_needs(
    scale, folder, tmp_path, monkeypatch
):
    run, events = events_of(scale, folder, tmp_path, monkeypatch)
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    barred = {claim.id for claim in run.card.claims if claim.bars[scale].not_measured is None}
    assert barred <= measured
    tables = [event for event in events if event["kind"] == "table"]
    written = next(event for event in tables if event["title"].startswith("What they write"))
    ways = {(row[0], row[1]) for row in written["rows"]}
    remedies = {("MLE", "repetition penalty 1.2"), ("MLE", "no 4-gram twice")}
    assert remedies <= ways
    assert ("the text itself", "–") in ways
    assert any(event["kind"] == "series" for event in events)
    assert any(event["kind"] == "sample" for event in events)
    if scale is Scale.STANDARD:
        assert ("MLE", "contrastive search") in ways
        arms = next(event for event in tables if event["title"].startswith("Fine-tuned in equal"))
        names = [row[0] for row in arms["rows"]]
        assert "ScaleGrad, γ 0.5" in names
        assert "unlikelihood, tokens and sequences" in names
        assert any(event["title"].startswith("Perplexity during") for event in tables)


def test_the_full_scale_is_refused_with_where_to_read(tmp_path):
    from paperround.errors import UsageError

    run = Run(read_card(FOLDER / "card.toml"), Scale.FULL, (0,), tmp_path, lambda event: None)
    with pytest.raises(UsageError, match="README"):
        reproduction.reproduce(run)


def test_arms_see_the_same_windows_and_one_gives_the_same_again(folder):
    def losses(arm, seed):
        model, tokenizer = load_tiny_gpt(folder)
        ids = torch.tensor(tokenizer(read_wikitext(TEXT)[0][:20_000])["input_ids"])
        plan = FineTuning(updates=6, rows=2, context=48)
        return fine_tune(model, ids, arm, plan, end_token_ids(tokenizer), seed=seed)

    mle, ditto = losses(MLE, 0), losses(DITTO, 0)
    assert losses(DITTO, 0) == ditto
    # Until the first update on repetitions both arms have done the same.
    first = next(i for i, (a, b) in enumerate(zip(mle.losses, ditto.losses, strict=True)) if a != b)
    assert mle.losses[:first] == ditto.losses[:first]
    assert 0 < ditto.ditto_updates < 6
    assert losses(Arm("never", "ditto", rate=0.0), 0).losses == mle.losses


@pytest.mark.parametrize("objective", ["mle", "ditto", "ul-token", "ul-token-seq", "scale-grad"])
def test_only_the_last_layers_learn_where_only_they_may(folder, objective):
    model, tokenizer = load_tiny_gpt(folder)
    ids = torch.tensor(tokenizer(read_wikitext(TEXT)[0][:20_000])["input_ids"])
    train_last_layers(model, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plan = FineTuning(updates=3, rows=2, context=48)
    fine_tune(model, ids, Arm("", objective, rate=0.9), plan, end_token_ids(tokenizer), seed=0)
    changed = {n for n, value in model.state_dict().items() if not torch.equal(before[n], value)}
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)


def test_no_article_is_in_both_parts_of_the_text():
    train, test = read_wikitext(TEXT)
    assert test.startswith(" = ")
    assert 0.68 < len(train) / (len(train) + len(test)) < 0.75
    titles = [
        {line for line in part.splitlines() if line.startswith(" = ") and line[3] != "="}
        for part in (train, test)
    ]
    assert titles[0]
    assert titles[1]
    assert not titles[0] & titles[1]


def test_a_tenth_of_the_shipped_models_training_lowers_the_loss_the_same_way():
    torch.set_num_threads(1)
    text = read_wikitext(TEXT)[0][:200_000]
    plan = PretrainingPlan(token_budget=60_000, rows=4, context=128)
    model, tokenizer, losses = train_small_lm([text], plan)
    assert sum(losses[-10:]) / 10 < losses[0] - 1.5
    assert len(losses) == plan.steps
    with pytest.raises(ValueError, match="less than a window"):
        pretrain(model, torch.arange(50), plan, seed=0)
    assert tokenizer.decode(tokenizer("It rains .")["input_ids"]) == "It rains ."


def test_importing_the_room_imports_no_torch():
    program = (
        "import sys, paperround.papers.ditto as room;"
        "assert 'torch' not in sys.modules; print(len(dir(room)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_had_and_no_other():
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'loop'"):
        _ = room.loop


def test_the_cards_example_runs(capsys):
    exec(read_card(FOLDER / "card.toml").use, {})
    assert "tensor" in capsys.readouterr().out
