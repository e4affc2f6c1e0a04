"""Writes the README's tables from the shipped results and the benchmarks' own files.

    python tools/readme_figures.py

Nobody types a figure: a test compares the README with what this would write.
"""

from pathlib import Path

from paperround.runs.card import Scale
from paperround.runs.records import shipped_result
from paperround.runs.results import Result
from paperround.runs.rooms import find_rooms
from paperround.runs.verdicts import ClaimResult, Verdict

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
UNRUN = "the standard scale has not been run to its end yet"
OURS = "paperround.papers."
_SIGNS = {Verdict.HOLDS: "holds", Verdict.FALLS_SHORT: "**falls short**"}


def claims_table() -> str:
    """Every claim with a verdict at the standard scale, else at the quick one, per paper."""
    lines = [
        "| paper | claim | reported | measured here | bar | verdict |",
        "|---|---|---|---|---|---|",
    ]
    machines = set()
    for room in find_rooms()[0].values():
        if not room.package.startswith(OURS):
            continue
        results = [r for s in (Scale.STANDARD, Scale.QUICK) if (r := shipped_result(room, s))]
        for claim in room.card.claims:
            measured = _measured(results, claim.id)
            if measured is None:
                reported = _reported(claim.reported)
                reason = claim.bars[Scale.STANDARD].not_measured or UNRUN
                lines.append(
                    f"| {room.slug} | {claim.says} | {reported} | – | – | not measured: {reason} |"
                )
                continue
            result, found = measured
            machines.add(f"{result.environment['processor']}, {result.environment['cores']} cores")
            spread = f" ({found.spread[0]:.3g}–{found.spread[1]:.3g})" if found.spread else ""
            measured_here = f"{found.value:.3g}{spread}, {result.scale}"
            lines.append(
                f"| {room.slug} | {found.says} | {_reported(found.reported)} | {measured_here} "
                f"| {found.bar} | {_SIGNS[found.verdict]} |"
            )
    lines += [
        "",
        f"Measured on {'; '.join(sorted(machines))}. In brackets: the spread over the seeds.",
    ]
    return "\n".join(lines)


def benchmarks() -> str:
    """The benchmarks' tables, as they wrote them."""
    parts = []
    for name in ("web", "search"):
        path = ROOT / "benchmarks" / "results" / f"{name}.md"
        if path.is_file():
            parts.append(f"`make bench-{name}`\n\n{_tables(path.read_text(encoding='utf-8'))}")
    return "\n\n".join(parts)


def _tables(markdown: str) -> str:
    # The file's own headings would break the README's outline.
    return "\n".join(line for line in markdown.splitlines() if not line.startswith("#")).strip()


def _measured(results: list[Result], claim_id: str) -> tuple[Result, ClaimResult] | None:
    for result in results:
        for claim in result.claims:
            if claim.id == claim_id and claim.verdict in _SIGNS:
                return result, claim
    return None


def _reported(reported: float | str | None) -> str:
    return "–" if reported is None else str(reported)


def written(readme: str) -> str:
    """The README with its tables written anew."""
    for name, text in (("claims", claims_table()), ("benchmarks", benchmarks())):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = readme.partition(begin)
        _, _, after = rest.partition(end)
        readme = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return readme


def main() -> None:
    """Writes the README."""
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
