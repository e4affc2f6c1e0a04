"""Size, speed and memory of Quasicryth beside its peers: `make bench-quasicryth`.

Every compressor and every direction runs in a process of its own, on one core, so that its peak
memory is its own; speed is processor time, the best of several turns. The texts are the room's own
two and those of PAPERROUND_ASSETS that are there. Writes benchmarks/results/quasicryth.json and
.md.
"""

import argparse
import json
import lzma
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from paperround.runs.environment import describe_environment
from paperround.settings import get_settings

RESULTS = Path(__file__).with_name("results")
# What issue 9 asks: the official program's speed here and there.
GOALS_MB_PER_S = {"in": 1.5, "out": 10.0}
OURS = ("Quasicryth, 36 tilings", "Quasicryth, 12 golden", "Quasicryth, everywhere, shortest parse")
_LARGE = (
    *("compress/lcet10.txt.xz", "compress/plrabn12.txt.xz", "compress/silesia_xml.xz"),
    *("text/books/dickens.txt.xz", "text/wiki/wiki_intros_2wiki.txt.xz"),
    "text/code/python_stdlib_3.11.7.py.txt.xz",
)
_LIMIT_S = 600


def texts() -> dict[str, bytes]:
    """The texts to compress, by name."""
    room = files("paperround.papers.quasicryth").joinpath("data")
    found = {
        name: lzma.decompress(room.joinpath(f"{name}.xz").read_bytes())
        for name in ("alice29.txt", "asyoulik.txt")
    }
    assets = get_settings().assets
    for name in _LARGE:
        if assets is not None and (assets / name).is_file():
            found[Path(name).name.removesuffix(".xz")] = lzma.decompress(
                (assets / name).read_bytes()
            )
    return found


def ways() -> dict[str, tuple[Any, Any]]:
    """Every compressor: its name, and its two functions."""
    from paperround.papers.quasicryth import Method, compress, decompress
    from paperround.papers.quasicryth.peers import PEERS

    shortest = Method((), everywhere=True, selection="optimal")
    made = {
        OURS[0]: (compress, decompress),
        OURS[1]: (lambda data: compress(data, "fib"), decompress),
        OURS[2]: (lambda data: compress(data, shortest), decompress),
    }
    return made | {peer.name: (peer.compress, peer.decompress) for peer in PEERS}


def work(name: str, direction: str, source: Path, target: Path, turns: int) -> None:
    """One compressor in one direction, in this process; prints what it took."""
    before = _peak_mb()
    way = ways()[name][direction == "out"]
    data = source.read_bytes()
    if name in OURS:
        # What is compiled once and kept is no part of a text's time.
        small = ways()[name][0](b"to compile what is used. " * 400)
        ways()[name][1](small)
    seconds = []
    for _ in range(turns):
        started = time.process_time()
        out = way(data)
        seconds.append(time.process_time() - started)
    target.write_bytes(out)
    print(json.dumps({"seconds": min(seconds), "peak_mb": _peak_mb(), "start_mb": before}))


def measured(name: str, direction: str, source: Path, target: Path, turns: int) -> dict[str, float]:
    """What `work` measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.quasicryth", "--work", name, direction]
    command += [str(source), str(target), "--turns", str(turns)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=_LIMIT_S
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, direction, source, target = options.work
        work(name, direction, Path(source), Path(target), options.turns)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plain, packed, back = (Path(folder, name) for name in ("plain", "packed", "back"))
        for text, data in texts().items():
            plain.write_bytes(data)
            turns = options.turns if len(data) < 2_000_000 else 1
            for name in ways():
                into = measured(name, "in", plain, packed, turns)
                out = measured(name, "out", packed, back, max(turns, 2))
                if back.read_bytes() != data:
                    raise SystemExit(f"{name} did not restore {text}")
                rows.append(
                    {
                        "text": text,
                        "bytes": len(data),
                        "compressor": name,
                        "size": packed.stat().st_size,
                        "in_mb_per_s": round(len(data) / into["seconds"] / 1e6, 2),
                        "out_mb_per_s": round(len(data) / out["seconds"] / 1e6, 2),
                        "in_peak_mb": round(into["peak_mb"]),
                        "out_peak_mb": round(out["peak_mb"]),
                    }
                )
                print(rows[-1], file=sys.stderr)
    results = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(1),
        "load_average": list(os.getloadavg()),
        "goals_mb_per_s": GOALS_MB_PER_S,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    RESULTS.joinpath("quasicryth.json").write_text(
        json.dumps(results, indent=1) + "\n", encoding="utf-8"
    )
    RESULTS.joinpath("quasicryth.md").write_text(report(results), encoding="utf-8")
    print(report(results))


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = results["environment"]
    goals = results["goals_mb_per_s"]
    lines = [
        "# Quasicryth beside its peers",
        "",
        f"Measured {results['measured_at']} on {machine['processor']}, one core, at a load of "
        f"{results['load_average'][0]:.1f}; again with `make bench-quasicryth`. MB/s of text and "
        "processor time; memory is the peak of the whole process, Python and numba (some 150 MB) "
        f"included. Goals: {goals['in']} MB/s in, {goals['out']} MB/s out.",
    ]
    for text in dict.fromkeys(row["text"] for row in results["rows"]):
        own = [row for row in results["rows"] if row["text"] == text]
        lines += [
            "",
            f"## {text}, {own[0]['bytes']:,} bytes",
            "",
            "| compressor | bytes | share | MB/s in | MB/s out | MB in | MB out |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {row['compressor']} | {row['size']:,} | {row['size'] / row['bytes']:.2%} "
            f"| {row['in_mb_per_s']} | {row['out_mb_per_s']} | {row['in_peak_mb']} "
            f"| {row['out_peak_mb']} |"
            for row in sorted(own, key=lambda row: row["size"])
        ]
    return "\n".join([*lines, ""])


def _peak_mb() -> float:
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
