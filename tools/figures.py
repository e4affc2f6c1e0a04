"""Writes the tables of the README and of docs/ from shipped results and the benchmarks' own files.

    python tools/figures.py

Nobody types a figure: a test compares the pages with what this would write.
"""

from pathlib import Path

from paperround.runs.card import Claim, Scale
from paperround.runs.records import shipped_result
from paperround.runs.results import Result
from paperround.runs.rooms import Room, find_rooms
from paperround.runs.verdicts import ClaimResult, Verdict

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CLAIMS = ROOT / "docs" / "claims.md"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
UNRUN = "the standard scale has not been run to its end yet"
OURS = "paperround.papers."
_SIGNS = {Verdict.HOLDS: "holds", Verdict.FALLS_SHORT: "**falls short**"}


def papers_table() -> str:
    """One line per paper: how many of its claims hold, and which fall short."""
    lines = [
        "| paper | method | hold | fall short | not measured |",
        "|---|---|---:|---|---:|",
    ]
    for room, claims in _ours():
        verdicts = [measured[1].verdict if measured else None for _, measured in claims]
        short = [
            claim.id
            for (claim, _), verdict in zip(claims, verdicts, strict=True)
            if verdict is Verdict.FALLS_SHORT
        ]
        link = f"[{room.slug}](src/paperround/papers/{room.slug.replace('-', '_')}/README.md)"
        shown = f"**{len(short)}**: {', '.join(short)}" if short else "0"
        lines.append(
            f"| {link} | {room.card.summary} | {verdicts.count(Verdict.HOLDS)} | {shown} "
            f"| {verdicts.count(None)} |"
        )
    return "\n".join(lines)


def claims_table() -> str:
    """Every claim with a verdict at the standard scale, else at the quick one, per paper."""
    lines = [
        "| paper | claim | reported | measured here | bar | verdict |",
        "|---|---|---|---|---|---|",
    ]
    machines = set()
    for room, claims in _ours():
        for claim, measured in claims:
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


def benchmarks(*names: str) -> str:
    """The benchmarks' tables, as they wrote them; of those named, else of all."""
    parts = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.md")):
        if not names or path.stem in names:
            tables = _tables(path.read_text(encoding="utf-8"))
            parts.append(f"`make bench-{path.stem}`\n\n{tables}")
    return "\n\n".join(parts)


Measured = tuple[Result, ClaimResult] | None


def _ours() -> list[tuple[Room, list[tuple[Claim, Measured]]]]:
    found = []
    for room in find_rooms()[0].values():
        if room.package.startswith(OURS):
            results = [r for s in (Scale.STANDARD, Scale.QUICK) if (r := shipped_result(room, s))]
            found.append((room, [(c, _measured(results, c.id)) for c in room.card.claims]))
    return found


def _tables(markdown: str) -> str:
    # The file's own headings would break the README's outline: tables keep theirs in bold.
    lines = [
        f"**{line.removeprefix('## ')}**" if line.startswith("## ") else line
        for line in markdown.splitlines()
        if not line.startswith("# ")
    ]
    return "\n".join(lines).strip()


def _measured(results: list[Result], claim_id: str) -> tuple[Result, ClaimResult] | None:
    for result in results:
        for claim in result.claims:
            if claim.id == claim_id and claim.verdict in _SIGNS:
                return result, claim
    return None


def _reported(reported: float | str | None) -> str:
    return "–" if reported is None else str(reported)


def written() -> dict[Path, str]:
    """The pages with their tables written anew."""
    tables = {
        README: {"papers": papers_table(), "benchmarks": benchmarks("web")},
        CLAIMS: {"claims": claims_table()},
        BENCHMARKS: {"benchmarks": benchmarks()},
    }
    pages = {}
    for path, named in tables.items():
        page = path.read_text(encoding="utf-8")
        for name, text in named.items():
            begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
            before, _, rest = page.partition(begin)
            _, _, after = rest.partition(end)
            page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
        pages[path] = page
    return pages


def main() -> None:
    """Writes the pages."""
    for path, page in written().items():
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
