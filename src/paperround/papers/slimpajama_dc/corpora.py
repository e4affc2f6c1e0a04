"""The documents that the reproduction reads: abstracts, and texts of seven domains."""

import csv
import io
import json
import lzma
import random
import re
from collections.abc import Iterable
from pathlib import Path

from paperround.papers.slimpajama_dc.planting import Document

# Primary categories with enough papers to be a source of their own; the rest is "other".
_CATEGORIES = ("cs.AI", "cs.CL", "cs.CV")
_SHORTEST, _LONGEST = 300, 2_000


def abstracts(lines: Iterable[str]) -> list[Document]:
    """One document per paper of a catalogue's JSON lines; its source is the primary category."""
    documents = []
    for line in lines:
        row = json.loads(line)
        category = row["categories"][0] if row["categories"] else "other"
        source = category if category in _CATEGORIES else "other"
        documents.append(Document(row["id"], source, row["abstract"]))
    return documents


def domain_documents(folder: Path, per_source: int, seed: int) -> list[Document]:
    """Up to `per_source` documents of 300 to 2,000 characters from each of seven domains."""
    documents = []
    for source, name in _FILES.items():
        raw = lzma.decompress((folder / name).read_bytes())
        # The Silesia copy of Dickens is not UTF-8; everything else is.
        text = raw.decode("latin-1" if source == "books" else "utf-8")
        pieces = [piece for whole in _wholes(name, text) for piece in split(whole)]
        random.Random(seed).shuffle(pieces)
        documents += [
            Document(f"{source}-{i}", source, piece) for i, piece in enumerate(pieces[:per_source])
        ]
    return documents


_FILES = {
    "books": "books/dickens.txt.xz",
    "code": "code/python_stdlib_3.11.7.py.txt.xz",
    "math": "math/stacks_project.tex.xz",
    "news": "news/ag_news_7600.csv.xz",
    "reviews": "reviews/movie_reviews.jsonl.xz",
    "web": "web/c4_demo.jsonl.xz",
    "wiki": "wiki/wiki_intros_2wiki.txt.xz",
}


def split(text: str) -> list[str]:
    """The text in documents of 300 to 2,000 characters, cut at line ends where there are any.

    Lines are gathered until a document is long enough; a rest that stays too short is left out.
    """
    documents, waiting = [], ""
    for line in text.splitlines(keepends=True):
        for start in range(0, len(line), _LONGEST - _SHORTEST):
            waiting += line[start : start + _LONGEST - _SHORTEST]
            if len(waiting.strip()) >= _SHORTEST:
                documents.append(waiting.strip())
                waiting = ""
    return documents


def _wholes(name: str, text: str) -> list[str]:
    """The documents as the file has them; a book or a source tree is one."""
    if name.endswith(".jsonl.xz"):
        return [json.loads(line)["text"] for line in text.splitlines() if line]
    if name.endswith(".csv.xz"):
        # A news item is shorter than 300 characters: neighbours are read as one page.
        items = [" ".join(row[1:]) for row in csv.reader(io.StringIO(text))]
        return ["\n".join(items)]
    if name.startswith("code"):
        return re.split(r"^# ==== file: .*$", text, flags=re.MULTILINE)
    return [text.replace("\r\n", "\n")]
