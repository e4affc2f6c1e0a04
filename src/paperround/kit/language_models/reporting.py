"""What is said of a finished generation: by `paperround generate`, on its page and in the API."""

import math
from collections.abc import Mapping
from typing import Any

from paperround.kit.language_models.methods import Timed

_Report = dict[str, Any]


def report(
    prompt: str, method: str, options: Mapping[str, Any], done: Timed, beside: Timed | None
) -> _Report:
    """All of it, JSON-ready: texts, time, passes, what the method changed; greedy decoding beside.

    `prompt` says where the prompt stood. `beside` is greedy decoding's, None where nothing is
    compared. `says` is the same in sentences. A figure that is not finite is null.
    """
    generated = done.generated
    said: _Report = {
        "prompt": prompt,
        "method": method,
        "options": dict(options),
        "texts": [
            {"text": one.text, "tokens": one.n_tokens, "log_prob": _finite(one.log_prob)}
            for one in generated.candidates
        ],
        **_speed(done),
        "changed": generated.changed,
        "figures": {name: _finite(value) for name, value in generated.figures.items()},
    }
    if beside is not None:
        [greedy] = beside.generated.candidates
        first = generated.candidates[0].text if generated.candidates else None
        said["greedy"] = {
            "text": greedy.text,
            "tokens": greedy.n_tokens,
            "same_text": first == greedy.text,
            **_speed(beside),
            "times_as_fast": (
                round(beside.seconds / done.seconds, 4) if done.seconds and beside.seconds else None
            ),
        }
    return {**said, "says": _in_words(said)}


def _in_words(said: _Report) -> list[str]:
    lines = [
        _speed_line(said["method"], sum(text["tokens"] for text in said["texts"]), said),
        said["changed"],
    ]
    greedy = said.get("greedy")
    if greedy is not None:
        lines.append(_speed_line("greedy", greedy["tokens"], greedy))
        if greedy["times_as_fast"] is not None:
            same = "The same text" if greedy["same_text"] else "Another text"
            lines.append(f"{same}, {greedy['times_as_fast']:.2f} times as fast as greedy decoding.")
    return lines


def _speed(done: Timed) -> _Report:
    rate = done.tokens_per_second
    return {
        "passes": done.generated.passes,
        "seconds": round(done.seconds, 4),
        "tokens_per_second": None if rate is None else round(rate, 2),
    }


def _speed_line(method: str, n_tokens: int, speed: Mapping[str, Any]) -> str:
    rate, passes = speed["tokens_per_second"], speed["passes"]
    return (
        f"{method}: {n_tokens} tokens in {speed['seconds']:.2f} s"
        + ("" if rate is None else f", {rate:.1f} a second")
        + ("" if passes is None else f", {passes} forward passes")
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
