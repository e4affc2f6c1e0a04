import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylatexenc.latex2text import LatexNodes2Text

from paperround.catalogue.text import _SIMPLE_FORMULA, one_line, plain_text


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


PIECES = r"x|10|,|(|)|+|=|^|_|\%|\alpha|\times|\in|\to|\ell|\Omega| |  |^{-3}|_{ij}|\sim 5|{\pi}"
FORMULAS = st.lists(
    st.sampled_from(PIECES.split("|")),
    min_size=1,
    max_size=10,
).map("".join)


@given(FORMULAS)
def test_a_simple_formula_reads_as_a_parser_of_latex_has_it(formula: str) -> None:
    piece = f"${formula.strip()}$"
    # Others are the parser's own affair, but for the names of macros that it does not know.
    if _SIMPLE_FORMULA.fullmatch(piece):
        parsed = LatexNodes2Text(math_mode="text").latex_to_text(piece)
        # A parser lets a macro swallow the space behind it; we leave spaces as they are written.
        assert plain_text(f"a {piece} b").replace(" ", "") == f"a{parsed}b".replace(" ", "")


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"$p_{\theta}(x) \in (0,1)$", "p_θ(x) ∈ (0,1)"),
        (r"from $3.6\% \to 30.8\%$", "from 3.6% → 30.8%"),
        (r"$10^{-3}$", "10^-3"),
        (r"$\ell{f}$", "ℓf"),
        (r"$\textbf{63}\times$", "63×"),
        (r"$x_\text{max}$", "x_max"),
        # The parser would leave it out.
        (r"$\texttt{AutoMod}2$", "AutoMod2"),
    ],
)
def test_simple_formulas_keep_the_spaces_that_were_written(latex: str, plain: str) -> None:
    assert plain_text(latex) == plain


def test_an_unescaped_percent_sign_does_not_swallow_the_rest() -> None:
    text = r"reduces cost by 30% and $40\%$ of \emph{all} memory"
    assert plain_text(text) == "reduces cost by 30% and 40% of all memory"


@given(st.text(alphabet="ab \n\t\r\x0b\x1f\u00a0é", max_size=8))
def test_one_line_is_what_splitting_and_joining_gives(text: str) -> None:
    assert one_line(text) == " ".join(text.split())


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
