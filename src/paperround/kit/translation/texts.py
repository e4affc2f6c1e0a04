"""Pairs of texts in two languages, and the joint vocabulary of byte pairs learnt from them."""

import gzip
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from paperround.errors import AssetError

PAD, BOS, EOS, UNK, PLACEHOLDER = "<pad>", "<s>", "</s>", "<unk>", "<plh>"
# A piece that starts a word begins with it.
_WORD = "▁"

Split = Literal["train", "val", "test"]
Language = Literal["en", "de"]
_FILES: dict[str, str] = {"train": "train", "val": "val", "test": "test_2016_flickr"}
_PLAIN_SIGNS = str.maketrans(
    {
        **dict.fromkeys("«»„“”‟″", '"'),
        **dict.fromkeys("‘’‚‛`´′", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
    }
)


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


def read_multi30k(
    folder: Path, split: Split, *, source: Language = "en", target: Language = "de"
) -> list[Pair]:
    """The pairs of a split, both sides normalised; `folder` is that of the asset `multi30k`.

    Raises AssetError where the two sides have different numbers of lines.
    """
    sides = [
        gzip.decompress((folder / f"{_FILES[split]}.{language}.gz").read_bytes())
        .decode("utf-8")
        .splitlines()
        for language in (source, target)
    ]
    if len(sides[0]) != len(sides[1]):
        raise AssetError(
            f"{folder}: {split} has {len(sides[0])} lines of {source} and {len(sides[1])} of "
            f"{target}; fetch the files again"
        )
    pairs = (Pair(*map(normalised, lines)) for lines in zip(*sides, strict=True))
    return [pair for pair in pairs if pair.source and pair.target]


def normalised(text: str) -> str:
    """The text in lower case, composed (NFKC), with plain quotes and dashes and single spaces."""
    # Lower case first and last: each may undo what the other made of rare letters.
    composed = unicodedata.normalize("NFKC", text.translate(_PLAIN_SIGNS).lower())
    plain = composed.translate(_PLAIN_SIGNS).lower()
    return " ".join(unicodedata.normalize("NFKC", plain).split())


def learn_tokenizer(pairs: Iterable[Pair], size: int = 6_000) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer learnt from both sides of the pairs, at most `size` pieces.

    A text becomes its pieces and `</s>`. Ids 0 to 4 are padding, beginning, end, unknown and
    placeholder, each an id of its own. No piece spans two words or a sign and a word, so a text
    can be encoded word by word. Pieces decode to the normalised text, but for letters that the
    pairs do not have.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNK, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_WORD, prepend_scheme="always", split=True),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_WORD, prepend_scheme="always", split=True)
    tokenizer.train_from_iterator(
        (side for pair in pairs for side in pair),
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[PAD, BOS, EOS, UNK, PLACEHOLDER],
            show_progress=False,
        ),
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        mask_token=PLACEHOLDER,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def begin_words(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The ids of the pieces that begin a word."""
    return frozenset(
        number for piece, number in tokenizer.get_vocab().items() if piece.startswith(_WORD)
    )


def both_sides(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """The sources and the targets of the pairs."""
    return [pair.source for pair in pairs], [pair.target for pair in pairs]
