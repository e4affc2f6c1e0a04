"""Images of samples: arrays become PNG, and nothing else passes for one."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from paperround.errors import CardError
from paperround.runs.card import Scale
from paperround.runs.events import read_event
from paperround.runs.images import IMAGE_LIMIT_BYTES, decoded, png_of, png_size
from paperround.runs.reproduction import Run


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 3, 4])
)


@given(arrays.arrays(np.uint8, shapes))
def test_an_array_comes_back_from_its_png(array):
    png = png_of(array)
    assert png_size(png) == (array.shape[1], array.shape[0])
    assert np.array_equal(opened(png), array)
    assert decoded(base64.b64encode(png).decode()) == png


def test_real_numbers_and_truths_become_grey():
    assert opened(png_of(np.array([[0.0, 0.5, 1.0]]))).tolist() == [[0, 128, 255]]
    assert opened(png_of(np.array([[True, False]]))).tolist() == [[255, 0]]
    assert opened(png_of(np.zeros((2, 3, 1)))).shape == (2, 3)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"GIF89a", "not a PNG"),
        (b"", "not a PNG"),
        (b"\x89PNG\r\n\x1a\n", "not a PNG"),
        (np.zeros(3), "shape"),
        (np.zeros((0, 3)), "shape"),
        (np.zeros((2, 2, 7)), "shape"),
        (np.full((2, 2), 2.0), "between 0 and 1"),
        (np.full((2, 2), np.nan), "between 0 and 1"),
        (np.zeros((2, 2), np.int64), "int64"),
        (object(), "shape"),
        (np.zeros((1, 5000), np.uint8), "5000 by 1 pixels"),
        (np.random.default_rng(0).integers(0, 255, (1100, 1100), np.uint8), "bytes; at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_or_too_large_is_refused(image, says):
    with pytest.raises(CardError, match=says):
        png_of(image)


def test_a_sample_takes_texts_images_and_grids(make_room, tmp_path):
    events = []
    run = Run(make_room().card, Scale.QUICK, (0,), tmp_path, events.append)
    square = np.zeros((2, 2))
    run.sample("S", {"said": "ü", "one": png_of(square), "two": square, "many": [square, square]})
    parts = events[0]["parts"]
    assert [sorted(part) for part in parts] == [
        ["label", "text"],
        ["label", "png"],
        ["label", "png"],
        ["label", "pngs"],
    ]
    assert parts[1]["png"] == parts[2]["png"] == parts[3]["pngs"][0]


def test_the_images_of_a_run_have_a_limit_together(make_room, tmp_path):
    events = []
    run = Run(make_room().card, Scale.QUICK, (0,), tmp_path, events.append)
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000), np.uint8)
    assert len(png_of(noise)) > IMAGE_LIMIT_BYTES * 0.9
    for _ in range(12):
        run.sample("S", {"noise": noise})
    with pytest.raises(CardError, match="12 MiB together"):
        run.sample("S", {"noise": [noise, noise]})
    assert len(events) == 12


@pytest.mark.parametrize("image", ["AAAA", "iVBORw0KGgo=", "!", ""])
def test_an_event_with_something_else_for_an_image_is_refused(make_room, image):
    line = f'{{"kind":"sample","title":"S","note":"","parts":[{{"label":"a","png":"{image}"}}]}}'
    with pytest.raises(CardError):
        read_event(line.encode(), make_room().card, [0])
