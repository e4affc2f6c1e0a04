"""A table's numbers as bars: which columns can be drawn, and how; `charts.py` embeds them.

A row is a bar, a column of numbers is a panel of its own, since columns differ in their units.
"""

import textwrap
from typing import Any

from paperround.runs.reproduction import Event

MAX_ROWS = 16
MAX_PANELS = 4
_MAX_LABEL = 44
_ROW_IN, _PANEL_IN, _WIDTH_IN = 0.21, 0.55, 5.4


def can_be_drawn(event: Event) -> bool:
    """Whether bars say something of a table: two rows to sixteen, words to name them, numbers."""
    return 2 <= len(event["rows"]) <= MAX_ROWS and bool(number_columns(event)) and _names(event)


def number_columns(event: Event) -> list[int]:
    """The columns that hold numbers and nothing else but gaps, two numbers at least."""
    columns = []
    for place in range(len(event["columns"])):
        cells = [row[place] for row in event["rows"] if row[place] is not None]
        if len(cells) >= 2 and all(_is_number(cell) for cell in cells):
            columns.append(place)
    # A first column of numbers, such as lengths or seeds, names the rows.
    return columns[1:] if columns[:1] == [0] and not _words(event) else columns


def draw(event: Event, bar_ink: str) -> Any:
    """The matplotlib figure of a table that can be drawn, its first columns of numbers."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows, places = event["rows"], number_columns(event)[:MAX_PANELS]
    labels = [textwrap.shorten(label, _MAX_LABEL, placeholder="…") for label in _labels(event)]
    height = len(places) * (_PANEL_IN + _ROW_IN * len(rows))
    figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
    FigureCanvasSVG(figure)
    for panel, place in enumerate(places, start=1):
        axes = figure.add_subplot(len(places), 1, panel)
        values = [row[place] for row in rows]
        bars = axes.barh(range(len(rows)), [value or 0 for value in values], 0.62, color=bar_ink)
        said = ["–" if value is None else f"{value:.4g}" for value in values]
        axes.bar_label(bars, said, padding=3, fontsize=8)
        axes.set_yticks(range(len(rows)), labels)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        # Room for the number at the end of the longest bar.
        axes.margins(x=0.16)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(visible=True, axis="x")
        column = printable(event["columns"][place]) or "value"
        axes.set_title(textwrap.shorten(column, 70, placeholder="…"), loc="left", fontsize=10)
    return figure


def description(event: Event) -> str:
    """What a reader hears who does not see the bars; the table beside them has every number."""
    labels, parts = _labels(event), []
    for place in number_columns(event)[:MAX_PANELS]:
        filled = [
            (row[place], label)
            for row, label in zip(event["rows"], labels, strict=True)
            if row[place] is not None
        ]
        low, high = min(filled), max(filled)
        parts.append(
            f"{event['columns'][place]}: from {low[0]:.4g} ({low[1]}) to {high[0]:.4g} ({high[1]})."
        )
    return printable(" ".join(["Bar chart.", *parts]))


def printable(text: str) -> str:
    """The text without what XML cannot hold and without line breaks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _words(event: Event) -> list[int]:
    """The columns of words at the beginning, which name the rows."""
    places = []
    for place in range(len(event["columns"])):
        if not all(isinstance(row[place], str) for row in event["rows"]):
            break
        places.append(place)
    return places


def _names(event: Event) -> bool:
    return bool(_words(event)) or bool(event["columns"] and _is_number(event["rows"][0][0]))


def _labels(event: Event) -> list[str]:
    places = _words(event)
    if not places:
        name = printable(event["columns"][0])
        return [f"{name} {row[0]:g}" if _is_number(row[0]) else "–" for row in event["rows"]]
    return [" · ".join(printable(row[place]) for place in places) for row in event["rows"]]


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)
