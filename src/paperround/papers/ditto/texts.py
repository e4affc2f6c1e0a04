"""The texts of this room: WikiText-2's validation part, and the starter catalogue's abstracts."""

import json
import lzma
import re
from pathlib import Path

TRAIN_SHARE = 0.7
_ENDS = frozenset(".!?")
# WikiText sets every sentence's words and marks apart by blanks, and its headings in equal signs.
_HEADING = re.compile(r"^ = [^=].* = $", re.MULTILINE)


def read_wikitext(folder: Path) -> tuple[str, str]:
    """The first 70 % of the text, to train on, and the rest; no article is in both."""
    text = lzma.decompress((folder / "wikitext2_valid.txt.xz").read_bytes()).decode("utf-8")
    wanted = int(TRAIN_SHARE * len(text))
    cut = next(found.start() for found in _HEADING.finditer(text) if found.start() >= wanted)
    return text[:cut], text[cut:]


def read_abstracts(folder: Path) -> str:
    """The abstracts of the starter catalogue, an empty line after each."""
    lines = lzma.decompress((folder / "starter.jsonl.xz").read_bytes()).decode("utf-8").splitlines()
    return "".join(f"{json.loads(line)['abstract']}\n\n" for line in lines)


def words_of(text: str) -> list[str]:
    """The words and marks of WikiText, without headings."""
    return [word for line in text.splitlines() if not _is_heading(line) for word in line.split()]


def sentences_of_text(text: str, n: int, *, shortest: int = 8, longest: int = 16) -> list[str]:
    """`n` sentences of so many words, at even distances through the text, each with its full stop.

    Sentences with words that WikiText replaced by <unk> are left out. Raises ValueError where the
    text has fewer.
    """
    found: list[str] = []
    begun: list[str] = []
    for word in words_of(text):
        begun.append(word)
        if word in _ENDS:
            if word == "." and shortest <= len(begun) <= longest and "<unk>" not in begun:
                found.append(" ".join(begun))
            begun = []
    found = list(dict.fromkeys(found))
    if len(found) < n:
        raise ValueError(f"the text has {len(found)} sentences of {shortest} to {longest} words")
    return [found[i * len(found) // n] for i in range(n)]


def _is_heading(line: str) -> bool:
    return line.strip().startswith("=")
