"""Text as sources give it, made fit to store and to read: tidied, and LaTeX as plain words."""

import re
import unicodedata
from functools import lru_cache

from pylatexenc.latex2text import LatexNodes2Text

# C0 and C1 controls but for white space, and lone surrogates, which no database takes.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_SPACES = re.compile(r"\s+")
# $…$, $$…$$, \(…\) and \[…\]; no space inside the dollars, or `$5 and $6` would be maths.
_MATHS = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$(?=\S)([^$]+?)(?<=[^\s\\])\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]",
    re.DOTALL,
)
# A macro with its innermost arguments, an accent, or an escaped sign: `\\emph{so}`, `\\'e`, `\\%`.
_MACRO = re.compile(
    r"\\[A-Za-z]+\*?(?:\s*\{[^{}\\]*\})*|\\[^A-Za-z\s](?:\{[^{}\\]*\}|[A-Za-z](?![A-Za-z]*\{))?"
)
_MAX_NESTING = 4
_BRACES = re.compile(r"(?<!\\)[{}]")
# Outside maths these stand for themselves in the abstracts of arXiv, and for other things in TeX.
_LITERAL = re.compile(r"(?<!\\)[%#&_^]")

_TO_TEXT = LatexNodes2Text(math_mode="text", keep_comments=True, strict_latex_spaces=False)


def tidy(text: str) -> str:
    """The text without control characters and lone surrogates, NFC, white space as single spaces.

    Sources break lines inside sentences; the breaks carry nothing.
    """
    return _SPACES.sub(" ", unicodedata.normalize("NFC", _UNPRINTABLE.sub("", text))).strip()


def plain_text(latex: str) -> str:
    r"""The text with its LaTeX as plain words and signs: `$2.3\times$` becomes `2.3×`.

    Tolerant: what cannot be read as LaTeX stays as it is. Idempotent on text without LaTeX.
    """
    if "\\" not in latex and "$" not in latex and "{" not in latex:
        return tidy(latex)
    parts, at = [], 0
    for maths in _MATHS.finditer(latex):
        parts.append(_words_to_text(latex[at : maths.start()]))
        parts.append(_maths_to_text(next(group for group in maths.groups() if group is not None)))
        at = maths.end()
    parts.append(_words_to_text(latex[at:]))
    return tidy("".join(parts))


def _words_to_text(text: str) -> str:
    """Converts the macros alone: reading whole abstracts as LaTeX would cost ten times as much."""
    for _ in range(_MAX_NESTING):
        converted = _MACRO.sub(lambda found: _converted(_escaped(found[0]), found[0]), text)
        if converted == text:
            break
        text = converted
    return _BRACES.sub("", text)


def _escaped(macro: str) -> str:
    return _LITERAL.sub(r"\\\g<0>", macro)


def _maths_to_text(source: str) -> str:
    return _converted(f"${source}$", source)


@lru_cache(maxsize=4_096)
def _converted(latex: str, otherwise: str) -> str:
    try:
        return str(_TO_TEXT.latex_to_text(latex, tolerant_parsing=True))
    # Broken LaTeX makes the converter fail in many ways, recursion among them; it stays as it is.
    except Exception:
        return otherwise
