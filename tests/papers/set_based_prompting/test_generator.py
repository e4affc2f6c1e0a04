"""`paperround generate --method set-based-prompting`, on every family of models that people use."""

from itertools import permutations

import pytest

from paperround.errors import UsageError
from paperround.kit.language_models import Request, find_method, timed
from paperround.kit.language_models.families import FAMILIES, byte_tokenizer, random_model
from paperround.papers.set_based_prompting.prompts import END, SPLIT, START

METHOD = find_method("set-based-prompting")
MEMBERS = (" a stone that lies still", " a crow", " a cat on a roof")


def asked(prompt, family="llama", **options):
    request = Request(
        model=random_model(family),
        tokenizer=byte_tokenizer(),
        prompt=prompt,
        max_new_tokens=6,
        options=METHOD.complete(options),
    )
    return timed(METHOD, request).generated


def marked(order=(0, 1, 2)):
    return f"Which flies?{START}{SPLIT.join(MEMBERS[i] for i in order)}{END} Answer:"


@pytest.mark.parametrize("family", FAMILIES)
def test_all_orders_give_the_same_text(family):
    found = [asked(marked(order), family) for order in permutations(range(3))]
    assert len({one.candidates[0].text for one in found}) == 1
    assert found[0].passes == found[0].candidates[0].n_tokens
    assert found[0].figures["sets"] == 1
    assert found[0].figures["members"] == 3
    assert "another order gives the same text" in found[0].changed


def test_the_plain_form_says_that_it_depends_on_the_order():
    found = asked(marked(), form="plain")
    assert "depends on their order" in found.changed


def test_a_prompt_without_a_set_gets_greedy_text_and_a_hint():
    found = asked("Which flies?")
    greedy = find_method("greedy")
    plain = timed(
        greedy,
        Request(random_model("llama"), byte_tokenizer(), "Which flies?", 6),
    ).generated
    assert found.candidates[0].text == plain.candidates[0].text
    assert found.changed.startswith("Nothing: the prompt has no set")


def test_a_conversation_keeps_its_sets():
    found = [
        asked([{"role": "user", "content": marked(order)}]) for order in ((0, 1, 2), (2, 0, 1))
    ]
    assert found[0].candidates == found[1].candidates
    assert found[0].figures["members"] == 3


@pytest.mark.parametrize(
    ("prompt", "options", "fault"),
    [
        (f"a{START}b", {}, "the set that begins at character 1 has no"),
        (f"a{START}b{SPLIT}c{END}", {}, "ends with a set"),
        (f"a{START}b<eos>{SPLIT}c{END}d", {}, "special token <eos>"),
        (marked(), {"form": "sets"}, "no form 'sets'; there are plain, mask only"),
    ],
)
def test_a_prompt_that_cannot_be_followed_is_refused(prompt, options, fault):
    with pytest.raises(UsageError, match=fault):
        asked(prompt, **options)
