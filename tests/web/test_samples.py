"""Samples: texts with their differences marked, images with addresses."""

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paperround.runs.images import png_of
from paperround.web.samples import shown_samples

PNG = base64.b64encode(png_of(np.zeros((4, 6)))).decode()


def sample(**parts: object) -> dict[str, object]:
    shown = []
    for label, part in parts.items():
        kind = "text" if part != PNG and isinstance(part, str) else "png"
        kind = "pngs" if isinstance(part, list) else kind
        shown.append({"label": label, kind: part})
    return {"title": "S", "parts": shown, "note": ""}


def marked(part: object) -> list[str]:
    return [span.text for span in part.spans if span.differs]  # type: ignore[attr-defined]


def test_before_and_after_show_what_the_other_has_otherwise() -> None:
    [shown] = shown_samples([sample(before="the cat sat down", after="the dog sat down")])
    assert [marked(part) for part in shown.parts] == [["cat"], ["dog"]]
    assert shown.parts[1].note == "what differs is marked"


def test_equal_texts_say_so_and_mark_nothing() -> None:
    [shown] = shown_samples([sample(before="as it was", after="as it was")])
    assert [marked(part) for part in shown.parts] == [[], []]
    assert shown.parts[1].note == "the same text"


def test_each_of_three_texts_is_held_against_the_one_before() -> None:
    [shown] = shown_samples(
        [sample(prompt="Say a long thing.", greedy="one two three", method="one two three")]
    )
    assert [part.note for part in shown.parts] == ["", "", "the same text"]
    assert marked(shown.parts[1]) == []


def test_images_are_numbered_through_all_samples() -> None:
    first, second = shown_samples([sample(a=PNG, b=[PNG, PNG]), sample(c=PNG)], "ab" * 32)
    sources = [i.src for s in (first, second) for part in s.parts for i in part.images]
    assert sources == [f"/results/{'ab' * 32}/images/{n}.png" for n in range(4)]
    image = first.parts[0].images[0]
    assert (image.width, image.height, image.is_small) == (6, 4, True)
    [live] = shown_samples([sample(a=PNG)])
    assert live.parts[0].images[0].src == f"data:image/png;base64,{PNG}"


@given(st.text(max_size=200), st.text(max_size=200))
def test_marking_never_changes_a_text(one: str, other: str) -> None:
    [shown] = shown_samples([sample(a=one, b=other)])
    for part, text in zip(shown.parts, (one, other), strict=True):
        assert "".join(span.text for span in part.spans) == text
