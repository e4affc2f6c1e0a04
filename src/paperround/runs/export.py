"""A result as a person reads it elsewhere: Markdown, and a notebook that measures it again."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from paperround.runs.exchange import export_json
from paperround.runs.results import Result
from paperround.runs.verdicts import ClaimResult

_COLUMNS = ("Claim", "Reported", "Baseline", "Measured", "Bar", "Verdict")

_NOTEBOOK_RUN = """\
import json, subprocess, sys

recorded = json.loads({recorded})

command = [sys.executable, "-m", "paperround.cli", "run", recorded["slug"]]
command += ["--scale", recorded["scale"], "--json"]
for seed in recorded["seeds"]:
    command += ["--seed", str(seed)]
done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
if not done.stdout:
    raise SystemExit("the run gave no result; what it said stands above")
measured = json.loads(done.stdout)
print(measured["status"], measured["reason"], f"{{measured['seconds']:.0f}} s")
"""

_NOTEBOOK_COMPARE = """\
def figure(value):
    return "-" if value is None else f"{value:.4g}"

now = {claim["id"]: claim for claim in measured["claims"]}
print(f"{'claim':<28}{'recorded':>12}{'here':>12}{'ratio':>8}  verdict")
for then in recorded["claims"]:
    claim = now.get(then["id"])
    if claim is None:
        print(f"{then['id']:<28}{figure(then['value']):>12}  the card has no such claim any more")
        continue
    both = then["value"] and claim["value"] is not None
    ratio = f"{claim['value'] / then['value']:.2f}" if both else "-"
    verdicts = dict.fromkeys([then["verdict"], claim["verdict"]])
    print(f"{then['id']:<28}{figure(then['value']):>12}{figure(claim['value']):>12}{ratio:>8}  "
          + " -> ".join(verdicts))
"""


def result_markdown(result: Result) -> str:
    """The result as Markdown: its claims as a table, then the machine, versions and assets."""
    title = str((result.card or {}).get("title") or result.slug)
    rows = [_row(claim) for claim in result.claims]
    machine = {k: v for k, v in result.environment.items() if not isinstance(v, dict)}
    versions = result.environment.get("versions")
    facts: list[tuple[str, object]] = [
        ("paper", result.paper),
        ("scale", result.scale.value),
        ("state", f"{result.status} {result.reason}".strip()),
        ("started", result.started_at.isoformat(timespec="seconds")),
        ("seconds", f"{result.seconds:g}"),
        ("seeds", ", ".join(map(str, result.seeds))),
        ("card", result.card_sha256),
        ("result", result.id),
        *machine.items(),
        *(versions.items() if isinstance(versions, dict) else ()),
        *((f"asset {name}", sha256) for name, sha256 in result.assets.items()),
    ]
    parts = [
        f"# {_text(title)}",
        _table(_COLUMNS, rows),
        "\n".join(f"- {_text(note)}" for note in result.notes),
        *(_shown_table(event) for event in result.tables),
        _table(("", ""), [(str(name), "" if v is None else str(v)) for name, v in facts]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def result_notebook(result: Result) -> str:
    """A Jupyter notebook (nbformat 4.5) that runs the paper again and sets both side by side."""
    recorded = {
        "slug": result.slug,
        "scale": result.scale.value,
        "seeds": list(result.seeds),
        "claims": [
            {"id": claim.id, "value": claim.value, "verdict": claim.verdict.value}
            for claim in result.claims
        ],
    }
    # The representation of a string is a string: nothing in a result becomes code.
    run = _NOTEBOOK_RUN.format(recorded=repr(json.dumps(recorded)))
    again = (
        "## Measure it again\n\nThe same scale and seeds, on this machine. Needs "
        '`pip install "paperround[papers]"` in the environment of this notebook.'
    )
    beside = "## Recorded and here\n\nBars are ratios and orders: the verdict should be the same."
    cells = [
        _cell("markdown", result_markdown(result), 0),
        _cell("markdown", again, 1),
        _cell("code", run, 2),
        _cell("markdown", beside, 3),
        _cell("code", _NOTEBOOK_COMPARE, 4),
    ]
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _cell(kind: str, source: str, number: int) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        "source": source.splitlines(keepends=True),
    }
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _row(claim: ClaimResult) -> tuple[str, ...]:
    spread = ""
    if claim.spread is not None and claim.spread[0] != claim.spread[1]:
        spread = f" ({claim.spread[0]:.4g} to {claim.spread[1]:.4g})"
    return (
        claim.says,
        "–" if claim.reported is None else str(claim.reported),
        "–" if claim.baseline is None else f"{claim.baseline:.4g}",
        "–" if claim.value is None else f"{claim.value:.4g}{spread}",
        str(claim.bar),
        claim.verdict.value + (f": {claim.reason}" if claim.reason else ""),
    )


def _shown_table(event: dict[str, Any]) -> str:
    rows = [[_figure(cell) for cell in row] for row in event["rows"]]
    return f"## {_text(event['title'])}\n\n{_table(event['columns'], rows)}"


def _figure(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _text(text: str) -> str:
    """The text as itself on one line: nothing in it is Markdown or HTML any more."""
    if text == "---":
        return text
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(text.split()))


# By the name on the command line.
FORMATS: dict[str, Callable[[Result], str]] = {
    "json": export_json,
    "markdown": result_markdown,
    "notebook": result_notebook,
}
