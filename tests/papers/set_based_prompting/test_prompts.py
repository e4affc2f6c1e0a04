"""Prompts with sets: written down, read back, put in another order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.set_based_prompting import SetPrompt, set_of
from paperround.papers.set_based_prompting.prompts import END, SPLIT, START

texts = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=8)


def prompts(members):
    sets = st.lists(members, min_size=1, max_size=4).map(set_of)
    return st.lists(texts | sets, max_size=4).map(SetPrompt)


nested_prompts = prompts(texts | prompts(texts | prompts(texts)))


@given(nested_prompts)
def test_what_is_written_is_read_back(prompt):
    again = SetPrompt.parse(prompt.marked())
    assert again.marked() == prompt.marked()
    assert again.text == prompt.text
    assert [len(s.members) for s in again.sets] == [len(s.members) for s in prompt.sets]


@given(st.lists(st.sampled_from([START, SPLIT, END, "a", " b\n"])).map("".join))
def test_any_text_is_read_or_refused(text):
    try:
        prompt = SetPrompt.parse(text)
    except ValueError as error:
        assert "set" in str(error)
    else:
        assert prompt.marked() == text


def test_a_question_of_the_authors_is_read_as_its_parts():
    prompt = SetPrompt.parse(
        "Where might he go?\n<|start_2d|>\n- race track"
        "<|split_2d|>\n- the desert<|end_2d|> Answer: "
    )
    assert prompt == SetPrompt(
        ["Where might he go?\n", set_of(["\n- race track", "\n- the desert"]), " Answer: "]
    )
    assert prompt.text == "Where might he go?\n\n- race track\n- the desert Answer: "


def test_a_set_may_stand_within_a_member():
    inner = SetPrompt(["b", set_of(["c", "d"])])
    prompt = SetPrompt.parse(f"a{START}b{START}c{SPLIT}d{END}{SPLIT}e{END}f")
    assert prompt == SetPrompt(["a", set_of([inner, "e"]), "f"])
    assert len(prompt.sets) == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"ab{START}c", "the set that begins at character 2 has no"),
        (f"ab{START}c{SPLIT}{START}d{END}", "the set that begins at character 2 has no"),
        (f"abc{END}", "at character 3 stands outside of a set"),
        (f"abc{SPLIT}d", "at character 3 stands outside of a set"),
    ],
)
def test_a_broken_text_is_refused_with_its_place(text, fault):
    with pytest.raises(ValueError, match=fault):
        SetPrompt.parse(text)


@pytest.mark.parametrize("marker", [START, SPLIT, END])
def test_a_marker_in_a_text_is_refused(marker):
    with pytest.raises(ValueError, match="member 2 of a set contains the marker"):
        set_of(["fine", f"not{marker}fine"])
    with pytest.raises(ValueError, match="a text of the prompt contains the marker"):
        SetPrompt([f"x{marker}"])


def test_a_set_needs_a_member_and_a_list():
    with pytest.raises(ValueError, match="no member"):
        set_of([])
    with pytest.raises(TypeError, match="takes a list of texts"):
        set_of("abc")
    with pytest.raises(TypeError, match=r"write set_of\(\[...\]\)"):
        SetPrompt(["a", ["b", "c"]])
    with pytest.raises(TypeError, match="member 1 of a set is a int"):
        set_of([1])


@given(nested_prompts, st.data())
def test_an_order_and_its_inverse_give_the_prompt_back(prompt, data):
    n_sets = len(prompt.sets)
    if not n_sets:
        return
    # Only the first set keeps its number whatever the order; those behind may move.
    n_members = len(prompt.sets[0].members)
    order = data.draw(st.permutations(range(n_members)))
    inverse = [order.index(place) for place in range(n_members)]
    assert prompt.permuted(order).permuted(inverse) == prompt


def test_orders_are_of_the_set_that_is_named():
    inner = SetPrompt([set_of(["c", "d"])])
    prompt = SetPrompt([set_of(["a", inner, "b"]), "x", set_of(["e", "f"]), "y"])
    assert prompt.permuted([2, 0, 1]).text == "bacdxefy"
    assert prompt.permuted([1, 0], part=1).text == "adcbxefy"
    assert prompt.permuted([1, 0], part=2).text == "acdbxfey"
    with pytest.raises(ValueError, match="has 3 sets; there is no set 3"):
        prompt.permuted([0, 1], part=3)
    for wrong in ([0, 1], [0, 1, 1], [1, 2, 3]):
        with pytest.raises(ValueError, match="is not an order of 3 members"):
            prompt.permuted(wrong)
