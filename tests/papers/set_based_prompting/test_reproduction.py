"""Every stage of the standard scale at a tiny size, with a random model; the room's lazy door."""

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import paperround.papers.set_based_prompting as room
from paperround.errors import UsageError
from paperround.papers.set_based_prompting import lookup, reproduction, set_inputs
from paperround.papers.set_based_prompting.encoding import encode_set_prompt
from paperround.papers.set_based_prompting.questions import draw_boxes, read_questions
from paperround.papers.set_based_prompting.trials import (
    Condition,
    Trial,
    every_rotation,
    given_and_reversed,
)
from paperround.runs.card import Scale, read_card
from paperround.runs.reproduction import Run

FOLDER = Path(room.__file__).parent
CARD = read_card(FOLDER / "card.toml")
TINY = reproduction.Plan(
    n_csqa=3,
    n_mmlu=3,
    n_boxes=3,
    n_official=3,
    every_condition=True,
    lookup=lookup.LookupPlan(steps=3, batch_size=4, warmup_steps=1),
    further_steps=2,
    n_lookups=8,
    n_lookup_orders=3,
    least_accuracy=0.0,
)


def a_model(vocabulary):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, initializer_range=0.2, bos_token_id=None, eos_token_id=None,
        pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def events_of(bpe, tmp_path, monkeypatch):
    """Runs a plan with a random model in the place of SmolLM2, and gives what it reported."""
    monkeypatch.setattr(
        reproduction,
        "load_language_model",
        lambda folder, dtype=torch.float32: (a_model(len(bpe)).to(dtype), bpe),
    )
    monkeypatch.setattr(
        Run, "asset", lambda self, name: FOLDER / "data" if "questions" in name else tmp_path
    )

    def run(scale, plan):
        events = []
        torch_threads = torch.get_num_threads()
        try:
            reproduction.measure_at(Run(CARD, scale, (0, 1), tmp_path, events.append), plan)
        finally:
            torch.set_num_threads(torch_threads)
        return events

    return run


def test_every_stage_of_the_standard_scale_runs_and_measures_its_claims(events_of):
    events = events_of(Scale.STANDARD, TINY)
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    with_a_bar = {
        claim.id for claim in CARD.claims if claim.bars[Scale.STANDARD].not_measured is None
    }
    assert measured == with_a_bar
    values = {
        claim: [e["value"] for e in events if e["kind"] == "measure" and e["claim"] == claim]
        for claim in measured
    }
    # What holds by construction holds for a random model too.
    assert max(values["order-independence"]) < 1e-3
    assert values["no-flips"] == [0, 0]
    assert values["flips-of-sets"] == [0]
    assert min(values["mask-alone"] + values["positions-alone"]) > 10
    assert len(values["lookup-zero-shot"]) == 2
    # Every stage's progress reaches the number that it promised.
    totals = {e["stage"]: e["total"] for e in events if e["kind"] == "stage" and e["total"]}
    reached = {e["stage"]: e["done"] for e in events if e["kind"] == "progress"}
    assert reached == totals


def test_a_lookup_model_that_learned_nothing_is_measured_nowhere(events_of):
    events = events_of(Scale.STANDARD, replace(TINY, least_accuracy=0.9))
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    assert not {"lookup-zero-shot", "lookup-fine-tuned"} & measured
    notes = [event["text"] for event in events if event["kind"] == "note"]
    assert sum("has not learned its task" in text for text in notes) == 2


def test_the_quick_scale_has_tables_charts_and_samples(events_of):
    plan = reproduction.PLANS[Scale.QUICK]
    small = replace(plan, n_csqa=2)
    events = events_of(Scale.QUICK, small)
    kinds = [event["kind"] for event in events]
    assert {"table", "series", "sample", "note"} <= set(kinds)
    measured = {event["claim"] for event in events if event["kind"] == "measure"}
    needed = {claim.id for claim in CARD.claims if claim.bars[Scale.QUICK].not_measured is None}
    assert needed <= measured


def test_the_full_scale_says_that_it_is_a_configuration(tmp_path):
    with pytest.raises(UsageError, match="nobody has run"):
        reproduction.reproduce(Run(CARD, Scale.FULL, (0,), tmp_path, lambda event: None))


def a_trial():
    """Three options; order 0 is the given one, 1 the reversed; two questions, both answered 0."""
    answers = torch.tensor([0, 0])
    by_order = [torch.tensor([[3.0, 2, 1], [1, 2, 3]]), torch.tensor([[1.0, 2, 3], [3, 1, 2]])]
    questions = read_questions(FOLDER / "data", "csqa")[:2]
    questions = [type(q)(q.dataset, q.subject, q.text, q.options[:3], 0) for q in questions]
    set_based = Condition([by_order[0], by_order[0]], answers)
    conditions = {"plain": Condition(by_order, answers), "set-based": set_based}
    return Trial("two", questions, given_and_reversed(3), conditions)


def test_a_trial_counts_accuracies_flips_places_and_ensembles():
    trial = a_trial()
    assert trial.plain.accuracies == [0.5, 0.5]
    assert trial.reversed_order == 1
    assert trial.default_and_reversed == 0.5
    # The first question changes from 0 to 2, the second from 2 to 0.
    assert trial.plain.flips(0, 1) == 1
    assert trial.set_based.flips(0, 1) == 0
    # The right option stands first in the given order and last in the reversed one.
    assert trial.accuracy_by_place() == [(1, 0.5), (3, 0.5)]
    assert trial.ensemble("average", [0, 1]).tolist() == [[2, 2, 2], [2, 1.5, 2.5]]
    assert trial.ensemble("vote", [0, 1])[1].argmax() == 2


def test_rotations_and_their_reverse_put_every_option_at_every_place_twice():
    orders = every_rotation(5)
    assert len(set(orders)) == 10
    assert orders[0] == (0, 1, 2, 3, 4)
    for place in range(5):
        assert sorted(order[place] for order in orders) == sorted([*range(5), *range(5)])


def test_the_shipped_questions_are_whole():
    csqa, mmlu = (read_questions(FOLDER / "data", name) for name in ("csqa", "mmlu"))
    assert (len(csqa), len(mmlu)) == (300, 200)
    assert len({q.subject for q in mmlu}) > 40
    for q in [*csqa, *mmlu]:
        assert len(set(q.options)) == len(q.options) == (5 if q.dataset == "csqa" else 4)
        assert q.prompt.text.endswith("\nAnswer:")
        assert [c.strip() for c in q.continuations] == list(q.options)
    first = csqa[0]
    assert first.official_prompt.marked() == (
        "The sanctions against the school were a punishing blow, and they seemed to what the "
        "efforts the school had made to change?\n<|start_2d|>\n- ignore<|split_2d|>\n- enforce"
        "<|split_2d|>\n- authoritarian<|split_2d|>\n- yell at<|split_2d|>\n- avoid<|end_2d|> "
        "Answer: "
    )
    assert first.options[first.answer] == "ignore"


def test_fewer_options_keep_the_right_one():
    for question in read_questions(FOLDER / "data", "csqa")[:20]:
        fewer = question.with_options(4)
        assert len(fewer.options) == 4
        assert fewer.options[fewer.answer] == question.options[question.answer]


def test_boxes_ask_for_a_thing_that_is_in_the_prompt():
    boxes = draw_boxes(20, seed=1)
    assert boxes == draw_boxes(20, seed=1)
    for box in boxes:
        colour = box.asked.split(" box")[0].rpartition(" ")[2]
        assert box.facts[box.answer] == f" The {colour} box contains a {box.options[box.answer]}."
        assert box.prompt.text.endswith("Answer: a")
    assert len({box.answer for box in boxes}) == 4


def test_importing_the_room_imports_no_torch():
    program = (
        "import sys, paperround.papers.set_based_prompting as room;"
        "assert 'torch' not in sys.modules; print(len(dir(room)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_card_names_what_the_room_exports_and_its_example_runs(capsys):
    assert set(CARD.names) <= set(room.__all__)
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError, match="attribute set_prompt"):
        _ = room.set_prompt
    exec(compile(CARD.use, "card.toml", "exec"), {})
    texts, by_sets, by_order = capsys.readouterr().out.splitlines()
    assert len(texts) > 2
    assert float(by_sets) < 1e-5 < float(by_order)


@pytest.mark.parametrize("seed", range(3))
def test_set_inputs_train_a_model_as_any_other_inputs(seed):
    # The gradient of a batch is that of its prompts one by one.
    model, tokenizer = lookup.untrained_model(seed)
    prompts = [x.prompt for x in lookup.draw_lookups(3, random.Random(seed))]
    encodings = [encode_set_prompt(tokenizer, prompt) for prompt in prompts]

    def gradient(losses):
        model.zero_grad()
        sum(losses).backward()
        return model.get_input_embeddings().weight.grad.clone()

    together = gradient(model(**set_inputs(model, encodings)).logits[:, -1, 5])
    alone = gradient([model(**set_inputs(model, e)).logits[0, -1, 5] for e in encodings])
    assert torch.allclose(together, alone, atol=1e-5)
