"""Builds the starter catalogue that ships in the package, from the corpus and the seed's records.

    python tools/build_starter.py INDEX.json CORPUS.jsonl.gz

INDEX.json holds the 47 papers of the seed page with what is known of them; the corpus is arXiv
metadata (CC0) with the days on which each paper was listed. Takes the papers of the last 14 listing
days and the 47, one JSON line each, in our own shape; the same input gives the same bytes.
"""

import gzip
import hashlib
import json
import lzma
import sys
from pathlib import Path
from typing import Any

from paperround.catalogue.identity import derived_key

LISTING_DAYS = 14
TARGET = Path(__file__).parents[1] / "src/paperround/catalogue/data/starter.jsonl.xz"

# What both have under the same name.
KEPT = ("title", "abstract", "authors", "categories", "comment", "listed")


def seed_rows(index: Path) -> list[dict[str, Any]]:
    """The seed page's papers, as that page's source would give them, with their identifiers."""
    rows = []
    for paper in json.loads(index.read_text(encoding="utf-8")):
        row = {
            "id": paper["arxiv"],
            "source": "hf-page",
            # As that source names it, so that importing the page again changes nothing.
            "source_key": derived_key(paper["title"]),
            "title": paper["title"],
            "abstract": paper["abstract"],
            "authors": paper["authors"],
            "author_count": max(paper["author_count"] or 0, len(paper["authors"])),
            "organisation": paper["organisation"],
            "published": paper["date"],
            "categories": paper["categories"],
            "venue": paper["venue"],
            "code_url": paper["code"],
            "comments": paper["comments"],
        }
        rows.append({name: value for name, value in row.items() if value is not None})
    return rows


def corpus_rows(corpus: Path) -> list[dict[str, Any]]:
    """The corpus's papers of the last listing days, by their first such day and identifier."""
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        papers = [json.loads(line) for line in lines]
    days = sorted({day for paper in papers for day in paper["listed"]})[-LISTING_DAYS:]
    rows = []
    for paper in papers:
        if set(paper["listed"]) & set(days):
            kept = {name: paper[name] for name in KEPT if paper[name]}
            rows.append({"id": paper["id"], "source": "arxiv", **kept})
    return sorted(rows, key=lambda row: (min(row["listed"]), row["id"]))


def main() -> None:
    """Writes the starter catalogue and says how large it is."""
    index, corpus = (Path(argument) for argument in sys.argv[1:3])
    seed = seed_rows(index)
    known = {row["id"] for row in seed}
    rows = seed + [row for row in corpus_rows(corpus) if row["id"] not in known]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    # No time stamps and a fixed preset: the same bytes every time.
    TARGET.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(rows)} papers, {len(seed)} of the seed page, {TARGET.stat().st_size} bytes")
    print(f"sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()} (kit/assets.toml)")
    print(f"FIRST, LAST = {rows[0]['id']!r}, {rows[-1]['id']!r} (catalogue/starter.py)")


if __name__ == "__main__":
    main()
