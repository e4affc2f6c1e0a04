"""Charts of a result: SVG that a page can embed, with the same numbers as a table.

A chart is drawn once, in a process of its own (`python -m paperround.runs.charts`), and kept under
`cache/charts` by a checksum of what it shows. The worker asks for a result's charts before the run
ends; for results that ship, the first reader's page does. So the web process never imports
matplotlib, and the cache may be deleted at any time.

The SVG is made to be inline in a page with a strict Content-Security-Policy: presentation
attributes and no `style`, which a policy without 'unsafe-inline' would block. Lines are
`var(--chart-1)` to `var(--chart-6)`, everything else is `currentColor`, and fonts are the page's.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from paperround.log import get_logger
from paperround.runs import bars
from paperround.runs.bars import printable
from paperround.runs.reproduction import Event
from paperround.runs.results import Result
from paperround.settings import Settings

# Where a page sets no --chart-n: legible on white and on near-black, 3:1 on both.
COLOURS = ("#2f7fd1", "#c8641b", "#2c9462", "#b3589a", "#8270c9", "#8a7d2e")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":")
# Stand-ins that matplotlib draws with and `_embeddable` turns into what the page decides.
_INK = "#01fe01"
_GRID = "#01fe02"
_LINE_INKS = tuple(f"#01fd{n:02x}" for n in range(1, len(COLOURS) + 1))

_WIDTH_IN, _PLOT_HEIGHT_IN, _LEGEND_ROW_IN = 5.0, 2.7, 0.19
# With more points than this, markers would hide the line.
_MAX_MARKED = 40
_DRAWING_TIMEOUT_S = 40

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_PRESENTATION = re.compile(
    r"fill(-opacity|-rule)?|font-(size|style|weight)|opacity|text-anchor|"
    r"stroke(-dasharray|-dashoffset|-linecap|-linejoin|-miterlimit|-opacity|-width)?"
)
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Chart:
    """A chart as a page shows it. `svg` is None where it could not be drawn: show the table."""

    title: str
    svg: str | None
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]


def charts_of(result: Result, settings: Settings) -> list[Chart]:
    """The charts of a result in its order. Those not in the cache are drawn, in about a second."""
    # Its tables' bars with them: one process draws all.
    _svgs([*result.series, *filter(bars.can_be_drawn, result.tables)], settings)
    return draw_charts(result.series, settings)


def draw_charts(series: Sequence[Event], settings: Settings) -> list[Chart]:
    """The charts of these `series` events, of a result or of a run that is under way."""
    return [
        Chart(
            title=event["title"],
            svg=svg,
            note=event["note"],
            columns=(event["x_label"], *event["lines"]),
            rows=_rows(event),
        )
        for event, svg in zip(series, _svgs(series, settings), strict=True)
    ]


def draw_bars(tables: Sequence[Event], settings: Settings) -> list[str | None]:
    """For each table its numbers as bars, None where bars would say nothing of it."""
    drawable = [event for event in tables if bars.can_be_drawn(event)]
    drawn = iter(_svgs(drawable, settings))
    return [next(drawn) if bars.can_be_drawn(event) else None for event in tables]


def _svgs(events: Sequence[Event], settings: Settings) -> list[str | None]:
    """The drawings of these events, from the cache or drawn now; None for one that failed."""
    folder = settings.cache_dir / "charts"
    paths = [folder / f"{_checksum(event)}.svg" for event in events]
    missing = {p: e for p, e in zip(paths, events, strict=True) if not p.is_file()}
    if missing:
        _draw_elsewhere(missing, settings)
    return [path.read_text(encoding="utf-8") if path.is_file() else None for path in paths]


def chart_svg(event: Event) -> str:
    """The chart of a `series` or `table` event as an `<svg>` element; equal events, equal text.

    A point at or below zero is left out where its axis is logarithmic, and the description says
    how many were. Imports matplotlib.
    """
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "paperround",
        # A dollar sign in a label is a dollar sign.
        "text.parse_math": False,
        "font.size": 10,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "grid.color": _GRID,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Text stays text: the reader's browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if "rows" in event:
            figure, said = bars.draw(event, _LINE_INKS[0]), bars.description(event)
        else:
            figure, said = _lines(event)
        drawn = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    return _embeddable(drawn.getvalue(), event, said)


def _lines(event: Event) -> tuple[Any, str]:
    """The figure of a `series` event, and its description."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    lines, left_out = _drawable(event)
    labels = [textwrap.shorten(printable(name), 60, placeholder="…") for name in lines]
    columns = 2 if len(labels) > 1 and max(map(len, labels)) <= 24 else 1
    legend_rows = -(-len(labels) // columns)
    height = _PLOT_HEIGHT_IN + _LEGEND_ROW_IN * legend_rows
    figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for place, line in enumerate(lines.values()):
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            color=_LINE_INKS[place % len(_LINE_INKS)],
            linestyle=_DASHES[place // len(_LINE_INKS) % len(_DASHES)],
            marker=_MARKERS[place % len(_MARKERS)] if len(line) <= _MAX_MARKED else None,
        )
    axes.set_xlabel(textwrap.fill(printable(event["x_label"]), 60))
    axes.set_ylabel(textwrap.fill(printable(event["y_label"]), 36))
    points = [point for line in lines.values() for point in line]
    if event["x_log"] and points:
        _make_logarithmic(axes.xaxis, axes.set_xscale, [x for x, _ in points])
    if event["y_log"] and points:
        _make_logarithmic(axes.yaxis, axes.set_yscale, [y for _, y in points])
    axes.grid(visible=True)
    if labels:
        legend = figure.legend(
            axes.lines,
            [str(place) for place in range(len(labels))],
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            handlelength=2.4,
        )
        # Set afterwards: a legend leaves out what begins with an underscore.
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
    return figure, _description(event, left_out)


def _drawable(event: Event) -> tuple[dict[str, list[tuple[float, float]]], int]:
    """The points that the axes can show, by line, and how many others there are."""
    lines, left_out = {}, 0
    for name, points in event["lines"].items():
        shown = [
            (x, y)
            for x, y in points
            if (x > 0 or not event["x_log"]) and (y > 0 or not event["y_log"])
        ]
        lines[name] = shown
        left_out += len(points) - len(shown)
    return lines, left_out


def _make_logarithmic(axis: Any, set_scale: Any, values: Sequence[float]) -> None:
    """Puts an axis on a logarithmic scale, with ticks that a short range has several of."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    set_scale("log")
    span = max(values) / min(values)
    if span < 10:
        axis.set_major_locator(MaxNLocator(5))
    elif span < 1_000:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_formatter(NullFormatter())


def _tick(value: float) -> str:
    """A tick's label as plain text: 0.01, 20, 5000, 10⁶, 2×10⁷."""
    if value <= 0 or 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    return power if float(mantissa) == 1 else f"{float(mantissa):g}×{power}"


def _description(event: Event, left_out: int) -> str:
    """What a reader hears who does not see the chart; the table beside it has every number."""
    parts = [f"Line chart of {event['y_label']} against {event['x_label']}."]
    for name, points in event["lines"].items():
        if points:
            (x0, y0), (x1, y1) = points[0], points[-1]
            parts.append(f"{name}: from {y0:.4g} at {x0:.4g} to {y1:.4g} at {x1:.4g}.")
    if left_out:
        points = "1 point" if left_out == 1 else f"{left_out} points"
        parts.append(f"Not on the logarithmic axis: {points} at or below zero.")
    return printable(" ".join(parts))


def _embeddable(drawn: bytes, event: Event, description: str) -> str:
    """What matplotlib drew as an element for a page: no style, no size, ids of its own."""
    ElementTree.register_namespace("", _SVG)
    # Drawn by matplotlib a moment ago; no foreign document comes here.
    root = ElementTree.fromstring(drawn)  # noqa: S314
    prefix = f"chart-{_checksum(event)[:10]}"
    for parent in list(root.iter()):
        for child in list(parent):
            only_style = (
                child.tag == f"{{{_SVG}}}defs" and child.find(f"{{{_SVG}}}style") is not None
            )
            if only_style or child.tag == f"{{{_SVG}}}metadata":
                parent.remove(child)
    for element in root.iter():
        _present(element, prefix)
    view_box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {
        "viewBox": view_box,
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    for tag, text in (("desc", description), ("title", printable(event["title"]))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", id=f"{prefix}-{tag}")
        element.text = text
        root.insert(0, element)
    return ElementTree.tostring(root, encoding="unicode")


def _present(element: ElementTree.Element, prefix: str) -> None:
    """Turns one element's style into attributes and makes its ids unique on a page."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font" and (size := re.search(r"[\d.]+px", value)):
            name, value = "font-size", size[0]
        if _PRESENTATION.fullmatch(name):
            element.set(name, value)
    if element.tag == f"{{{_SVG}}}text":
        element.attrib.setdefault("fill", _INK)
    for name in ("fill", "stroke"):
        if name in element.attrib:
            element.set(name, _ink(element.attrib[name]))
    if element.attrib.get("stroke") == _GRID:
        element.attrib |= {"stroke": "currentColor", "stroke-opacity": "0.18"}
    # Rotations by nothing and line breaks in paths: matplotlib's habit, and a third of the size.
    if element.attrib.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if "d" in element.attrib:
        element.set("d", " ".join(element.attrib["d"].split()))
    if element.tag != f"{{{_SVG}}}text":
        element.text = None
    element.tail = None
    if element.tag in (f"{{{_SVG}}}g", f"{{{_SVG}}}svg"):
        element.attrib.pop("id", None)
    if "id" in element.attrib:
        element.set("id", f"{prefix}-{element.attrib['id']}")
    if _HREF in element.attrib:
        element.set("href", f"#{prefix}-{element.attrib.pop(_HREF).removeprefix('#')}")
    if "clip-path" in element.attrib:
        element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{prefix}-"))


def _ink(colour: str) -> str:
    colour = colour.lower()
    if colour == _INK:
        return "currentColor"
    if colour in _LINE_INKS:
        place = _LINE_INKS.index(colour)
        return f"var(--chart-{place + 1}, {COLOURS[place]})"
    return colour


def _rows(event: Event) -> tuple[tuple[float | None, ...], ...]:
    """A row per x: x, then each line's y, None where the line has no point there."""
    at: dict[float, dict[str, float]] = {}
    for name, points in event["lines"].items():
        for x, y in points:
            at.setdefault(x, {})[name] = y
    return tuple((x, *(at[x].get(name) for name in event["lines"])) for x in sorted(at))


@cache
def _drawing() -> bytes:
    """What else than the event decides how a chart looks: these files, and matplotlib."""
    drawing = Path(__file__).read_bytes() + Path(bars.__file__).read_bytes()
    return drawing + version("matplotlib").encode()


def _checksum(event: Event) -> str:
    shown = json.dumps(event, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.sha256(_drawing() + shown).hexdigest()


def _draw_elsewhere(missing: dict[Path, Event], settings: Settings) -> None:
    """Draws charts in another process and keeps them; one that fails is logged and left out."""
    folder = settings.cache_dir / "charts"
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib_dir = settings.cache_dir / "matplotlib"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "paperround.runs.charts"],
            input=json.dumps(list(missing.values())).encode(),
            capture_output=True,
            timeout=_DRAWING_TIMEOUT_S,
            check=True,
            env={**os.environ, "MPLCONFIGDIR": str(matplotlib_dir), "MPLBACKEND": "svg"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        get_logger().error("chart.process_failed", error=str(error), said=said[-500:].decode())
        return
    for (path, event), drawn in zip(missing.items(), json.loads(done.stdout), strict=True):
        if "error" in drawn:
            get_logger().error("chart.failed", title=event["title"], error=drawn["error"])
            continue
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(drawn["svg"], encoding="utf-8")
        draft.replace(path)


def _draw_all(events: Sequence[Event]) -> list[dict[str, str]]:
    drawn = []
    for event in events:
        try:
            drawn.append({"svg": chart_svg(event)})
        # One odd chart must not take the others with it; the caller logs what it was.
        except Exception as error:
            drawn.append({"error": repr(error)})
    return drawn


if __name__ == "__main__":
    json.dump(_draw_all(json.load(sys.stdin.buffer)), sys.stdout)
