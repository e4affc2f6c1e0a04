"""Papers as other programs cite them: BibTeX, CSL-JSON and RIS.

BibTeX carries LaTeX as the papers' sources have it; CSL-JSON and RIS carry plain words. What is
written as BibTeX is read again by `sources/bibtex.py`, and a property test holds the two together.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from bibtexparser import Library  # type: ignore[attr-defined]  # documented, in no __all__
from bibtexparser.model import Entry, Field
from bibtexparser.writer import write

from paperround.catalogue.records import Paper
from paperround.catalogue.sources.fields import doi_of
from paperround.catalogue.text import one_line, plain_text

# A style of citation has no more; the rest is "and others" there.
_MAX_AUTHORS = 500
_WORD = re.compile(r"[a-z0-9]+")
# Words that say nothing in a citation's key.
# fmt: off
_SMALL_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "of",
    "on", "or", "the", "to", "via", "with",
})
# fmt: on
_MEETING = re.compile(r"\b(?:proc|proceedings|conference|workshop|symposium|meeting)\b", re.I)
# The names of conferences that hold none of those words.
# fmt: off
_MEETINGS = frozenset({
    "aaai", "acl", "aistats", "coling", "colt", "conll", "cvpr", "eacl", "eccv", "emnlp",
    "iccv", "iclr", "icml", "ijcai", "interspeech", "kdd", "naacl", "neurips", "nips",
    "recsys", "sigir", "uai", "wacv", "wsdm", "www",
})
# fmt: on
_FORMULA = re.compile(r"(\$(?:[^$\\]|\\.)*\$)", re.DOTALL)


@dataclass(frozen=True)
class Cited:
    """A paper with what identifies it by scheme, and a note on it."""

    paper: Paper
    identifiers: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def bibtex(papers: Sequence[Cited]) -> str:
    """The papers as a BibTeX bibliography, one entry each, no two under one key."""
    keys = _keys(papers)
    entries = [_entry(cited, key) for cited, key in zip(papers, keys, strict=True)]
    return write(Library(list(entries)))


def csl_json(papers: Sequence[Cited]) -> str:
    """The papers as CSL-JSON, as pandoc and citation processors read it."""
    keys = _keys(papers)
    items = [_csl_item(cited, key) for cited, key in zip(papers, keys, strict=True)]
    return orjson.dumps(items, option=orjson.OPT_INDENT_2).decode()


def ris(papers: Sequence[Cited]) -> str:
    """The papers as RIS, as reference managers read it; lines end as its rules want them."""
    return "".join(
        f"{tag}  - {value}".rstrip() + "\r\n"
        for cited in papers
        for tag, value in (*_ris_lines(cited), ("ER", ""))
    )


def _keys(papers: Sequence[Cited]) -> list[str]:
    """A key such as `ay2026counting` for each paper; the second of one name gets a number."""
    taken: set[str] = set()
    keys = []
    for cited in papers:
        paper = cited.paper
        family = _WORD.findall(_ascii(_family(paper.authors[0]))) if paper.authors else []
        words = _WORD.findall(_ascii(paper.title_text))
        word = next((word for word in words if word not in _SMALL_WORDS), "paper")
        day = paper.published or paper.day
        stem = f"{''.join(family) or 'anonymous'}{day.year if day else ''}{word}"[:60]
        key, number = stem, 1
        while key in taken:
            number += 1
            key = f"{stem}-{number}"
        taken.add(key)
        keys.append(key)
    return keys


# --- BibTeX


def _entry(cited: Cited, key: str) -> Entry:
    paper = cited.paper
    day = paper.published or paper.day
    arxiv, doi = cited.identifiers.get("arxiv"), doi_of(cited.identifiers.get("doi"))
    kind = _kind(cited)
    venue = {"meeting": "booktitle", "journal": "journal"}.get(kind)
    values: list[tuple[str, str | None]] = [
        ("title", _latex(paper.title)),
        ("author", " and ".join(filter(None, map(_author, paper.authors)))),
        (venue or "note", _latex(paper.venue or "") if venue else None),
        ("year", f"{day.year:04d}" if day else None),
        ("month", f"{day.month}" if day else None),
        ("date", day.isoformat() if day else None),
        ("eprint", arxiv),
        ("archiveprefix", "arXiv" if arxiv else None),
        ("primaryclass", paper.categories[0] if arxiv and paper.categories else None),
        ("doi", doi if doi and not re.search(r"[{}\\]", doi) else None),
        ("url", _address(cited.identifiers)),
        ("pdf", paper.pdf_url),
        ("keywords", _latex(", ".join(paper.keywords))),
        ("abstract", _latex(paper.abstract)),
        ("annote", _latex(cited.note)),
    ]
    kinds = {"meeting": "inproceedings", "journal": "article", "preprint": "misc"}
    fields = [Field(name, f"{{{value}}}") for name, value in values if value]
    return Entry(kinds[kind], key, fields)


def _author(name: str) -> str:
    """The name as it stands in a list of them: in braces where a comma or "and" would split it."""
    value = _latex(name)
    splits = re.search(r",|(?:^|\s)and(?:\s|$)|^others$", value, re.IGNORECASE)
    return f"{{{value}}}" if splits else value


def _latex(text: str) -> str:
    """The text on one line, so that it can stand between braces: what it says, LaTeX or not.

    Signs that mean something to LaTeX are escaped where their writer forgot it. Braces that do not
    match would end the field too early, and go.
    """
    line = one_line(text)
    # An escaped brace is one to BibTeX all the same, or none to some of its readers.
    text = line.replace("\\{", "\\lbrace{}").replace("\\}", "\\rbrace{}")
    if not _balances(text):
        text = one_line(plain_text(line).translate({ord("{"): "(", ord("}"): ")"}))
    parts = _FORMULA.split(text)
    for place, part in enumerate(parts):
        signs = "%&#" if place % 2 else "%&#_"
        # Behind an even number of backslashes: an odd one escapes it already.
        parts[place] = re.sub(rf"(?<!\\)(?:\\\\)*[{signs}]", _escaped, part)
    # A backslash at the end would escape the brace that closes the field.
    return "".join(parts).rstrip("\\").rstrip()


def _escaped(found: re.Match[str]) -> str:
    return f"{found[0][:-1]}\\{found[0][-1]}"


def _balances(text: str) -> bool:
    depth = 0
    for sign in text:
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0


# --- CSL-JSON


def _csl_item(cited: Cited, key: str) -> dict[str, Any]:
    paper = cited.paper
    day = paper.published or paper.day
    arxiv = cited.identifiers.get("arxiv")
    kinds = {"meeting": "paper-conference", "journal": "article-journal", "preprint": "article"}
    item = {
        "id": key,
        "type": kinds[_kind(cited)],
        "title": paper.title_text,
        "author": [_csl_name(name) for name in paper.authors[:_MAX_AUTHORS]],
        "issued": {"date-parts": [[day.year, day.month, day.day]]} if day else None,
        "container-title": paper.venue,
        "publisher": "arXiv" if arxiv and not paper.venue else None,
        "number": f"arXiv:{arxiv}" if arxiv else None,
        "DOI": doi_of(cited.identifiers.get("doi")),
        "URL": _address(cited.identifiers) or paper.pdf_url,
        "keyword": ", ".join(paper.keywords),
        "abstract": paper.abstract_text,
        "note": cited.note,
    }
    return {name: value for name, value in item.items() if value}


def _csl_name(name: str) -> dict[str, str]:
    given, family = _given(name), _family(name)
    return {"family": family, "given": given} if given else {"literal": one_line(name)}


# --- RIS


def _ris_lines(cited: Cited) -> list[tuple[str, str]]:
    paper = cited.paper
    day = paper.published or paper.day
    kinds = {"meeting": "CPAPER", "journal": "JOUR", "preprint": "GEN"}
    kind = _kind(cited)
    names = []
    for name in paper.authors[:_MAX_AUTHORS]:
        given, family = _given(name), _family(name)
        names.append(("AU", f"{family}, {given}" if given else one_line(name)))
    lines = [
        ("TY", kinds[kind]),
        ("TI", paper.title_text),
        *names,
        ("T2", paper.venue or ""),
        ("PY", f"{day.year:04d}" if day else ""),
        ("DA", f"{day.year:04d}/{day.month:02d}/{day.day:02d}" if day else ""),
        ("DO", doi_of(cited.identifiers.get("doi")) or ""),
        ("UR", _address(cited.identifiers) or paper.pdf_url or ""),
        *(("KW", keyword) for keyword in paper.keywords),
        ("AB", paper.abstract_text),
        ("N1", cited.note),
    ]
    # A line break in a value would begin a line of its own.
    return [(tag, one_line(value)) for tag, value in lines if value.strip()]


# --- what they share


def _kind(cited: Cited) -> str:
    """`preprint`, `meeting` or `journal`, by the venue's name."""
    venue = cited.paper.venue
    if not venue or "arxiv" in venue.lower():
        return "preprint"
    words = set(_WORD.findall(venue.lower()))
    return "meeting" if _MEETING.search(venue) or words & _MEETINGS else "journal"


def _address(identifiers: Mapping[str, str]) -> str | None:
    """Where the paper is at home, by what identifies it; the publication before the preprint."""
    for scheme, where in (
        ("acl", "https://aclanthology.org/{}"),
        ("openreview", "https://openreview.net/forum?id={}"),
        ("arxiv", "https://arxiv.org/abs/{}"),
    ):
        if value := identifiers.get(scheme):
            return where.format(value)
    doi = doi_of(identifiers.get("doi"))
    return f"https://doi.org/{doi}" if doi else None


def _family(name: str) -> str:
    """The last name: what stands before the comma, or the last word and the small ones before."""
    last, comma, _ = name.partition(",")
    if comma:
        return one_line(last)
    words = name.split()
    start = len(words) - 1
    while start > 1 and words[start - 1].islower():
        start -= 1
    return " ".join(words[max(start, 0) :])


def _given(name: str) -> str:
    """The rest of the name."""
    _, comma, first = name.partition(",")
    if comma:
        return one_line(first)
    family = _family(name)
    words = name.split()
    return " ".join(words[: len(words) - len(family.split())])


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
