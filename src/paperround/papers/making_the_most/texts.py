"""The real texts of parts A and B, as tokens."""

import gzip
import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

# Title pages and tables of contents.
_SKIPPED = 2_000


@dataclass(frozen=True)
class Text:
    """A text by its name; `familiar` where the model was trained on much that is like it."""

    name: str
    familiar: bool
    ids: Tensor


def read_tokens(path: Path, tokenizer: PreTrainedTokenizerBase, n_characters: int) -> Tensor:
    """The first so many characters of a text file (.xz or .gz) as token ids, (tokens,)."""
    opened = lzma.open if path.suffix == ".xz" else gzip.open
    with opened(path, "rt", encoding="utf-8") as file:
        text = file.read(n_characters)
    # The tokenizer warns of a text above the model's context; passages are cut from it.
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return torch.tensor(ids)


def passages(ids: Tensor, n: int, length: int) -> Tensor:
    """So many passages at even distances through a text, (n, length), none overlapping another.

    Begins behind what stands before the text proper, where there is enough. Raises ValueError for
    a text that is too short.
    """
    if len(ids) < n * length:
        raise ValueError(f"{len(ids)} tokens do not hold {n} passages of {length}")
    ids = ids[min(_SKIPPED, len(ids) - n * length) :]
    step = len(ids) // n
    return torch.stack([ids[i * step : i * step + length] for i in range(n)])


@dataclass(frozen=True)
class Emoji:
    """An emoji's name in Unicode, and the class that it belongs to."""

    name: str
    label: str


# A word for each group; flags are too few to ask about.
LABELS = {
    "Smileys & Emotion": "face",
    "People & Body": "person",
    "Animals & Nature": "nature",
    "Food & Drink": "food",
    "Travel & Places": "place",
    "Activities": "game",
    "Objects": "tool",
    "Symbols": "sign",
}


def read_emoji(folder: Path) -> list[Emoji]:
    """Every emoji of the groups above, without those that repeat another in a tone of skin."""
    lines = lzma.decompress((folder / "captions.jsonl.xz").read_bytes()).decode().splitlines()
    found = {}
    for line in lines:
        record = json.loads(line)
        if record["group"] in LABELS and ":" not in record["caption"]:
            found[record["caption"]] = Emoji(record["caption"], LABELS[record["group"]])
    return list(found.values())


def few_shot_prompt(examples: Sequence[Emoji]) -> str:
    """Examples as lines of name and class."""
    return "".join(f"{example.name} -> {example.label}\n" for example in examples)
