"""Prompts say what they should and nothing of held-out events; answers are kept and found again."""

import json

import pytest

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.item_text import ItemText
from paperround.kit.recommendation.splits import leave_one_out
from paperround.papers.sra_cl import (
    describe,
    describe_items,
    describe_users,
    item_prompts,
    user_prompts,
)

LOG = build_log(
    ["ann"] * 4 + ["bob"] * 3 + ["cy"], ["tea", "cup", "pot", "mat", "pot", "cup", "pan", "rug"]
)
TEXT = ItemText({item: f"The {item}" for item in ("tea", "cup", "pot", "mat", "pan")})


def test_a_users_prompt_has_their_titles_in_order():
    ann, bob, cy = user_prompts(LOG, TEXT, template="<{products}>")
    assert ann == "<1. The tea\n2. The cup\n3. The pot\n4. The mat>"
    assert bob == "<1. The pot\n2. The cup\n3. The pan>"
    # Nothing is known of a rug.
    assert cy == ""
    assert user_prompts(LOG, TEXT, template="{products}", newest=1)[0] == "1. The mat"


def test_an_items_prompt_has_who_took_it_with_what():
    prompts = item_prompts(LOG, TEXT, template="{product}\n{contexts}", around=1)
    assert prompts[0] == ""
    assert prompts[2] == (
        "The cup\n"
        "Somebody who chose it chose, oldest first: The tea; The cup; The pot\n"
        "Somebody who chose it chose, oldest first: The pot; The cup; The pan\n"
    )
    assert prompts[list(LOG.item_ids).index("rug") + 1] == ""


def test_an_items_prompt_names_no_more_users_than_asked_for():
    many = build_log([f"u{n}" for n in range(20) for _ in range(2)], ["pot", "cup"] * 20)
    prompt = item_prompts(many, TEXT, contexts=3)[1]
    assert prompt.count("Somebody") == 3


def test_held_out_events_are_in_no_prompt():
    held_out = build_log(
        ["ann"] * 4 + ["bob"] * 4,
        ["tea", "cup", "SECRET A", "SECRET B", "cup", "tea", "SECRET C", "SECRET A"],
    )
    text = ItemText({item: str(item) for item in held_out.item_ids})
    train = leave_one_out(held_out).train
    said = "".join(user_prompts(train, text))
    assert "SECRET" not in said
    assert "tea" in said
    for item, prompt in zip(held_out.item_ids, item_prompts(train, text)[1:], strict=True):
        assert prompt.count("SECRET") == str(item).count("SECRET")


def test_every_prompt_is_asked_once_and_an_empty_one_never():
    asked = []

    def llm(prompt):
        asked.append(prompt)
        return prompt.upper()

    assert describe(["a", "", "b", "a"], llm, model="echo") == ["A", "", "B", "A"]
    assert asked == ["a", "b"]


def test_stored_answers_are_used_again_for_the_same_model_and_temperature(tmp_path):
    store = tmp_path / "answers.jsonl"
    describe(["a", "b"], str.upper, model="echo", store=store)

    def never(prompt):
        raise AssertionError(prompt)

    assert describe(["b", "a"], never, model="echo", store=store) == ["B", "A"]
    assert describe(["a"], str.title, model="other", store=store) == ["A"]
    assert describe(["a"], lambda _: "hot", model="echo", temperature=1.0, store=store) == ["hot"]
    first = json.loads(store.read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        # SHA-256 of "a".
        "prompt_sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "model": "echo",
        "temperature": 0.0,
        "answer": "A",
    }


def test_a_run_that_broke_off_goes_on_where_it_was(tmp_path):
    store = tmp_path / "answers.jsonl"
    describe(["a", "b"], str.upper, model="echo", store=store)
    whole = store.read_bytes()
    store.write_bytes(whole[:-20])
    asked = []

    def llm(prompt):
        asked.append(prompt)
        return prompt.upper()

    assert describe(["a", "b"], llm, model="echo", store=store) == ["A", "B"]
    assert asked == ["b"]
    assert store.read_bytes() == whole


def test_a_store_of_something_else_is_refused_with_its_line(tmp_path):
    store = tmp_path / "answers.jsonl"
    store.write_text('{"prompt": 1}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="line 1: no description"):
        describe(["a"], str.upper, model="echo", store=store)


def test_users_and_items_are_described_by_any_function():
    users = describe_users(LOG, TEXT, len_of, model="len", template="{products}")
    assert users[2] == ""
    assert users[0] == len_of("1. The tea\n2. The cup\n3. The pot\n4. The mat")
    items = describe_items(LOG, TEXT, len_of, model="len", template="{product}")
    assert items[:2] == ["", len_of("The tea")]


def len_of(prompt):
    return f"{len(prompt)} letters"
