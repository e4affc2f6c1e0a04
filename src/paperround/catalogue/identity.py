"""When are two records one paper? Their identifiers, their titles, or their abstracts say so.

`title_key` and `arxiv_id` are the exact part. Abstracts are compared as SlimPajama compares
documents: the MinHash bands of each stand in the table `band`; two that share a band are candidates
only, and one paper when their true Jaccard similarity is high enough.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from functools import lru_cache

from paperround.catalogue.text import plain_text
from paperround.papers.slimpajama_dc import band_keys, signatures, true_jaccard

# Two abstracts are one paper's from this share of common 13-grams; SlimPajama's own threshold.
SAME_ABSTRACT = 0.8
# Under an equal title less is enough: versions of an abstract differ, other papers' hardly meet.
SAME_TITLE_ABSTRACT = 0.3
# Shorter ones ("To appear.") are alike without being the same; SlimPajama's own limit.
MIN_ABSTRACT = 200
# How a source key begins that was made of the title, for want of the source's own.
DERIVED = "title:"
# A preprint and its publication lie years apart at times; more is another paper of that title.
_MAX_YEARS_APART = 3

_OLD_ARCHIVES = (
    "acc-phys|adap-org|alg-geom|ao-sci|astro-ph|atom-ph|bayes-an|chao-dyn|chem-ph|cmp-lg|comp-gas"
    "|cond-mat|cs|dg-ga|funct-an|gr-qc|hep-ex|hep-lat|hep-ph|hep-th|math|math-ph|mtrl-th|nlin"
    "|nucl-ex|nucl-th|patt-sol|physics|plasm-ph|q-alg|q-bio|quant-ph|solv-int|supr-con"
)
_ARXIV_ID = re.compile(
    r"^(?:arxiv\s*:\s*|oai:arxiv\.org:"
    r"|(?:https?://)?(?:www\.|export\.)?arxiv\.org/(?:abs|pdf|html|e-print|ps)/"
    r"|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|alphaxiv\.org)/(?:papers|abs)/"
    r"|(?:https?://)?(?:dx\.)?doi\.org/10\.48550/arxiv\.|10\.48550/arxiv\.)?"
    rf"(?P<id>(?P<year>\d\d)(?P<month>0[1-9]|1[0-2])\.(?P<number>\d{{4,5}})"
    rf"|(?P<archive>{_OLD_ARCHIVES})(?:\.[a-z]{{2}})?/(?P<old>\d\d(?:0[1-9]|1[0-2])\d{{3}}))"
    r"(?:v[1-9]\d{0,3})?(?:\.pdf|\.md)?/?(?:[?#].*)?$",
    re.IGNORECASE | re.ASCII,
)
_CATEGORY = re.compile(
    rf"^(?:(?:cs|econ|eess|math|nlin|physics|q-bio|q-fin|stat|astro-ph|cond-mat)\.[A-Za-z-]{{2,8}}"
    rf"|{_OLD_ARCHIVES})$"
)
_ASCII_KEPT = re.compile(r"[a-z0-9]+")
_SLUG_CHARS = 60
_ORGANISATION_CHARS = 80
# Longer texts are no ids and no titles, whatever a file calls them.
_LONGEST_CACHED = 1_000


def arxiv_id(text: str) -> str | None:
    """The arXiv id in an id, an `arXiv:` reference, an address or a DOI; None where there is none.

    Without its version: `https://arxiv.org/pdf/2312.00858v2` gives `2312.00858`, and
    `math.GT/0309136` gives `math/0309136`, as arXiv itself files it.
    """
    # Every record's id is looked at several times on its way in; a text of megabytes is not kept.
    return _arxiv_id(text) if len(text) <= _LONGEST_CACHED else None


@lru_cache(maxsize=4_096)
def _arxiv_id(text: str) -> str | None:
    found = _ARXIV_ID.match(text.strip())
    if found is None:
        return None
    if found["old"]:
        return f"{found['archive'].lower()}/{found['old']}"
    # Five digits since January 2015, four before; ids begin in April 2007.
    month, digits = found["year"] + found["month"], len(found["number"])
    if month < "0704" or digits != (5 if month >= "1501" else 4):
        return None
    return found["id"]


@lru_cache(maxsize=4_096)
def is_category(text: str) -> bool:
    """Whether it is a category of arXiv, and not a code of MSC or ACM, which stand with them."""
    return _CATEGORY.match(text) is not None


def title_key(title: str) -> str:
    r"""Equal for one title in two sources' spelling: letters and digits only, without accents.

    Greek letters and signs become their names, since some sources keep only the name of what was
    LaTeX: `$\alpha$-Net` and `alpha-Net` are equal. Never empty for a title that is not blank.
    """
    return _title_key(title) if len(title) <= _LONGEST_CACHED else _key_of_title(title)


def _key_of_title(title: str) -> str:
    plain = plain_text(title)
    if plain.isascii() and (key := "".join(_ASCII_KEPT.findall(plain.lower()))):
        return key
    kept = [
        _spelled(char)
        for char in unicodedata.normalize("NFKD", plain.casefold())
        if char.isalnum() or char == "×"
    ]
    return "".join(kept) or "".join(plain.split())


_title_key = lru_cache(maxsize=4_096)(_key_of_title)


def address_key(title: str) -> str:
    """What stands in the address of a paper without an arXiv id: words of its title, and a hash.

    The hash is of the title's key, so that the same title gives the same address everywhere.
    """
    ascii_only = unicodedata.normalize("NFKD", plain_text(title)).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_only.lower().replace("'", ""))
    while len("-".join(words)) > _SLUG_CHARS and len(words) > 1:
        words.pop()
    slug = "-".join(words)[:_SLUG_CHARS] or "paper"
    return f"{slug}-{hashlib.sha256(title_key(title).encode()).hexdigest()[:8]}"


def organisation_key(name: str | None) -> str | None:
    """What stands in the address of an organisation's page: the words of its name.

    Equal for two spellings that differ in accents, capitals or signs alone. A name without a
    letter of ASCII is a hash of its own. None where there is no name.
    """
    if not name or not (key := title_key(name)):
        return None
    ascii_only = unicodedata.normalize("NFKD", plain_text(name)).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_only.lower().replace("'", ""))
    slug = "-".join(words)
    if 0 < len(slug) <= _ORGANISATION_CHARS:
        return slug
    start = slug[: _ORGANISATION_CHARS - 20].strip("-") or "organisation"
    return f"{start}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def arxiv_key(arxiv: str) -> str:
    """What stands in the address of a paper of that arXiv id; an old id's slash becomes a dash."""
    return arxiv.replace("/", "-")


def arxiv_of_key(key: str) -> str | None:
    """The arXiv id that `arxiv_key` made this of; None for the key of a paper without one."""
    archive, _, number = key.rpartition("-")
    return arxiv_id(f"{archive}/{number}" if archive else key)


def derived_key(title: str) -> str:
    """The source key of a record whose source has no names of its own for its papers."""
    return f"{DERIVED}{address_key(title)}"


def bands_of(abstracts: Sequence[str]) -> list[list[bytes]]:
    """The MinHash band keys of each abstract; none for one too short to tell papers apart."""
    long_enough = [i for i, text in enumerate(abstracts) if len(text) >= MIN_ABSTRACT]
    found: list[list[bytes]] = [[] for _ in abstracts]
    if long_enough:
        for i, row in zip(
            long_enough, signatures([abstracts[i] for i in long_enough]), strict=True
        ):
            found[i] = band_keys(row)
    return found


def same_abstract(a: str, b: str) -> bool:
    """Whether two abstracts are one but for light edits."""
    return min(len(a), len(b)) >= MIN_ABSTRACT and bool(true_jaccard(a, b) >= SAME_ABSTRACT)


def could_be_one(
    a: tuple[Sequence[str], int | None, date | None, str],
    b: tuple[Sequence[str], int | None, date | None, str],
) -> bool:
    """Whether two records of one title can be one paper.

    Of each: authors, their number, the date, the abstract.
    Named authors decide where both have them: half of the shorter list must stand in the other.
    Else long abstracts decide; else the numbers of authors must not contradict.
    """
    (authors, count, day, abstract), (other_authors, other_count, other_day, other_abstract) = a, b
    if day and other_day and abs(day.year - other_day.year) > _MAX_YEARS_APART:
        return False
    ours, theirs = _family_names(authors), _family_names(other_authors)
    if ours and theirs:
        return 2 * len(ours & theirs) >= min(len(ours), len(theirs))
    if min(len(abstract), len(other_abstract)) >= MIN_ABSTRACT:
        return bool(true_jaccard(abstract, other_abstract) >= SAME_TITLE_ABSTRACT)
    return count is None or other_count is None or count == other_count


def are_two(a: tuple[str, Sequence[str], str], b: tuple[str, Sequence[str], str]) -> bool:
    """Whether two records that a source gives under one name are plainly two papers.

    Of each: title, authors, abstract. All of them must differ, as far as both know them, and two
    titles alone say nothing: a paper gets a new title, another author or another abstract now and
    then, and hardly all three.
    """
    (title, authors, abstract), (other_title, other_authors, other_abstract) = a, b
    if title_key(title) == title_key(other_title):
        return False
    ours, theirs = _family_names(authors), _family_names(other_authors)
    if ours & theirs:
        return False
    if abstract and other_abstract:
        return bool(true_jaccard(abstract, other_abstract) < SAME_TITLE_ABSTRACT)
    return bool(ours and theirs)


def _family_names(authors: Sequence[str]) -> set[str]:
    """The last words of the names, without accents: what all sources write alike, if any."""
    names = set()
    for author in authors:
        # "Last, First" is how bibliographies have it.
        name = author.split(",")[0] if "," in author else author.split()[-1] if author else ""
        if key := title_key(name):
            names.add(key)
    return names


def _spelled(char: str) -> str:
    if char == "×":
        return "times"
    if "α" <= char <= "ω":
        # Unicode's own spelling is LAMDA.
        return unicodedata.name(char).split()[-1].lower().replace("lamda", "lambda")
    return char
