"""Parts C and D of the reproduction: every stage of both scales, on models made tiny."""

import gzip
import math
from pathlib import Path

import pytest
import torch

from paperround.kit.translation import TrainingPlan, TranslatorSize
from paperround.papers import making_the_most
from paperround.papers.making_the_most import part_c, part_d
from paperround.papers.making_the_most.masked_lm import (
    MaskedLMPlan,
    MaskedLMSize,
    build_masked_lm,
    mask_words,
    train_masked_lm,
)
from paperround.papers.making_the_most.prefix_classifier import FitPlan
from paperround.papers.making_the_most.sundae_training import SundaePlan
from paperround.papers.making_the_most.translation_task import (
    TaskSize,
    invented_task,
    multi30k_task,
    train_autoregressive,
)
from paperround.runs.card import Scale, read_card
from paperround.runs.reproduction import Run

FOLDER = Path(making_the_most.__file__).parent
# The claims of parts C and D, as the card orders them.
CLAIMS = {
    "masked-model-kept", "pretrained-loss-invented", "pretrained-loss", "pretrained-chrf",
    "more-steps", "exact-mode", "conditional-mode", "noise-is-the-mode", "likelier-at-a-length",
    "attribute-kept", "conditional-modes-better", "empty-modes",
}  # fmt: skip
TINY_MODEL = MaskedLMSize(d_model=16, n_layers=1, n_heads=2, d_ffn=16, max_positions=40)
TINY_C = part_c.Size(
    model=TINY_MODEL,
    masked_lm=MaskedLMPlan(steps=3, batch_size=8),
    sundae=SundaePlan(steps=3, batch_size=8),
    decoding_steps=(1, 10),
    temperature=0.1,
    n_lengths=2,
    with_encoder_only=True,
)
TINY_SEARCH = part_d.SearchSize(
    n_modes=3, node_limit=500, n_short=2, short_node_limit=5_000, n_beam=2, ratios=(0.6, 1.0),
    num_beams=2, n_sources=4, n_samples=2, n_classes=4, fit=FitPlan(steps=2),
)  # fmt: skip


@pytest.fixture(scope="module")
def task():
    return invented_task(n_train=60, n_validation=6, n_test=12)


def a_run(scale, tmp_path, events):
    return Run(read_card(FOLDER / "card.toml"), scale, (0, 1, 2), tmp_path, events.append, 1)


def decided(translator):
    """Makes it sure of what it says, or the exact search would see every text there is."""
    bias = 4 * torch.randn(
        translator.final_logits_bias.shape, generator=torch.Generator().manual_seed(0)
    )
    bias[0, translator.config.eos_token_id] = bias.max()
    translator.final_logits_bias.copy_(bias)


@pytest.mark.parametrize("scale", [Scale.QUICK, Scale.STANDARD])
def test_every_claim_with_a_bar_is_measured(scale, task, tmp_path, monkeypatch):
    events = []
    run = a_run(scale, tmp_path, events)
    monkeypatch.setattr(part_c, "SIZES", {scale: TINY_C})
    monkeypatch.setattr(part_d, "N_CHOICES", 12)
    monkeypatch.setattr(part_d, "NOISE", 1e-3)
    translator, search = None, None
    if scale is Scale.STANDARD:
        size = TaskSize(
            n_pieces=100, longest=20, n_validation=6, n_test=12,
            translator=TranslatorSize(16, 1, 1, 2, 16, max_positions=64),
            training=TrainingPlan(steps=2, batch_tokens=100),
        )  # fmt: skip
        translator, search = train_autoregressive(run, task, size, 0), TINY_SEARCH
        decided(translator)
    monkeypatch.setattr(part_d, "SIZES", {scale: part_d.Size(1, 1, search)})
    part_c.measure_c(run, task, translator)
    part_d.measure_d(run, task, translator)
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    barred = {claim.id for claim in run.card.claims if claim.bars[scale].not_measured is None}
    assert barred & CLAIMS <= measured <= CLAIMS
    values = {event["claim"]: event["value"] for event in events if event["kind"] == "measure"}
    for sure in ("exact-mode", "conditional-mode", "noise-is-the-mode"):
        assert values[sure] == 1.0
    assert values["attribute-kept"] == 0.0
    assert any(event["kind"] == "sample" for event in events)
    tables = [event["title"] for event in events if event["kind"] == "table"]
    assert len(tables) == (2 if scale is Scale.QUICK else 5)


def test_the_invented_languages_are_a_seeds_own_and_their_parts_share_nothing(task):
    again = invented_task(n_train=60, n_validation=6, n_test=12)
    assert (again.train, again.test) == (task.train, task.test)
    assert invented_task(60, 6, 12, seed=1).train != task.train
    parts = [{pair.source for pair in part} for part in (task.train, task.validation, task.test)]
    assert [len(part) for part in parts] == [60, 6, 12]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    for pair in task.train:
        assert len(pair.source.split()) == len(pair.target.split())
        source, target = task.ids([pair])[0]
        assert (task.text(source), task.text(target)) == pair
        assert not set(source) & task.special.all


def test_masks_hide_only_words_and_mostly_behind_the_mask(task):
    special, mask = task.special, task.tokenizer.mask_token_id
    ids = torch.tensor([[special.bos, *[40] * 50, special.eos, special.pad]] * 200)
    words = ids == 40
    hidden, guessed = mask_words(
        ids, words, special, mask, len(task.tokenizer), torch.Generator().manual_seed(0)
    )
    assert torch.equal(hidden[~guessed], ids[~guessed])
    assert not (guessed & ~words).any()
    assert float(guessed[words].float().mean()) == pytest.approx(0.15, abs=0.02)
    assert float((hidden[guessed] == mask).float().mean()) == pytest.approx(0.8, abs=0.05)
    # A tenth stands as it is, and now and then a random word is the same.
    assert float((hidden[guessed] == 40).float().mean()) == pytest.approx(0.1, abs=0.04)
    # However short the text, something is asked.
    one = torch.tensor([[special.bos, 40, special.eos]])
    for seed in range(20):
        _, asked = mask_words(
            one, one == 40, special, mask, 60, torch.Generator().manual_seed(seed)
        )
        assert asked.tolist() == [[False, True, False]]


def test_a_masked_language_model_learns_and_is_the_seeds_own(task):
    # Of all words there are, these texts have eight.
    texts = [[word] * 6 for word in range(40, 48)]

    def course(seed, steps):
        model = build_masked_lm(len(task.tokenizer), task.special, TINY_MODEL, seed=seed)
        plan = MaskedLMPlan(steps, batch_size=16, learning_rate=1e-2)
        return train_masked_lm(
            model, texts, task.special, task.tokenizer.mask_token_id, plan, seed=seed
        )

    assert course(0, 3) == course(0, 3) != course(1, 3)
    losses = course(0, 40)
    assert losses[0] > 0.9 * math.log(len(task.tokenizer))
    assert sum(losses[-10:]) / 10 < 1.15 * math.log(8)


def test_the_scales_have_their_sizes():
    assert part_d.SIZES[Scale.QUICK].search is None
    for scale in (Scale.QUICK, Scale.STANDARD):
        # The claim on steps is about one step and ten.
        assert {1, part_c.MOST_STEPS} <= set(part_c.SIZES[scale].decoding_steps)


def test_multi30k_is_read_short_and_from_german(tmp_path):
    folder = tmp_path
    lines = {
        "de": ["Ein Mann schläft.", "Zwei Hunde laufen " + "schnell " * 30, "Eine Frau lacht."],
        "en": ["A man sleeps.", "Two dogs run " + "fast " * 30, "A woman laughs."],
    }
    for file in ("train", "val", "test_2016_flickr"):
        for language, texts in lines.items():
            path = folder / f"{file}.{language}.gz"
            path.write_bytes(gzip.compress("\n".join(texts).encode()))
    size = TaskSize(
        n_pieces=90, longest=20, n_validation=1, n_test=2, translator=TranslatorSize(),
        training=TrainingPlan(steps=1),
    )  # fmt: skip
    task = multi30k_task(folder, size)
    assert [len(part) for part in (task.train, task.validation, task.test)] == [2, 1, 2]
    assert task.train[0] == ("ein mann schläft.", "a man sleeps.")
    for source, target in task.ids(task.train):
        assert max(len(source), len(target)) <= 20
