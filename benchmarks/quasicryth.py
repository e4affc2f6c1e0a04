"""Size, speed and memory of Quasicryth beside its peers: `make bench-quasicryth`.

Every compressor and every direction runs in a process of its own, on one core, so that its peak
memory is its own; speed is processor time over several turns. The texts are the room's own two and
those of PAPERROUND_ASSETS that are there. Writes benchmarks/results/quasicryth.json and .md.
"""

import argparse
import json
import lzma
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
PEERS = ("gzip -9", "bzip2 -9", "xz -9e", "zstd -22 --long", "brotli -11", "PPMd, order 8")
_LARGE = (
    *("compress/lcet10.txt.xz", "compress/plrabn12.txt.xz"),
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


def way(name: str, direction: str) -> Callable[[bytes], bytes]:
    """A compressor's function in one direction; nothing else is loaded with it."""
    if name in PEERS:
        from paperround.papers.quasicryth.peers import PEERS as peers

        peer = next(peer for peer in peers if peer.name == name)
        return peer.compress if direction == "in" else peer.decompress
    from paperround.papers.quasicryth import Method, compress, decompress

    if direction == "out":
        return decompress
    mode = {
        OURS[0]: "multi",
        OURS[1]: "fib",
        OURS[2]: Method((), everywhere=True, selection="optimal"),
    }[name]
    return lambda data: compress(data, mode)


def work(name: str, direction: str, source: Path, target: Path, turns: int) -> None:
    """One compressor in one direction, in this process; prints what it took."""
    done = way(name, direction)
    data = source.read_bytes()
    if name in OURS:
        # What is compiled once and kept is no part of a text's time.
        small = way(name, "in")(b"to compile what is used. " * 400)
        way(name, "out")(small)
    _forget_peak()
    before = _peak_mb()
    seconds = []
    for _ in range(turns):
        started = time.process_time()
        out = done(data)
        seconds.append(time.process_time() - started)
    target.write_bytes(out)
    print(json.dumps({"seconds": seconds, "mb": _peak_mb() - before}))


def measured(name: str, direction: str, source: Path, target: Path, turns: int) -> dict[str, Any]:
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
    parser.add_argument("--turns", type=int, default=3, help="how often each is timed")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, direction, source, target = options.work
        work(name, direction, Path(source), Path(target), options.turns)
        return
    rows = []
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        plain, packed, back = (Path(folder, name) for name in ("plain", "packed", "back"))
        for text, data in texts().items():
            plain.write_bytes(data)
            for name in (*OURS, *PEERS):
                into = measured(name, "in", plain, packed, options.turns)
                out = measured(name, "out", packed, back, options.turns)
                if back.read_bytes() != data:
                    raise SystemExit(f"{name} did not restore {text}")
                rows.append(
                    {
                        "text": text,
                        "bytes": len(data),
                        "compressor": name,
                        "size": packed.stat().st_size,
                        "in_mb_per_s": _speeds(len(data), into["seconds"]),
                        "out_mb_per_s": _speeds(len(data), out["seconds"]),
                        "in_mb": round(into["mb"]),
                        "out_mb": round(out["mb"]),
                    }
                )
                print(rows[-1], file=sys.stderr)
    results = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(1),
        "load_before": round(before, 2),
        "turns": options.turns,
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
        f"{results['measured_at']}, {machine['processor']}, one core, at a load of "
        f"{results['load_before']:.1f} before it began; again with `make bench-quasicryth`. MB/s "
        f"of text in processor time: the median of {results['turns']} turns, and in brackets the "
        "slowest and the fastest. Memory is what the peak rose by in a process of its own that had "
        "loaded the compressor and read the text. Goals: "
        f"{goals['in']} MB/s in, {goals['out']} MB/s out.",
    ]
    for text in dict.fromkeys(row["text"] for row in results["rows"]):
        own = [row for row in results["rows"] if row["text"] == text]
        lines += [
            "",
            f"| {text}, {own[0]['bytes']:,} bytes | bytes | share | MB/s in | MB/s out | MB in "
            "| MB out |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {row['compressor']} | {row['size']:,} | {row['size'] / row['bytes']:.2%} "
            f"| {_said(row['in_mb_per_s'])} | {_said(row['out_mb_per_s'])} | {row['in_mb']} "
            f"| {row['out_mb']} |"
            for row in sorted(own, key=lambda row: row["size"])
        ]
    return "\n".join([*lines, ""])


def _speeds(n_bytes: int, seconds: list[float]) -> list[float]:
    """MB/s: the median, the slowest and the fastest."""
    speeds = [n_bytes / 1e6 / max(one, 1e-6) for one in seconds]
    return [round(one, 2) for one in (statistics.median(speeds), min(speeds), max(speeds))]


def _said(speeds: list[float]) -> str:
    return "{} ({}–{})".format(*(f"{speed:.3g}" for speed in speeds))


def _peak_mb() -> float:
    """The most memory that this process had since `_forget_peak`, or since it began."""
    status = Path("/proc/self/status")
    if status.exists():
        # What resource says of a new process includes its parent's memory.
        lines = dict(line.split(":", 1) for line in status.read_text("ascii").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    # macOS counts in bytes, others in KiB.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _forget_peak() -> None:
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5", "ascii")


if __name__ == "__main__":
    main()
