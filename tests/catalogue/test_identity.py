import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.identity import (
    address_key,
    arxiv_id,
    arxiv_key,
    arxiv_of_key,
    could_be_one,
    is_category,
    title_key,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2312.00858", "2312.00858"),
        (" 2312.00858v12 ", "2312.00858"),
        ("arXiv:2312.00858v1", "2312.00858"),
        ("https://arxiv.org/abs/2312.00858v2", "2312.00858"),
        ("http://www.arxiv.org/pdf/2312.00858v2.pdf", "2312.00858"),
        ("https://huggingface.co/papers/2312.00858", "2312.00858"),
        ("https://doi.org/10.48550/arXiv.2312.00858", "2312.00858"),
        ("oai:arXiv.org:0704.0001", "0704.0001"),
        ("cs/0610046v1", "cs/0610046"),
        ("math.GT/0309136", "math/0309136"),
        ("https://arxiv.org/abs/hep-th/9901001", "hep-th/9901001"),
    ],
)
def test_an_arxiv_id_is_read_in_every_spelling(text: str, expected: str) -> None:
    assert arxiv_id(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2313.00858",
        "2300.00858",
        "2312.858",
        "1412.12345",
        "1501.1234",
        "0703.0001",
        "nothing/0610046",
        "cs/06100",
        "10.1145/2312.00858",
        "see 2312.00858",
        "2312.00858v0",
        "١٢٣٤.٠٠٨٥٨",
    ],
)
def test_what_is_no_arxiv_id_is_none(text: str) -> None:
    assert arxiv_id(text) is None


@pytest.mark.parametrize("arxiv", ["2312.00858", "cs/0610046", "math-ph/0309136"])
def test_the_address_of_an_arxiv_paper_leads_back_to_its_id(arxiv: str) -> None:
    assert "/" not in arxiv_key(arxiv)
    assert arxiv_of_key(arxiv_key(arxiv)) == arxiv


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pre-Training  Language Models", "Pretraining language models"),
        (r"$\alpha$-Net: 2.3$\times$ faster", "alpha-Net: 2.3times faster"),
        (r"$\lambda$ calculus", "λ calculus"),
        ("Erdős and “quotes”", 'Erdos and "quotes"'),
        (r"\emph{Deep} Learning", "Deep Learning."),
        ("ﬁne tuning", "fine-tuning"),
    ],
)
def test_two_spellings_of_a_title_have_one_key(one: str, other: str) -> None:
    assert title_key(one) == title_key(other)


def test_different_titles_have_different_keys() -> None:
    titles = ["GPT-3", "GPT-4", "On α", "On β", "深度学习", "机器学习", "???", "!!!", "C", "C2"]
    assert len({title_key(title) for title in titles}) == len(titles)


@given(st.text(min_size=1))
def test_no_title_that_says_anything_has_an_empty_key(title: str) -> None:
    # Braces alone are LaTeX's, and say nothing.
    if title.replace("{", "").replace("}", "").strip() and "\\" not in title and "$" not in title:
        assert title_key(title)


@given(st.text())
def test_an_address_is_short_and_safe_in_a_path(title: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,80}", address_key(title))
    assert arxiv_of_key(address_key(title)) is None


def test_an_address_has_the_titles_words() -> None:
    assert address_key("Universal Transformers").startswith("universal-transformers-")
    assert address_key("Universal Transformers!") == address_key("Universal transformers")


def test_categories_of_arxiv_are_told_from_other_codes() -> None:
    given_ = [
        "cs.CL",
        "math-ph",
        "cond-mat.mtrl-sci",
        "68T45, 62H30",
        "I.2.7; H.3.3",
        "68T01",
        "A.I",
    ]
    assert [name for name in given_ if is_category(name)] == given_[:3]


ABSTRACT = (
    "We study how a model that is trained on a mixture of sources forgets, and measure on six "
    "benchmarks how much of the loss a small buffer of old examples wins back. The buffer of one "
    "percent suffices in four of them, and in the others the order of the sources decides."
)
OTHER = (
    "Bridges age. A camera on a drone sees cracks of a tenth of a millimetre when the light comes "
    "from the side; we describe the lamp, the flight path and the detector, and compare with what "
    "three inspectors found on foot. They miss one crack in five, the drone one in nine."
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Named authors decide.
        ((["Ann Lee", "Bo Xu"], 2, None, ""), (["Lee, Ann", "Xu, Bo"], 2, None, ""), True),
        ((["Ann Lee", "Bo Xu"], 2, None, ABSTRACT), (["C. Diaz"], 1, None, ABSTRACT), False),
        ((["A. Müller"], 1, None, ""), (["Anna Muller", "Bo Xu"], 2, None, ""), True),
        # Without names on one side, abstracts do.
        (([], 2, None, ABSTRACT), (["Ann Lee"], 1, None, ABSTRACT[:230]), True),
        (([], 1, None, ABSTRACT), (["Ann Lee"], 1, None, OTHER), False),
        # Without either, the number of authors may contradict.
        (([], 3, None, ""), ([], 4, None, ""), False),
        (([], None, None, ""), ([], 4, None, ""), True),
        # Ten years apart is another paper of that title.
        ((["Ann Lee"], 1, date(2012, 1, 1), ""), (["Ann Lee"], 1, date(2022, 1, 1), ""), False),
    ],
)
def test_one_title_is_one_paper_unless_something_contradicts(
    one: tuple, other: tuple, expected: bool
) -> None:
    assert could_be_one(one, other) is expected
    assert could_be_one(other, one) is expected
