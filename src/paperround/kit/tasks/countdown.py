"""CountDown: combine the given numbers into a target, each number used exactly once.

A move replaces two numbers a >= b by a+b, a*b, a-b, or a/b where it divides exactly. Texts are
space-separated words, integers are one word each, so that a word-level tokenizer needs no rules:

    prompt    T : 25 3 7 4 |                 target first, then the numbers
    solution  7 * 3 = 21 > 21 + 4 = 25 !     `>` goes on, `!` says that the target is reached

Splits are disjoint by the canonical key (sorted numbers and target), hashed with BLAKE2, because
Python's own hash of a string changes with every process.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple

Split = Literal["train", "validation", "test"]
Operator = Literal["+", "-", "*", "/"]

_OPERATORS: tuple[Operator, ...] = ("+", "-", "*", "/")
# Of a hundred keys: the first 80 train, the next 10 validate, the last 10 test.
_SPLIT_BOUNDS: dict[Split, tuple[int, int]] = {
    "train": (0, 80),
    "validation": (80, 90),
    "test": (90, 100),
}
# Draws without a new problem before the request is called impossible.
_PATIENCE = 20_000


@dataclass(frozen=True)
class Problem:
    """Numbers in the order in which the prompt shows them, and the target."""

    numbers: tuple[int, ...]
    target: int

    @property
    def key(self) -> str:
        """The same text for every order of the numbers."""
        return f"{' '.join(map(str, sorted(self.numbers)))} -> {self.target}"

    @property
    def split(self) -> Split:
        """The split that the key belongs to, the same on every machine."""
        digest = hashlib.blake2b(self.key.encode(), digest_size=8).digest()
        place = int.from_bytes(digest, "big") % 100
        return next(name for name, (low, high) in _SPLIT_BOUNDS.items() if low <= place < high)

    @property
    def prompt(self) -> str:
        """The words that a model is given."""
        return f"T : {self.target} {' '.join(map(str, self.numbers))} |"


class Move(NamedTuple):
    """`a operator b = result`, exact."""

    a: int
    operator: Operator
    b: int
    result: int

    def __str__(self) -> str:
        """The move as five words."""
        return f"{self.a} {self.operator} {self.b} = {self.result}"


Solution = tuple[Move, ...]


@dataclass(frozen=True)
class Grade:
    """Whether a text solves a problem; `answer` is the expression in canonical form where it does.

    `reason` says what is wrong with it, empty where nothing is.
    """

    ok: bool
    answer: str | None
    reason: str = ""


@dataclass(frozen=True)
class Difficulty:
    """How problems are drawn: `k` numbers of 1..`max_number`, a target within `targets`.

    `max_value` bounds the intermediate results of the solutions shown to a model, so that a small
    vocabulary holds them; the grader has no such bound.
    """

    k: int = 3
    max_number: int = 20
    targets: tuple[int, int] = (10, 60)
    max_value: int = 99

    def __post_init__(self) -> None:
        low, high = self.targets
        if self.k < 2 or self.max_number < 1 or not 0 < low <= high <= self.max_value:
            raise ValueError(f"no problem can be drawn with {self}")

    @property
    def words(self) -> list[str]:
        """Every word of prompts and solutions, in a fixed order."""
        return [str(n) for n in range(self.max_value + 1)] + [*"T:|=>!", *_OPERATORS]


def generate(
    split: Split, n: int, seed: int, difficulty: Difficulty | None = None
) -> list[Problem]:
    """`n` different solvable problems of a split, the same for the same seed.

    Raises ValueError for an unknown split, and where there seem to be fewer than `n` such problems.
    """
    if split not in _SPLIT_BOUNDS:
        raise ValueError(f"no split {split!r}; there are {', '.join(_SPLIT_BOUNDS)}")
    difficulty = difficulty or Difficulty()
    rng = random.Random(f"countdown {split} {seed}")
    found: dict[str, Problem] = {}
    idle = 0
    while len(found) < n:
        problem = _draw(rng, difficulty)
        if problem.split == split and problem.key not in found and solve_all(problem, difficulty):
            found[problem.key] = problem
            idle = 0
        elif (idle := idle + 1) > _PATIENCE:
            raise ValueError(f"only {len(found)} of {n} problems found in {split!r}: {difficulty}")
    return list(found.values())


def training_examples(seed: int, difficulty: Difficulty | None = None) -> Iterator[tuple[str, str]]:
    """Pairs of prompt and solution without end, problems of the training split only.

    Each draw takes one of the problem's solutions at random, so a model that fits them has to
    spread its probability over several right answers.
    """
    difficulty = difficulty or Difficulty()
    rng = random.Random(f"countdown training {seed}")
    while True:
        problem = _draw(rng, difficulty)
        if problem.split == "train" and (solutions := solve_all(problem, difficulty)):
            yield problem.prompt, solution_text(rng.choice(solutions))


def solve_all(problem: Problem, difficulty: Difficulty | None = None) -> tuple[Solution, ...]:
    """Every solution whose intermediate results stay within `difficulty.max_value`, in order."""
    max_value = (difficulty or Difficulty()).max_value
    return _reachable(tuple(sorted(problem.numbers)), max_value).get(problem.target, ())


def solution_text(solution: Solution) -> str:
    """The words of a solution."""
    return f"{' > '.join(map(str, solution))} !"


def grade(problem: Problem, text: str) -> Grade:
    """Whether the text is a solution: every number once, every move exact, the target at the end.

    Strict, and never evaluates text: words are matched one by one. Any text is graded.
    """
    words = text.split()
    if not words or words[-1] != "!":
        return Grade(False, None, "does not end with !")
    # What may still be used: values with the expression that made them.
    pool: list[tuple[int, str]] = [(number, str(number)) for number in sorted(problem.numbers)]
    moves = _split_at(words[:-1], ">")
    for move in moves:
        made = _apply(move, pool)
        if isinstance(made, str):
            return Grade(False, None, made)
        pool = [*pool, made]
    if len(pool) != 1:
        return Grade(False, None, f"{len(pool)} numbers are left")
    value, expression = pool[0]
    if value != problem.target:
        return Grade(False, None, f"ends with {value}, not {problem.target}")
    return Grade(True, expression)


def same_answer(a: Grade, b: Grade) -> bool:
    """Whether both are right by the same expression, up to the order of + and * operands."""
    return a.ok and b.ok and a.answer == b.answer


def _draw(rng: random.Random, difficulty: Difficulty) -> Problem:
    numbers = tuple(rng.randint(1, difficulty.max_number) for _ in range(difficulty.k))
    return Problem(numbers, rng.randint(*difficulty.targets))


@lru_cache(maxsize=50_000)
def _reachable(numbers: tuple[int, ...], max_value: int) -> dict[int, tuple[Solution, ...]]:
    """For each value that all the numbers together can make, the ways to it, sorted."""
    if len(numbers) == 1:
        return {numbers[0]: ((),)}
    ways: dict[int, set[Solution]] = {}
    for i, j in set(combinations(range(len(numbers)), 2)):
        b, a = sorted((numbers[i], numbers[j]))
        others = [number for place, number in enumerate(numbers) if place not in (i, j)]
        for operator in _OPERATORS:
            result = _combine(a, operator, b)
            if result is None or result > max_value:
                continue
            move = Move(a, operator, b, result)
            for value, rests in _reachable(tuple(sorted([*others, result])), max_value).items():
                ways.setdefault(value, set()).update((move, *rest) for rest in rests)
    return {value: tuple(sorted(found)) for value, found in ways.items()}


def _combine(a: int, operator: str, b: int) -> int | None:
    """The result where the move is allowed: nothing negative, no remainder, no division by zero."""
    if operator == "+":
        return a + b
    if operator == "*":
        return a * b
    if operator == "-":
        return a - b if a >= b else None
    if operator == "/":
        return a // b if b != 0 and a % b == 0 else None
    return None


def _split_at(words: list[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _apply(words: list[str], pool: list[tuple[int, str]]) -> tuple[int, str] | str:
    """What a move makes, its operands taken out of the pool; else what is wrong with it."""
    move = " ".join(words)
    if len(words) != 5 or words[3] != "=":
        return f"not a move: {move!r}"
    # ASCII digits only: int() would also take "１２", "1_0" and signs.
    if not all(words[i].isascii() and words[i].isdigit() for i in (0, 2, 4)):
        return f"not a move: {move!r}"
    # Python refuses to read integers of thousands of digits; none that long can be right.
    if any(len(words[i]) > 100 for i in (0, 2, 4)):
        return "a number of more than 100 digits"
    a, operator, b, claimed = int(words[0]), words[1], int(words[2]), int(words[4])
    expressions = []
    for operand in (a, b):
        place = next((i for i, (value, _) in enumerate(pool) if value == operand), None)
        if place is None:
            return f"{operand} is not there to be used in {move!r}"
        expressions.append(pool.pop(place)[1])
    if _combine(a, operator, b) != claimed:
        return f"wrong arithmetic: {move!r}"
    if operator in "+*":
        expressions.sort()
    return claimed, f"({expressions[0]}{operator}{expressions[1]})"
