import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.text import plain_text


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        ("No markup, 30% better than GPT-4 & co.", "No markup, 30% better than GPT-4 & co."),
        ("broken\nby  lines\t", "broken by lines"),
        (r"a $2.3\times$ speedup", "a 2.3× speedup"),
        (r"at 256$\times$256 pixels", "at 256×256 pixels"),
        (r"by 48.4\% with 10\,\% loss", "by 48.4% with 10 % loss"),
        (r"an \emph{entirely \textbf{new}} idea", "an entirely new idea"),
        (r"{\em Old} style", "Old style"),
        (r"na\"{\i}ve Schr\"odinger and Erd\H{o}s", "naïve Schrödinger and Erdős"),
        (r"M{\"u}ller", "Müller"),
        (r"code at \url{https://x.org/a_b}.", "code at https://x.org/a_b."),
        (r"\href{https://x.org}{here}", "here"),
        (r"as shown~\cite{vaswani2017}.", "as shown."),
        (r"state \( x'(t) = Ax(t) \), then", "state x'(t) = Ax(t), then"),
        (r"$\alpha$-Net", "α-Net"),
        (r"see Fig.~3 of Li et al.~2020", "see Fig. 3 of Li et al. 2020"),
        ("``quoted'' words", "“quoted” words"),
        (r"our \ours model", "our ours model"),
        (r"$k \in \{1, 2\}$", "k ∈{1, 2}"),
        ("between $5 and $10 a day", "between $5 and $10 a day"),
        (r"a 360{\deg} view", "a 360° view"),
        (r"\href{only one argument}", "only one argument"),
        (r"ends in a backslash \ ", "ends in a backslash"),
    ],
)
def test_latex_becomes_plain_words(latex: str, plain: str) -> None:
    assert plain_text(latex) == plain


def test_an_unescaped_percent_sign_does_not_swallow_the_rest() -> None:
    text = r"reduces cost by 30% and $40\%$ of \emph{all} memory"
    assert plain_text(text) == "reduces cost by 30% and 40% of all memory"


@given(st.text())
def test_any_text_becomes_one_line(text: str) -> None:
    plain = plain_text(text)
    assert plain == " ".join(plain.split())


@given(st.text(alphabet="\\${}[]()^_%~`'\"abc \n&#", max_size=60))
def test_any_heap_of_latex_signs_is_survived(text: str) -> None:
    assert "\n" not in plain_text(text)


@given(st.text(alphabet=st.characters(exclude_characters="\\${}`~")))
def test_text_without_markup_only_loses_spare_spaces(text: str) -> None:
    assert plain_text(text) == " ".join(text.split())
