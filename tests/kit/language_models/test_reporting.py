"""What is said of a finished generation, worked out by hand."""

import json
import math

from paperround.kit.language_models.methods import Candidate, Generated, Timed
from paperround.kit.language_models.reporting import report

DONE = Timed(
    Generated((Candidate("a b", 10, -1.5),), "It copied.", 4, {"copied": 6, "share": math.nan}),
    0.5,
)
GREEDY = Timed(Generated((Candidate("a b", 10),), "Nothing.", 10), 1.25)


def test_the_report_has_the_method_and_greedy_beside_it() -> None:
    said = report("prompt.txt", "copyspec", {"gamma": 3}, DONE, GREEDY)
    assert said["texts"] == [{"text": "a b", "tokens": 10, "log_prob": -1.5}]
    assert (said["seconds"], said["tokens_per_second"], said["passes"]) == (0.5, 20.0, 4)
    assert said["figures"] == {"copied": 6, "share": None}
    assert said["greedy"] == {
        "text": "a b",
        "tokens": 10,
        "same_text": True,
        "passes": 10,
        "seconds": 1.25,
        "tokens_per_second": 8.0,
        "times_as_fast": 2.5,
    }
    json.dumps(said, allow_nan=False)


def test_the_sentences_say_the_same() -> None:
    said = report("prompt.txt", "copyspec", {}, DONE, GREEDY)
    assert said["says"] == [
        "copyspec: 10 tokens in 0.50 s, 20.0 a second, 4 forward passes",
        "It copied.",
        "greedy: 10 tokens in 1.25 s, 8.0 a second, 10 forward passes",
        "The same text, 2.50 times as fast as greedy decoding.",
    ]
    other = Timed(Generated((Candidate("c", 1), Candidate("d", 1)), "Drawn."), 1.0)
    said = report("prompt.txt", "sampling", {}, other, GREEDY)
    assert said["says"][0] == "sampling: 2 tokens in 1.00 s, 2.0 a second"
    assert said["says"][-1] == "Another text, 1.25 times as fast as greedy decoding."


def test_nothing_decoded_is_no_division_by_zero() -> None:
    nothing = Timed(Generated((), "Nothing.", 0), 0.0)
    empty = Timed(Generated((Candidate("", 0),), "Nothing.", 0), 0.0)
    said = report("p", "beam-search", {}, nothing, empty)
    assert said["texts"] == []
    assert said["greedy"]["same_text"] is False
    assert said["greedy"]["times_as_fast"] is None
    assert said["says"][0] == "beam-search: 0 tokens in 0.00 s, 0 forward passes"
    assert len(report("p", "greedy", {}, empty, None)["says"]) == 2
