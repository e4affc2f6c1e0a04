"""Every stage of both scales at a tiny size, and what the card, the text and the model promise."""

import lzma
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import paperround.catalogue
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
from paperround.papers.ditto.trials import CONTRASTIVE, DECODINGS, Base, Setting, run_all, run_arm
from paperround.runs.card import Scale, read_card
from paperround.runs.reproduction import Run

FOLDER = Path(room.__file__).parent
CATALOGUE = Path(paperround.catalogue.__file__).parent / "data"
TEXT = FOLDER / "data"
SIZE = TinyGptConfig(
    d_model=16, n_layers=2, n_heads=2, d_ffn=24, max_positions=1500, number_features=False
)
# Of the small GPT's training: as little as still is one.
LITTLE = {"vocabulary": 400, "config": SIZE, "characters": 40_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random model over a vocabulary learnt from the room's own text."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ditto") / "model"
    tokenizer = learn_vocabulary([read_wikitext(TEXT)[0][:60_000]], 400)
    save_tiny_gpt(build_tiny_gpt(tokenizer, SIZE, seed=0), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def short_text(tmp_path_factory):
    """A folder with the beginning of the room's text: arms read and tokenize it again and again."""
    folder = tmp_path_factory.mktemp("text")
    text = "".join(read_wikitext(TEXT))[:120_000]
    (folder / "wikitext2_valid.txt.xz").write_bytes(lzma.compress(text.encode()))
    return folder


def tiny(size):
    """The scale's own size with everything in it, but little of each."""

    def small(comparison):
        setting = comparison.setting
        setting = replace(
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
        return replace(comparison, setting=setting)

    return replace(
        size,
        sentences_per_seed=3,
        comparisons=tuple(small(comparison) for comparison in size.comparisons),
        base=size.base
        and replace(size.base, plan=PretrainingPlan(2_000, rows=2, context=64), **LITTLE),
    )


def events_of(scale, folder, text, tmp_path, monkeypatch):
    """The events of `reproduce` at a scale made tiny, in one process, on random models."""
    events = []
    run = Run(read_card(FOLDER / "card.toml"), scale, (0, 1, 2), tmp_path, events.append, 1)
    places = {
        "wikitext-2-valid": text,
        "smollm2-135m": folder,
        "arxiv-starter": CATALOGUE,
    }
    assert set(run.card.scales[scale].assets) <= set(places)
    monkeypatch.setattr(Run, "asset", lambda self, name: places[name])
    monkeypatch.setattr(reproduction, "load_language_model", load_tiny_gpt)
    make = reproduction.SIZES[scale]
    monkeypatch.setattr(reproduction, "SIZES", {scale: lambda run: tiny(make(run))})
    reproduction.reproduce(run)
    return run, events


@pytest.mark.parametrize("scale", [Scale.QUICK, Scale.STANDARD])
def test_every_claim_with_a_bar_is_measured_and_the_page_has_all_it_needs(
    scale, folder, short_text, tmp_path, monkeypatch
):
    run, events = events_of(scale, folder, short_text, tmp_path, monkeypatch)
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    barred = {claim.id for claim in run.card.claims if claim.bars[scale].not_measured is None}
    assert barred <= measured
    assert any(event["kind"] == "series" for event in events)
    assert any(event["kind"] == "sample" for event in events)
    tables = {event["title"]: event for event in events if event["kind"] == "table"}
    if scale is Scale.QUICK:
        assert len(tables["What SmolLM2-135M-Instruct writes as it is"]["rows"]) == 2
        return
    for model in ("a GPT of 1 M parameters", "SmolLM2-135M"):
        arms = [row[0] for row in tables[f"Fine-tuned in equal updates: {model}"]["rows"]]
        assert {"before fine-tuning", "MLE", "DITTO, λ 0.5"} <= set(arms)
        assert ("ScaleGrad, γ 0.5" in arms) == (model != "SmolLM2-135M")
        assert arms[0] == "before fine-tuning"
        ways = {(row[0], row[1]) for row in tables[f"What they write: {model}"]["rows"]}
        assert ("the text itself", "–") in ways
    assert "unlikelihood, tokens and sequences" in {
        row[0] for row in tables["What they write: a GPT of 1 M parameters"]["rows"]
    }
    remedies = {
        row[1]
        for row in tables["What they write: a GPT of 1 M parameters"]["rows"]
        if row[0] == "MLE"
    }
    assert remedies == {*DECODINGS, CONTRASTIVE}
    assert "Perplexity during the training: SmolLM2-135M" in tables


def test_the_full_scale_is_refused_with_where_to_read(tmp_path):
    from paperround.errors import UsageError

    run = Run(read_card(FOLDER / "card.toml"), Scale.FULL, (0,), tmp_path, lambda event: None)
    with pytest.raises(UsageError, match="README"):
        reproduction.reproduce(run)


def test_arms_see_the_same_windows_and_one_gives_the_same_again(folder):
    def losses(arm, seed):
        model, tokenizer = load_tiny_gpt(folder)
        ids = torch.tensor(tokenizer(read_wikitext(TEXT)[0][:20_000])["input_ids"])
        # Long enough for sentences of a vocabulary this small.
        plan = FineTuning(updates=6, rows=3, context=240)
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
        {
            line
            for line in part.splitlines()
            # Rare words of a title are unknown, so two may look alike.
            if line.startswith(" = ") and line[3] != "=" and "<unk>" not in line
        }
        for part in (train, test)
    ]
    assert titles[0]
    assert titles[1]
    assert not titles[0] & titles[1]


def test_the_arms_run_in_processes_of_their_own_and_wait_for_their_base(
    folder, short_text, tmp_path
):
    setting = Setting(
        name="small",
        folder=tmp_path / "base",
        text_folder=short_text,
        plan=FineTuning(1, rows=2, context=32),
        last_layers=None,
        n_sentences=2,
        n_copies=9,
        longest_sentence=12,
        n_prefixes=2,
        prefix_tokens=4,
        new_tokens=50,
        fit_tokens=80,
    )
    other = replace(setting, name="smollm2", folder=folder)
    base = Base(setting.folder, short_text, CATALOGUE, PretrainingPlan(600, 2, 32), **LITTLE)
    jobs = [(setting, MLE, 0, ("greedy",)), (other, DITTO, 1, ("greedy",))]
    found = dict(run_all(jobs, 2, base))
    assert found[jobs[0]].arm == "MLE"
    assert (found[jobs[1]].arm, found[jobs[1]].seed) == (DITTO.name, 1)
    assert found[jobs[1]].fit == run_arm(*jobs[1]).fit


def test_a_short_training_of_the_small_gpt_learns():
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
    with pytest.raises(AttributeError, match="attribute loop"):
        _ = room.loop


def test_the_cards_example_runs(capsys):
    exec(read_card(FOLDER / "card.toml").use, {})
    assert "tensor" in capsys.readouterr().out
