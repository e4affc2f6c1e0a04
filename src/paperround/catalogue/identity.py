"""When are two records one paper? Identifiers, titles, and near-equal abstracts.

The abstracts are compared with the method of a paper in this very catalogue: SlimPajama-DC's
MinHash-LSH proposes candidates, the true Jaccard similarity decides (`papers/slimpajama_dc`).
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import date

from paperround.catalogue.text import plain_text
from paperround.papers.slimpajama_dc import band_keys, clean_text, signatures, true_jaccard

# Two abstracts from this similarity on are one paper's; below it, versions and companion papers.
SAME_ABSTRACT = 0.8
# Shorter texts ("Accepted at …", "See the journal version.") say nothing of the paper.
_MIN_CHARS = 200
# Candidates are verified, so a chance collision costs one comparison; 8 bytes make it rare.
_KEY_BYTES = 8
_MIN_TITLE_WORDS = 4
_MAX_YEARS_APART = 2

_ARXIV = re.compile(
    r"(?:https?://)?(?:www\.|export\.)?(?:arxiv\.org/(?:abs|pdf|html)/|arxiv:)?"
    r"(\d{4}\.\d{4,5}|[a-z-]+(?:\.[a-z]{2})?/\d{7})(?:v\d+)?(?:\.pdf)?/?",
    re.IGNORECASE,
)


def arxiv_id(text: str) -> str | None:
    """The arXiv identifier that a text is, without its version; None where it is something else.

    Takes identifiers of both forms (`2502.08923v2`, `cs.DS/0610046`), `arXiv:…` and addresses.
    """
    found = _ARXIV.fullmatch(text.strip())
    if found is None:
        return None
    archive, slash, number = found[1].partition("/")
    if not slash:
        month = int(archive[2:4])
        return archive if 1 <= month <= 12 else None
    group, dot, subject = archive.partition(".")
    return f"{group.lower()}{dot}{subject.upper()}/{number}"


def title_key(title: str) -> str:
    """Equal for one title in two sources' spelling: letters and digits only, folded, no accents."""
    decomposed = unicodedata.normalize("NFKD", plain_text(title)).casefold()
    kept = (
        sign if sign.isalnum() else " " for sign in decomposed if not unicodedata.combining(sign)
    )
    return " ".join("".join(kept).split())


def address_of(title: str, source: str, source_key: str) -> str:
    """A readable key for a paper that has no arXiv identifier; the same for the same record."""
    slug = "-".join(title_key(title).encode("ascii", "ignore").decode().split())[:60].strip("-")
    mark = hashlib.sha256(f"{source}\0{source_key}".encode()).hexdigest()[:8]
    return f"{slug or 'paper'}-{mark}"


def may_share_title(
    key: str,
    authors: Sequence[str],
    published: date | None,
    other_authors: Sequence[str],
    other_published: date | None,
) -> bool:
    """Whether two records with this same title key are one paper, as far as authors and years go.

    A short title ("Introduction") needs an author in common; for any title, known authors must not
    be all different and known years not far apart.
    """
    if (
        published is not None
        and other_published is not None
        and abs(published.year - other_published.year) > _MAX_YEARS_APART
    ):
        return False
    if not authors or not other_authors:
        return len(key.split()) >= _MIN_TITLE_WORDS
    return bool(_surnames(authors) & _surnames(other_authors))


def abstract_keys(abstracts: Sequence[str]) -> list[list[bytes]]:
    """The band keys of each abstract, under which near-equal ones meet; none for a short one."""
    cleaned = [clean_text(abstract) for abstract in abstracts]
    long_enough = [i for i, text in enumerate(cleaned) if len(text) >= _MIN_CHARS]
    found: list[list[bytes]] = [[] for _ in abstracts]
    rows = signatures([cleaned[i] for i in long_enough], cleaned=True)
    for i, row in zip(long_enough, rows, strict=True):
        found[i] = [key[:_KEY_BYTES] for key in band_keys(row)]
    return found


def is_same_abstract(a: str, b: str) -> bool:
    """Whether the two abstracts are one paper's, by the true similarity of their shingles."""
    return true_jaccard(a, b) >= SAME_ABSTRACT


def _surnames(authors: Sequence[str]) -> set[str]:
    # "Family, Given" and "Given Family" both occur.
    names = (
        name.partition(",")[0] if "," in name else name.split()[-1] for name in authors if name
    )
    return {title_key(name) for name in names}
