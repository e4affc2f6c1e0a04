"""Badges: a small SVG that says where a paper's claims stand, to be shown on other sites."""

from markupsafe import escape

# Width of a letter at 11 px in the widest of the usual sans-serif fonts; `textLength` makes the
# text take just that, whatever font the reader has.
_LETTER_PX = 6.6
_PADDING_PX = 8
_HEIGHT_PX = 20

# White on each is 4.5:1 or better; the words say the same as the colour.
COLOURS = {"holds": "#1a6332", "falls-short": "#8f3b0c", "not-measured": "#56524c"}
_LABEL_COLOUR = "#1f1d1a"


def badge_svg(label: str, message: str, state: str) -> str:
    """The badge as an SVG document: label on the left, message on the state's colour.

    `state` is `holds`, `falls-short` or `not-measured`. Presentation attributes only, so that it
    shows under any Content-Security-Policy.
    """
    left, right = _width(label), _width(message)
    title = escape(f"{label}: {message}")
    texts = "".join(
        f'<text x="{x + _PADDING_PX}" y="14" textLength="{width - 2 * _PADDING_PX}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(words)}</text>'
        for x, width, words in ((0, left, label), (left, right, message))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT_PX}" '
        f'viewBox="0 0 {left + right} {_HEIGHT_PX}" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<rect width="{left + right}" height="{_HEIGHT_PX}" rx="4" fill="{_LABEL_COLOUR}"/>'
        f'<path d="M{left} 0h{right - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4h-{right - 4}z" '
        f'fill="{COLOURS[state]}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">'
        f"{texts}</g></svg>\n"
    )


def _width(words: str) -> int:
    return round(len(words) * _LETTER_PX) + 2 * _PADDING_PX
