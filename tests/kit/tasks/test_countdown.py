import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.kit.tasks.countdown import (
    Difficulty,
    Move,
    Problem,
    generate,
    grade,
    same_answer,
    solution_text,
    solve_all,
    training_examples,
)

problems = st.builds(
    Problem,
    numbers=st.tuples(*[st.integers(1, 20)] * 3),
    target=st.integers(10, 60),
)


@given(problems)
def test_every_solution_that_is_found_is_accepted(problem):
    for solution in solve_all(problem):
        assert grade(problem, solution_text(solution)).ok


@given(problems, st.randoms())
def test_the_order_of_the_numbers_changes_nothing(problem, rng):
    numbers = list(problem.numbers)
    rng.shuffle(numbers)
    shuffled = Problem(tuple(numbers), problem.target)
    assert (shuffled.key, shuffled.split) == (problem.key, problem.split)
    assert solve_all(shuffled) == solve_all(problem)


@given(problems, st.text())
def test_any_text_is_graded(problem, text):
    graded = grade(problem, text)
    assert graded.ok == (graded.answer is not None) == (graded.reason == "")


def test_solve_all_finds_what_a_search_over_expressions_finds():
    # Written the other way round: all orders, all operators, all bracketings of three numbers.
    apply = {
        "+": lambda a, b: a + b,
        "*": lambda a, b: a * b,
        "-": lambda a, b: abs(a - b),
        "/": lambda a, b: (
            max(a, b) // min(a, b) if min(a, b) and max(a, b) % min(a, b) == 0 else None
        ),
    }
    rng = random.Random(0)
    for _ in range(40):
        numbers = tuple(rng.randint(1, 12) for _ in range(3))
        made = set()
        for a, b, c in itertools.permutations(numbers):
            for first, second in itertools.product("+*-/", repeat=2):
                inner = apply[first](a, b)
                if inner is not None and inner <= 99:
                    outer = apply[second](inner, c)
                    if outer is not None and outer <= 99:
                        made.add(outer)
        found = {t for t in range(100) if solve_all(Problem(numbers, t))}
        assert found == made


SEVEN = Problem((7, 3, 4), 25)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("7 * 3 = 21 > 21 + 4 = 25", "does not end"),
        ("", "does not end"),
        ("7 * 3 = 21 !", "2 numbers are left"),
        ("!", "not a move"),
        ("7 * 3 = 22 > 22 + 4 = 26 !", "wrong arithmetic"),
        ("7 + 3 = 10 > 10 + 4 = 14 !", "ends with 14"),
        ("7 * 3 = 21 > 21 + 3 = 24 > 24 + 4 = 28 !", "3 is not there"),
        ("7 * 7 = 49 > 49 - 4 = 45 !", "7 is not there"),
        ("3 - 7 = -4 > 21 + 4 = 25 !", "not a move"),
        ("3 - 7 = 4 > 21 + 4 = 25 !", "wrong arithmetic"),
        ("7 / 3 = 2 > 21 + 4 = 25 !", "wrong arithmetic"),
        ("7 * 3 = 21 > 21 + 4 = 25 > !", "not a move"),
        ("7 * 3 = 21 > 21 + 4 = ２５ !", "not a move"),
        ("7 ** 3 = 343 > 343 + 4 = 347 !", "wrong arithmetic"),
        ("__import__('os') !", "not a move"),
        (f"7 * 3 = {'9' * 5_000} > 21 + 4 = 25 !", "more than 100 digits"),
    ],
)
def test_a_wrong_solution_is_refused_with_the_reason(text, reason):
    graded = grade(SEVEN, text)
    assert not graded.ok
    assert reason in graded.reason


def test_division_by_zero_is_wrong_arithmetic():
    problem = Problem((5, 5, 3), 3)
    assert "wrong arithmetic" in grade(problem, "5 - 5 = 0 > 3 / 0 = 3 !").reason


def test_a_number_given_twice_may_be_used_twice():
    assert grade(Problem((5, 5, 2), 12), "5 + 5 = 10 > 10 + 2 = 12 !").ok


def test_answers_are_the_same_up_to_the_order_of_sums_and_products():
    one = grade(SEVEN, "7 * 3 = 21 > 21 + 4 = 25 !")
    turned = grade(SEVEN, "3 * 7 = 21 > 4 + 21 = 25 !")
    other_problem = Problem((7, 3, 4), 24)
    wrong = grade(other_problem, "7 * 3 = 21 > 21 + 4 = 25 !")
    assert one.answer == "((3*7)+4)"
    assert same_answer(one, turned)
    assert not same_answer(one, wrong)
    assert not same_answer(wrong, wrong)


def test_splits_are_disjoint_and_the_same_on_every_machine():
    names = ("train", "validation", "test")
    keys = {split: {p.key for p in generate(split, 60, seed=1)} for split in names}
    for a, b in itertools.combinations(names, 2):
        assert not keys[a] & keys[b]
    # b2sum -l 64 gives 2ed1f803fa17ea86 for "3 4 7 -> 25", which is 62 modulo 100.
    assert Problem((7, 3, 4), 25).split == "train"


def test_training_examples_come_from_the_training_split_only():
    held_out = {p.key for split in ("validation", "test") for p in generate(split, 200, seed=3)}
    for prompt, answer in itertools.islice(training_examples(seed=3), 500):
        target, *numbers = (int(word) for word in prompt.split() if word.isdigit())
        problem = Problem(tuple(numbers), target)
        assert problem.prompt == prompt
        assert problem.key not in held_out
        assert problem.split == "train"
        assert grade(problem, answer).ok


def test_the_same_seed_gives_the_same_problems_and_another_seed_others():
    assert generate("test", 20, seed=5) == generate("test", 20, seed=5)
    assert generate("test", 20, seed=5) != generate("test", 20, seed=6)


def test_generated_problems_are_solvable_and_different():
    found = generate("test", 50, seed=0)
    assert len({p.key for p in found}) == 50
    assert all(solve_all(p) for p in found)


def test_every_word_of_prompts_and_solutions_is_in_the_list_of_words():
    difficulty = Difficulty(k=3, max_number=9, targets=(5, 30), max_value=40)
    words = set(difficulty.words)
    assert len(words) == len(difficulty.words)
    for prompt, answer in itertools.islice(training_examples(0, difficulty), 200):
        assert set(prompt.split()) | set(answer.split()) <= words


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no split 'dev'"):
        generate("dev", 1, seed=0)
    with pytest.raises(ValueError, match="no problem can be drawn"):
        Difficulty(k=1)
    with pytest.raises(ValueError, match=r"only .* of 500 problems found"):
        generate("test", 500, 0, Difficulty(k=2, max_number=3, targets=(1, 3)))


def test_a_move_reads_as_five_words():
    assert str(Move(7, "*", 3, 21)) == "7 * 3 = 21"
