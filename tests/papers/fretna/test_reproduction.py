"""Every stage of both scales at a tiny size, and what the card and the toy language promise."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import paperround.papers.fretna as room
from paperround.errors import UsageError
from paperround.kit.translation import TrainingPlan, TranslatorSize
from paperround.papers.fretna import reproduction
from paperround.papers.fretna.comparison import BIASED, FRETNA, ORDER, RETA, WAIT_3
from paperround.papers.fretna.toy import toy_pairs
from paperround.papers.fretna.trials import Job, distil_all, read_pairs, run_all, run_job, teach
from paperround.runs.card import Scale, read_card
from paperround.runs.reproduction import Run

FOLDER = Path(room.__file__).parent


def tiny(size):
    """The size with everything in it, but little of each."""
    return replace(
        size,
        model=TranslatorSize(16, 1, 1, 2, 16, 0.0),
        vocabulary=80,
        teacher=replace(size.teacher, steps=12, batch_tokens=300),
        further=replace(size.further, steps=3, batch_tokens=300),
        n_distilled=24,
        n_timed=2,
    )


def events_of(scale, tmp_path, monkeypatch, threads=1, least_bleu=0.0):
    """The events of `reproduce` at a scale made tiny, on sentences of the toy language."""
    torch.set_num_threads(1)
    monkeypatch.setattr(reproduction, "LEAST_BLEU", least_bleu)
    events = []
    run = Run(read_card(FOLDER / "card.toml"), scale, (0, 1, 2), tmp_path, events.append, threads)
    size, _ = reproduction.SCALES[scale]
    test = [pair for pair in toy_pairs(60, 9) if len(pair.source.split()) >= 8][:8]
    monkeypatch.setattr(
        reproduction, "SCALES", {scale: (tiny(size), lambda run: (toy_pairs(60, 0), test))}
    )
    reproduction.reproduce(run)
    return run, events


@pytest.mark.parametrize("scale", [Scale.QUICK, Scale.STANDARD])
def test_every_claim_with_a_bar_is_measured_and_the_page_has_all_it_needs(
    scale, tmp_path, monkeypatch
):
    run, events = events_of(scale, tmp_path, monkeypatch)
    measured = {(event["claim"], event["seed"]) for event in events if event["kind"] == "measure"}
    barred = {claim.id for claim in run.card.claims if claim.bars[scale].not_measured is None}
    assert {(claim, seed) for claim in barred for seed in run.seeds} <= measured
    tables = {event["title"]: event for event in events if event["kind"] == "table"}
    title = reproduction.SCALES[scale][0].title
    arms = tables[f"Re-translation side by side: {title}"]["rows"]
    assert [row[0] for row in arms] == [way.name for way in ORDER]
    assert {row[0]: row[1] for row in arms}[FRETNA.name] == 3
    by_name = {row[0]: row for row in arms}
    # Times are there for the ways that were timed, and for no other.
    assert by_name[FRETNA.name][-1] > 0
    assert by_name[RETA.name][-1] > 0
    assert by_name[BIASED.name][-1] is None
    # Wait-k takes nothing back, and its hidden twin says at the end what re-translation says.
    assert by_name[WAIT_3.name][5] == by_name[WAIT_3.name][6] == 0
    assert len({tuple(row[2:4]) for row in arms[:3]}) == 1
    charts = [event for event in events if event["kind"] == "series"]
    assert len(charts) == 2
    assert all(line for event in charts for line in event["lines"].values())
    samples = [event for event in events if event["kind"] == "sample"]
    assert samples


def test_nothing_is_compared_with_a_translator_that_has_not_learnt(tmp_path, monkeypatch):
    _, events = events_of(Scale.STANDARD, tmp_path, monkeypatch, least_bleu=10.0)
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    assert not {"quality", "wait-k-quality", "append-bias-quality"} & measured
    assert {"passes", "length", "steadiness"} <= measured
    notes = [event["text"] for event in events if event["kind"] == "note"]
    assert sum("the baseline has BLEU" in text for text in notes) == 9


def test_arms_in_processes_of_their_own_give_what_one_process_gives(tmp_path):
    torch.set_num_threads(1)
    run = Run(read_card(FOLDER / "card.toml"), Scale.STANDARD, (0,), tmp_path, lambda event: None)
    size = tiny(reproduction.STANDARD)
    teaching = reproduction.prepare(run, size, toy_pairs(60, 0), toy_pairs(3, 9))
    folder = teaching.folder
    teach(teaching)
    distil_all(teaching, 1)
    jobs = [
        Job(folder, "ar", 0, TrainingPlan(steps=2, batch_tokens=200), (RETA,)),
        Job(folder, "levt", 1, TrainingPlan(steps=2, batch_tokens=200), (FRETNA,)),
    ]
    alone = [run_job(job) for job in jobs]
    found = dict(run_all(jobs, 2))
    assert [found[job] for job in jobs] == alone
    assert len(read_pairs(folder, "distilled")) <= 24


def test_the_full_scale_is_refused_with_where_to_read(tmp_path):
    run = Run(read_card(FOLDER / "card.toml"), Scale.FULL, (0,), tmp_path, lambda event: None)
    with pytest.raises(UsageError, match=r"full\.toml"):
        reproduction.reproduce(run)
    assert (FOLDER / "full.toml").is_file()


def test_a_toy_translation_is_the_only_one_and_tests_are_not_trained_on():
    train = toy_pairs(500, 0)
    assert len({pair.source for pair in train}) == 500
    assert train == toy_pairs(500, 0)
    known = dict(train)
    for pair in toy_pairs(500, 1):
        assert known.get(pair.source, pair.target) == pair.target
    seen = frozenset(known)
    assert not seen & {pair.source for pair in toy_pairs(100, 0, without=seen)}


def test_a_toy_verb_waits_for_its_object_and_articles_follow_their_noun():
    pairs = toy_pairs(300, 2, most_clauses=1)
    # By word, its translation; by translated noun, its article.
    told = {}
    for source, target in pairs:
        _, subject, verb, _, thing, _ = source.split()
        first, told_subject, second, told_thing, told_verb, _ = target.split()
        assert told.setdefault(told_subject, first) == first
        assert told.setdefault(told_thing, second) == second
        assert told.setdefault(verb, told_verb) == told_verb
        assert told.setdefault(subject, told_subject) == told_subject
        assert told.setdefault(thing, told_thing) == told_thing
    assert all(source.endswith(" .") and target.endswith(" .") for source, target in pairs)
    assert {len(pair.source.split()) for pair in toy_pairs(50, 3)} == {6, 12}


def test_every_public_name_can_be_had_and_no_other():
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    assert set(room.__all__) <= set(dir(room))
    assert set(read_card(FOLDER / "card.toml").names) <= set(room.__all__)
    with pytest.raises(AttributeError, match="attribute interpret"):
        _ = room.interpret


def test_the_cards_example_runs(capsys):
    torch.set_num_threads(1)
    exec(read_card(FOLDER / "card.toml").use, {})
    assert len(capsys.readouterr().out.splitlines()) == 3
