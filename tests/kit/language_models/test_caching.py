"""A model with a memory."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from paperround.errors import UsageError
from paperround.kit.language_models import CachedModel, Completion, Score


class Counting:
    """A model that numbers its answers and remembers what it was asked."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.capabilities = frozenset({"generate", "score"})
        self.asked: list[list[Any]] = []

    def generate(self, prompts: Sequence[Any], *, n: int = 1, **_: Any) -> list[list[Completion]]:
        self.asked.append(list(prompts))
        return [
            [
                Completion(f"{prompt} {len(self.asked)}.{sample}", 1, "stop", (7,), (-0.5,))
                for sample in range(n)
            ]
            for prompt in prompts
        ]

    def score(self, pairs: Sequence[tuple[Any, str]]) -> list[Score]:
        self.asked.append(list(pairs))
        return [Score(-1.5, (-1.0, -0.5)) for _ in pairs]


def test_what_was_asked_before_is_not_asked_again(tmp_path: Path) -> None:
    inner = Counting()
    model = CachedModel(inner, tmp_path / "new folder" / "answers.sqlite3")
    first = model.generate(["a", "b"], n=2, seed=1)
    again = CachedModel(inner, tmp_path / "new folder" / "answers.sqlite3")
    assert again.generate(["b", "a"], n=2, seed=1) == first[::-1]
    # Fewer samples are the first of them; of a new prompt, only that one is asked.
    assert again.generate(["a", "c"], n=1, seed=1)[0] == first[0][:1]
    assert inner.asked == [["a", "b"], ["c"]]


def test_more_samples_keep_the_first_ones(tmp_path: Path) -> None:
    model = CachedModel(Counting(), tmp_path / "answers")
    [[one]] = model.generate(["a"])
    [[first, second]] = model.generate(["a"], n=2)
    assert first == one
    assert second.text == "a 2.1"


def test_equal_prompts_are_asked_for_once(tmp_path: Path) -> None:
    inner = Counting()
    model = CachedModel(inner, tmp_path / "answers")
    [[a], [b]] = model.generate(["same", "same"])
    assert a == b
    assert inner.asked == [["same"]]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"max_new_tokens": 5},
        {"stop": ["x"]},
        {"logprobs": True},
    ],
)
def test_other_sampling_is_another_question(tmp_path: Path, other: dict[str, Any]) -> None:
    inner = Counting()
    model = CachedModel(inner, tmp_path / "answers")
    model.generate(["a"], seed=1)
    model.generate(["a"], **{"seed": 1, **other})
    assert len(inner.asked) == 2


def test_another_model_and_another_prompt_are_other_questions(tmp_path: Path) -> None:
    one, other = Counting("one"), Counting("other")
    said = [{"role": "user", "content": "a"}]
    for model in (one, other):
        cached = CachedModel(model, tmp_path / "answers")
        cached.generate(["a"])
        cached.generate([said])
        cached.generate([said])
        cached.score([("a", "b")])
        assert cached.score([("a", "b")]) == [Score(-1.5, (-1.0, -0.5))]
    assert len(one.asked) == len(other.asked) == 3


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    model = CachedModel(Counting(), tmp_path / "answers")
    first, second = (model.generate(["ä\x00 \U0001f600"]) for _ in range(2))
    assert first == second
    assert (first[0][0].token_ids, first[0][0].token_log_probs) == ((7,), (-0.5,))


def test_many_threads_share_a_file(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            model = CachedModel(Counting(), tmp_path / "answers")
            for place in range(20):
                model.generate([f"{place}"], n=2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader, this is no database. " * 50)
    with pytest.raises(UsageError, match=r"letter.txt cannot hold .* name another file"):
        CachedModel(Counting(), tmp_path / "letter.txt")


def test_values_are_checked_before_the_file_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="n is 0"):
        CachedModel(Counting(), tmp_path / "answers").generate(["a"], n=0)
