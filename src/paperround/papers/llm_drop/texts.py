"""The texts of the reproduction: windows to calibrate on, and windows to measure on.

Calibration takes windows from the first seven tenths of the proceedings (lcet10), by seed;
measurements are taken on the rest of it and on a novel (alice29), and are the same for all seeds
and arms.
"""

import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_CALIBRATED_SHARE = 0.7
# Title, table of contents.
_SKIPPED = 2_000


@dataclass(frozen=True)
class Texts:
    """Token ids of the text that is calibrated on, and by name of those that are measured on."""

    calibration: tuple[int, ...]
    measured: dict[str, tuple[int, ...]]


def read_texts(
    proceedings: Path, novel: Path, tokenizer: PreTrainedTokenizerBase, n_characters: int | None
) -> Texts:
    """Both texts as tokens, none added; of each the first so many characters, or all for None."""
    texts = []
    for path in (proceedings / "lcet10.txt.xz", novel / "alice29.txt.xz"):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            text = file.read(-1 if n_characters is None else n_characters)
        # The tokenizer warns of a text above the model's context; windows are cut from it.
        texts.append(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    proceedings_ids, novel_ids = texts
    cut = int(_CALIBRATED_SHARE * len(proceedings_ids))
    return Texts(
        tuple(proceedings_ids[_SKIPPED:cut]),
        {"fiction": tuple(novel_ids), "proceedings": tuple(proceedings_ids[cut:])},
    )


def drawn_windows(ids: Sequence[int], n: int, length: int, seed: int) -> list[Tensor]:
    """So many windows that do not overlap, (1, length) each, drawn by seed.

    Raises ValueError where the text does not hold that many.
    """
    places = _places(ids, n, length)
    chosen = np.random.default_rng(seed).permutation(places)[:n]
    return [_window(ids, place, length) for place in sorted(chosen)]


def spread_windows(ids: Sequence[int], n: int, length: int) -> list[Tensor]:
    """So many windows at equal distances over the text, (1, length) each; errors as above."""
    places = _places(ids, n, length)
    chosen = [places[i * len(places) // n] for i in range(n)]
    return [_window(ids, place, length) for place in chosen]


def _places(ids: Sequence[int], n: int, length: int) -> list[int]:
    places = list(range(0, len(ids) - length + 1, length))
    if len(places) < n:
        raise ValueError(f"the text holds {len(places)} windows of {length} tokens, not {n}")
    return places


def _window(ids: Sequence[int], place: int, length: int) -> Tensor:
    return torch.tensor([ids[place : place + length]])
