"""What somebody names, and who is asked of it: never a server of their choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.asking import named
from paperround.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name", "sources"),
    [
        ("2312.00858", "2312.00858", ["arXiv"]),
        (" https://arxiv.org/pdf/2312.00858v2 ", "2312.00858", ["arXiv"]),
        ("https://huggingface.co/papers/2312.00858", "2312.00858", ["arXiv"]),
        ("https://doi.org/10.48550/arXiv.2312.00858", "2312.00858", ["arXiv"]),
        ("10.1145/3292500.3330701", "10.1145/3292500.3330701", ["OpenAlex", "Semantic Scholar"]),
        ("https://doi.org/10.1145/1.2", "10.1145/1.2", ["OpenAlex", "Semantic Scholar"]),
        ("https://openalex.org/W2741809807", "W2741809807", ["OpenAlex"]),
        (
            "https://www.semanticscholar.org/paper/On-it/" + "0a" * 20,
            "0a" * 20,
            ["Semantic Scholar"],
        ),
        (
            "https://aclanthology.org/2023.acl-long.1/",
            "2023.acl-long.1",
            ["OpenAlex", "Semantic Scholar"] * 2,
        ),
    ],
)
def test_a_paper_is_asked_of_the_sources_that_have_it(
    text: str, name: str, sources: list[str]
) -> None:
    wanted = named(text)
    assert wanted.name == name
    assert [source for source, _ in wanted.asks] == sources


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:8000/papers/2312.00858",
        "https://arxiv.org.evil.example/abs/2312.00858",
        "https://evil.example/?https://arxiv.org/abs/2312.00858",
        "https://arxiv.org@evil.example/abs/2312.00858",
        "file:///etc/passwd",
        "gopher://arxiv.org/abs/2312.00858",
        "https://openalex.org.evil.example/W1",
        "https://openreview.net/forum?id=abc_DEF-1",
        "10.1000/../../authors",
        "2312.00858\nX-Header: 1",
        "x" * 401,
    ],
)
def test_what_no_source_has_is_refused_and_nobody_is_asked(text: str) -> None:
    with pytest.raises(UsageError):
        named(text)


@given(st.text(max_size=60))
def test_any_text_names_something_or_is_refused(text: str) -> None:
    try:
        wanted = named(text)
    except UsageError:
        return
    assert wanted.asks
