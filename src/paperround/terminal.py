"""How the command line shows results and progress to a person."""

import io
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from paperround.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from paperround.catalogue.records import Provenance
    from paperround.runs.comparison import Comparison
    from paperround.runs.results import Result

# After this long a progress bar appears, on a terminal only.
_PATIENCE_S = 1.0


def tally(result: "Result") -> str:
    """How many of the measured claims hold, such as `5 of 6 hold`."""
    from paperround.runs.verdicts import Verdict

    verdicts = [claim.verdict for claim in result.claims]
    measured = [verdict for verdict in verdicts if verdict is not Verdict.NOT_MEASURED]
    if not measured:
        return "nothing measured"
    return f"{measured.count(Verdict.HOLDS)} of {len(measured)} hold"


def result_table(result: "Result") -> str:
    """The claims of a result as a table as wide as the terminal: reported beside measured."""
    from rich.table import Table

    title = f"{result.slug} · {result.scale.value} · {result.seconds:.0f} s · {result.status}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("Claim", "Reported", "Baseline", "Measured", "Bar", "Verdict"):
        table.add_column(heading, justify="left" if heading == "Claim" else "right")
    for claim in result.claims:
        spread = f" ({claim.spread[0]:.4g}–{claim.spread[1]:.4g})" if claim.spread else ""
        table.add_row(
            claim.says,
            "–" if claim.reported is None else str(claim.reported),
            "–" if claim.baseline is None else f"{claim.baseline:.4g}",
            claim.reason if claim.value is None else f"{claim.value:.4g}{spread}",
            str(claim.bar),
            claim.verdict.value,
        )
    return _drawn(table)


def comparison_table(compared: "Comparison") -> str:
    """Two results claim by claim, and what else differs between them."""
    from rich.table import Table

    table = Table(title=compared.a.slug, title_justify="left", title_style="bold")
    for heading in ("Claim", compared.a.id[:8], compared.b.id[:8], "Ratio", "Verdicts"):
        table.add_column(heading, justify="left" if heading == "Claim" else "right")
    for pair in compared.claims:
        values = [
            "–" if side is None or side.value is None else f"{side.value:.4g}"
            for side in (pair.a, pair.b)
        ]
        verdicts = dict.fromkeys(side.verdict.value for side in (pair.a, pair.b) if side)
        ratio = "–" if pair.ratio is None else f"{pair.ratio:.3f}"
        table.add_row(pair.says, *values, ratio, " / ".join(verdicts))
    facts = Table(box=None, show_header=False)
    for fact in compared.facts:
        if fact.differs:
            facts.add_row(fact.name, fact.a, fact.b)
    return f"{_drawn(table)}\n{_drawn(facts)}".rstrip()


def _drawn(table: "Table") -> str:
    from rich.console import Console

    drawn = io.StringIO()
    width = shutil.get_terminal_size((120, 40)).columns
    Console(file=drawn, width=width, force_terminal=sys.stdout.isatty()).print(table)
    return drawn.getvalue().rstrip()


def pairs(text: str | None, option: str) -> dict[str, str]:
    """The names and values of an option such as `id=_id,abstract=text`."""
    found: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise UsageError(f"{option} has '{part}'; write NAME=THEIRS, with commas between")
        found[name] = value
    return found


def provenance_fields(found: "Provenance") -> dict[str, Any]:
    """A paper's sources as JSON has them."""
    taken: dict[tuple[str, str], list[str]] = {}
    for column, name in found.taken_from.items():
        taken.setdefault(name, []).append(column)
    return {
        "key": found.paper.key,
        "title": found.paper.title_text,
        "sources": [
            {
                "source": said.source,
                "source_key": said.source_key,
                "met_by": said.met_by,
                "seen_at": said.seen_at.isoformat(timespec="seconds"),
                "identifiers": dict(said.identifiers),
                "gives": taken.get((said.source, said.source_key), []),
                "says": {
                    column: value.isoformat() if hasattr(value, "isoformat") else value
                    for column, value in said.values.items()
                },
            }
            for said in found.said
        ],
    }


def provenance_text(found: "Provenance") -> str:
    """A paper's sources for a person: what each gives, and what it says otherwise."""
    fields = provenance_fields(found)
    lines = [f"{fields['key']}  {fields['title']}"]
    for source in fields["sources"]:
        named = ", ".join(f"{scheme} {value}" for scheme, value in source["identifiers"].items())
        lines += [
            "",
            f"{source['source']} {source['source_key']}  ({source['met_by']}, {source['seen_at']})",
            f"  identifiers: {named or '–'}",
            f"  gives:       {', '.join(source['gives']) or 'nothing'}",
        ]
        lines += [
            f"  otherwise:   {column} = {_short(value)}"
            for column, value in source["says"].items()
            if column not in source["gives"] and value != _shown_of(found, column)
        ]
    return "\n".join(lines)


def _shown_of(found: "Provenance", column: str) -> Any:
    value = getattr(found.paper, column)
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"


class Progress:
    """A progress bar on standard error: after a second, on a terminal only, nothing otherwise."""

    def __init__(self, what: str, total: int | None = None, unit: str = "") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._bar: Any = None
        self._task: Any = None
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance_to(self, done: int) -> None:
        """Shows that `done` of the total are done."""
        self._show(self._what, done, self._total)

    def show_event(self, event: dict[str, Any]) -> None:
        """Shows the stage and progress of a run's event."""
        if event["kind"] == "stage":
            self._show(f"{self._what}: {event['stage']}", 0, event["total"])
        elif event["kind"] == "progress":
            self._show(f"{self._what}: {event['stage']}", event["done"], event["total"])

    def _show(self, what: str, done: int, total: int | None) -> None:
        if not sys.stderr.isatty() or time.monotonic() - self._began < _PATIENCE_S:
            return
        if self._bar is None:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn(self._unit),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(what, total=total)
        self._bar.update(self._task, description=what, completed=done, total=total)
