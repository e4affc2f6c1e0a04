import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.links import github_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Code is at https://github.com/horseee/DeepCache", "horseee/DeepCache"),
        ("available at https://github.com/Linxi000/UniRec.", "Linxi000/UniRec"),
        ("(github.com/a/b),", "a/b"),
        (r"\url{https://github.com/a/b\_c}", "a/b_c"),
        (r"\href{https://github.com/a/b}{here}", "a/b"),
        ("https://www.github.com/a/b.git", "a/b"),
        ("https://github.com/a/b/tree/main/src", "a/b"),
        ("see github.com/\nmahdi/DSRC.", "mahdi/DSRC"),
        ("https://github.com/a/llama.cpp and more", "a/llama.cpp"),
    ],
)
def test_the_repository_that_a_text_names_is_found(text: str, expected: str) -> None:
    assert github_url(text) == f"https://github.com/{expected}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "https://gist.github.com/a/1234",
        "https://github.com/a/b/issues/3",
        "https://github.com/openai",
        "https://github.com/topics/nlp",
        "https://a.github.io/b",
        "https://notgithub.com/a/b",
        "mail me@github.com/a/b",
    ],
)
def test_what_is_no_repository_is_passed_over(text: str | None) -> None:
    assert github_url(text) is None


def test_the_first_of_several_texts_counts() -> None:
    assert github_url(None, "no", "github.com/a/b", "github.com/c/d") == "https://github.com/a/b"


@given(st.text(alphabet="github.com/aB-_ \n\\{}:s.", max_size=80))
def test_any_text_gives_an_address_or_none(text: str) -> None:
    found = github_url(text)
    assert found is None or found.count("/") == 4
