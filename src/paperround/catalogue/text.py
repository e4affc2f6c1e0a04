"""Plain words from the LaTeX that titles and abstracts carry: for search, mail and comparison.

Most texts hold none and pass through untouched. In the others only the marked-up pieces are
converted (formulas, macros, accents), each small and most of them seen before: a whole abstract
through a LaTeX parser takes milliseconds, and an unescaped percent sign, which authors write all
the time, would swallow the rest of its line.
"""

import logging
import re
from functools import lru_cache

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import get_default_latex_context_db

_CONVERTER = LatexNodes2Text(math_mode="text", strict_latex_spaces=False)
# It warns on standard error of every macro without its argument; `_converted` deals with those.
logging.getLogger("pylatexenc").setLevel(logging.ERROR)
# Left to itself, the converter learns all macros anew for every piece.
_MACROS = get_default_latex_context_db()

_BRACES = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
# Each alternative of these patterns begins with a letter of its own, by which `re` finds it fast.
_FORMULA = re.compile(
    r"\$\$[^$]{1,2000}\$\$"
    # As pandoc has it: no space inside the dollars. So "$5 and $10" is money.
    r"|\$(?<!\\\$)(?! )(?:[^$\\]|\\.){1,1000}?(?<! )\$"
    r"|\\\(.{1,1000}?\\\)"
    r"|\\\[.{1,2000}?\\\]",
    re.DOTALL,
)
# What most formulas consist of: letters, numbers, signs, a level of braces, macros that stand for
# one sign each, and those of a style. The spaces around them stay as they were written.
_SIGN_MACROS = (
    "times sim pm approx le leq ge geq ell circ cdot in to rightarrow infty nabla partial"
    " alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi pi"
    " rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega"
)
_SIGNS: dict[str, str] = {
    name: _CONVERTER.latex_context.get_macro_spec(name).simplify_repl
    for name in _SIGN_MACROS.split()
}
_SIGN = re.compile(r"\\([A-Za-z]+)")
_PLAIN = (
    rf"[A-Za-z0-9.,:;+*/()<>=|!?^_ -]|\\%|\\(?:{'|'.join(_SIGNS)})(?![A-Za-z])"
    r"|\\(?:text(?:bf|it|tt|sc|rm|sf)?|mathrm)(?=\{)"
)
_SIMPLE_FORMULA = re.compile(rf"\$(?P<inside>(?:{_PLAIN}|\{{(?:{_PLAIN})*\}})+)\$")
_NO_BRACES = str.maketrans("", "", "{}")
_ACCENT = re.compile(
    r"""(?:\{\\|\\)(?:["'`^~=.]\s*|[uvHckr](?=[\s{])\s*)(?:\{\s*\\?[A-Za-z]\s*\}|\\?[A-Za-z](?![A-Za-z]*\{))\}?"""
)
_STYLED = re.compile(
    r"\\(?:textbf|textit|emph|texttt|textsc|textsf|textrm|textup|textmd|textnormal|text|underline"
    r"|uline|mbox|fbox|hbox|mathrm|mathbf|mathit|mathsf|mathtt|boldsymbol|textsubscript"
    r"|textsuperscript|small|url|nolinkurl|path)\s*\{(?P<inside>[^{}]*)\}"
)
_COLOURED = re.compile(r"\\textcolor\s*\{[^{}]*\}\s*\{(?P<inside>[^{}]*)\}")
_LINK = re.compile(r"\\(?:href|hyperlink)\s*\{[^{}]*\}\s*\{(?P<inside>[^{}]*)\}")
_FOOTNOTE = re.compile(r"\s*\\footnote\s*\{(?P<inside>[^{}]*)\}")
_DROPPED = re.compile(r"[\s~]*\\(?:cite[a-z]*|label|color)\*?(?:\s*\[[^\]]*\])*\s*\{[^{}]*\}")
_DOUBLED = re.compile(r"\{\{(?P<inside>[^{}]*)\}\}")
_GROUP = re.compile(r"\{\s*\\(?:em|it|bf|sc|tt|rm|sf|small|sl)\b\s*(?P<inside>[^{}]*)\}")
_SWITCH = re.compile(r"\\(?:em|it|bf|sc|tt|rm|sf|sl|small|large|noindent|xspace|par)\b\s*")
_MACRO = re.compile(rf"\\[A-Za-z]+\*?(?:\s?(?:\[[^\]]{{0,80}}\]|{_BRACES}))*")
_ESCAPED = re.compile(r"\\([%&_#${}])")
_SPACING = re.compile(r"\\[,;:!/ \-]|\\\\")
_TIE = re.compile(r"~(?<=[A-Za-z.]~)(?=[\\A-Za-z0-9\[(])")
# What escapes stand for is kept aside while the rest is converted.
_ASIDE = {sign: chr(0xE000 + place) for place, sign in enumerate("%&_#${}")}
_BACK = {aside: sign for sign, aside in _ASIDE.items()}
_MARKS = re.compile(f"[{''.join(_BACK)}]")
_KEPT_BRACES = str.maketrans({brace: _ASIDE[brace] for brace in "{}"})
_MAX_NESTING = 6


def plain_text(latex: str) -> str:
    """The text as plain words on one line: formulas in Unicode, markup gone, spaces single.

    Tolerant: what is not LaTeX after all (prices, code, paths) stays as it stands.
    """
    text = _TIE.sub(" ", latex) if "~" in latex else latex
    if "\\" in text or "$" in text or "{" in text:
        text = _without_markup(text)
    if "``" in text:
        text = text.replace("``", "“").replace("''", "”")
    return one_line(text)


def one_line(text: str) -> str:
    """The text with single spaces for all white space, and none at its ends."""
    # Most texts need little, and looking is several times faster than splitting and joining.
    if text.isascii():
        line = text.replace("\n", " ")
        if line.isprintable() and "  " not in line and line == line.strip():
            return line
    return " ".join(text.split())


def _without_markup(text: str) -> str:
    # Our own marks are from a private range of Unicode; a text that holds them loses them.
    if not text.isascii():
        text = _MARKS.sub("", text)
    if "$" in text or "\\(" in text or "\\[" in text:
        text = _FORMULA.sub(_formula, text)
    if "\\" in text or "{" in text:
        text = _without_macros(text)
    return text if text.isascii() else _MARKS.sub(lambda found: _BACK[found[0]], text)


def _without_macros(text: str) -> str:
    text = _ACCENT.sub(lambda found: _converted(found[0]), text)
    text = text.replace(r"\deg", "°").replace(r"\^{}", "^")
    text = _ESCAPED.sub(lambda found: _ASIDE[found[1]], text)
    for _ in range(_MAX_NESTING):
        before = text
        text = _DOUBLED.sub(r"{\g<inside>}", text)
        # These two begin with any space, so that every space of the text would be tried.
        if "\\cite" in text or "\\label" in text or "\\color" in text:
            text = _DROPPED.sub("", text)
        if "\\footnote" in text:
            text = _FOOTNOTE.sub(r" (\g<inside>)", text)
        for styled in (_STYLED, _COLOURED, _LINK, _GROUP):
            text = styled.sub(r"\g<inside>", text)
        if text == before:
            break
    text = _SWITCH.sub("", text)
    text = _MACRO.sub(lambda found: _converted(found[0]), text)
    text = _SPACING.sub(" ", text)
    return text.replace("{", "").replace("}", "")


def _formula(found: re.Match[str]) -> str:
    piece, rest = found[0], found.string[found.end() : found.end() + 1]
    # Dollars around several words, or before a digit, are prices unless mathematics stands inside.
    if not re.search(r"[\\^_{}=<>]", piece) and (rest.isdigit() or len(piece.split()) > 8):
        return piece
    if simple := _SIMPLE_FORMULA.fullmatch(piece):
        inside = simple["inside"].replace("\\%", "%")
        return _SIGN.sub(lambda macro: _SIGNS.get(macro[1], ""), inside).translate(_NO_BRACES)
    # Braces that a formula shows stay; those of the text around it are markup.
    return _converted(piece).translate(_KEPT_BRACES)


@lru_cache(maxsize=16_384)
def _converted(piece: str) -> str:
    """A small piece of LaTeX in Unicode; the names and arguments alone where it cannot be read."""
    try:
        escaped = re.sub(r"(?<!\\)%", r"\\%", piece)
        text = str(_CONVERTER.latex_to_text(escaped, latex_context=_MACROS))
    # A macro that lacks an argument, or breaks off, makes the converter fail in all these ways.
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
        text = ""
    # The converter drops macros that it does not know, as authors' own: their arguments say
    # something, and where there are none, their names do.
    if text.strip():
        return text
    arguments = re.sub(r"\\[A-Za-z]+\*?", " ", piece)
    said = arguments if re.search(r"\w", arguments) else piece
    return " ".join(re.findall(r"[^\\{}$\[\]]+", said))
