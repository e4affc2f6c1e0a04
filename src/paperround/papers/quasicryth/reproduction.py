"""Measures Quasicryth's claims: sizes beside the official program and the peers, and what the
golden tilings gain over periodic ones, as the paper compares them and at equal effort.

The method has no randomness. The seeds choose phases: where a tiling begins is free, and what holds
for one phase only would be luck.
"""

import lzma
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from paperround.errors import UsageError
from paperround.papers.quasicryth.analysis import Analysis, analyse
from paperround.papers.quasicryth.blocks import METHODS, Block, Method, compress_block, parse
from paperround.papers.quasicryth.codec import compress, decompress
from paperround.papers.quasicryth.peers import PEERS
from paperround.papers.quasicryth.qm56 import HEADER_AND_CHECKSUM, pack, read_qm56, write_qm56
from paperround.papers.quasicryth.tilings import (
    GOLDEN,
    PERIOD_5,
    PHI,
    SPANS,
    AnyTiling,
    Tiling,
    collapse_level,
    expected_positions,
    factor_complexity,
    hierarchy,
    positions,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

# Bytes that the official program (v5.6, commit dd6f80f) made of the Canterbury texts; measured with
# its own binary, whose figures for alice29 are those of its README.
OFFICIAL = {
    "alice29.txt": {"multi": 54_158, "fib": 54_616, "period5": 55_615, "none": 56_587},
    "asyoulik.txt": {"multi": 50_468, "fib": 50_709, "period5": 51_266, "none": 52_331},
    "lcet10.txt": {"multi": 133_289, "fib": 134_415, "period5": 135_884, "none": 138_884},
    "plrabn12.txt": {"multi": 177_981, "fib": 178_497, "period5": 179_828, "none": 184_755},
}
_LARGE = (
    "books/dickens.txt.xz",
    "wiki/wiki_intros_2wiki.txt.xz",
    "code/python_stdlib_3.11.7.py.txt.xz",
)

# The comparisons: the paper's four modes, the missing ones between them, and the upper bound.
COMPARED: dict[str, Method] = {
    "multi: 36 tilings": METHODS["multi"],
    "fib: 12 golden phases": METHODS["fib"],
    "5 golden phases": Method(GOLDEN[:5]),
    "1 golden phase": Method(GOLDEN[:1]),
    "Period-5, 5 shifts": Method(PERIOD_5),
    "period5: 1 shift": METHODS["period5"],
    "all: every position": METHODS["all"],
    "no tiling, with pairs of words": Method(()),
    "none: neither": METHODS["none"],
}
_OURS: dict[str, Method] = {
    "all positions, shortest parse": Method((), everywhere=True, selection="optimal"),
    "36 tilings, no LZ77": replace(METHODS["multi"], lz77=False),
    "36 tilings, no phrase above 8 words": replace(METHODS["multi"], deepest=3),
    "36 tilings, coder of 32 bits": replace(METHODS["multi"], coder_bits=32),
}
_TILED_WORDS = 100_000
# The smallest text for which the golden tiling has a position of 144 words at every phase.
_WORDS_FOR_ALL_LEVELS = 36_000
_COVERAGE = PHI / 5**0.5
_PASSAGE_WORDS = 160


@dataclass
class _Sizes:
    """Sizes as files of the official format, the packed codebooks and escapes kept: they are the
    same for every tiling.
    """

    packed: dict[bytes, int] = field(default_factory=dict)

    def of(self, data: bytes, method: Method) -> int:
        """The bytes of the file that a method makes of a text."""
        block = compress_block(data, method)
        return (
            HEADER_AND_CHECKSUM
            + self.payload(block)
            + sum(self._packed(stream) for stream in (block.codebook, block.escapes) if stream)
        )

    @staticmethod
    def payload(block: Block) -> int:
        """The bytes of the coded events and flags."""
        return len(block.payload) + len(block.case)

    def _packed(self, stream: bytes) -> int:
        if stream not in self.packed:
            self.packed[stream] = len(pack(stream))
        return self.packed[stream]


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale is Scale.FULL:
        raise UsageError(
            "quasicryth's full scale is enwik8 and enwik9, which the user supplies; see the room's "
            "README. Use quick or standard"
        )
    texts = _read(run.asset("canterbury-alice-asyoulik"), ("alice29.txt.xz", "asyoulik.txt.xz"))
    large: dict[str, bytes] = {}
    if run.scale is Scale.STANDARD:
        texts |= _read(
            run.asset("canterbury-lcet10-plrabn12"), ("lcet10.txt.xz", "plrabn12.txt.xz")
        )
        large = _read(run.asset("texts-to-compress"), _LARGE)
    with run.stage("compile", 2) as stage:
        first = next(iter(texts.values()))[:20_000]
        packed = compress(first)
        stage.advance()
        decompress(packed)
        stage.advance()
    sizes = _Sizes()
    tilings_against_theory(run)
    of_mode = sizes_by_mode(run, texts, sizes)
    against_the_official(run, of_mode)
    paper_ab(run, of_mode)
    equal_effort(run, b"".join(texts.values()), sizes)
    growth(run, {"Canterbury texts joined": b"".join(texts.values()), **large}, sizes)
    against_peers(run, texts | large, sizes)
    round_trips(run, texts | large)
    levels_of(run, next(iter(texts.items())))
    speed(run, next(iter(texts.values())) if run.scale is Scale.QUICK else b"".join(texts.values()))


def _read(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {
        Path(name).name.removesuffix(".xz"): lzma.decompress((folder / name).read_bytes())
        for name in names
    }


def tilings_against_theory(run: Run) -> None:
    """Positions and coverage per level, where hierarchies end, and the golden word's factors."""
    rows, worst_of = [], []
    lines: dict[str, list[tuple[float, float]]] = {"golden": [], "Period-5": []}
    for seed in run.seeds:
        phases = random.Random(seed)
        golden = Tiling(phase=phases.random())
        shift = phases.randrange(5)
        levels = hierarchy(golden, _TILED_WORDS)
        periodic = hierarchy(PERIOD_5[shift], _TILED_WORDS)
        worst = 0.0
        for j in range(1, len(SPANS)):
            n, n_periodic = len(positions(levels[j], j)), len(positions(periodic[j], j))
            coverage = n * SPANS[j] / _TILED_WORDS
            worst = max(worst, abs(coverage - _COVERAGE))
            if seed == run.seeds[0]:
                expected = expected_positions(j, _TILED_WORDS)
                covered_periodic = n_periodic * SPANS[j] / _TILED_WORDS
                rows.append(
                    (j, SPANS[j], n, round(expected), coverage, n_periodic, covered_periodic)
                )
                lines["golden"].append((j, coverage))
                lines["Period-5"].append((j, covered_periodic))
        worst_of.append(worst)
        run.measure("golden-compensation", worst, baseline=_COVERAGE, seed=seed)
        ends = collapse_level(PERIOD_5[shift], _TILED_WORDS)
        run.measure(
            "periodic-collapse", ends if ends is not None else len(SPANS), baseline=10, seed=seed
        )
        small = hierarchy(golden, _WORDS_FOR_ALL_LEVELS)
        run.measure(
            "never-collapses",
            min(len(positions(level, j)) for j, level in enumerate(small)),
            baseline=0,
            seed=seed,
        )
        symbols = golden.symbols(_TILED_WORDS)
        periodic_symbols = PERIOD_5[shift].symbols(1_000)
        run.measure(
            "factor-complexity",
            max(abs(factor_complexity(symbols, n) - (n + 1)) for n in range(1, 31)),
            baseline=factor_complexity(periodic_symbols, 30),
            seed=seed,
        )
    columns = (
        *("level", "words of a phrase", "positions, golden", "W / phi^(j+2)"),
        *("share of words covered", "positions, Period-5", "share covered, Period-5"),
    )
    run.table(
        "Where phrases may be looked up in 100,000 words, one tiling",
        columns,
        rows,
        note=f"Theory: the golden tiling covers phi / sqrt(5) = {_COVERAGE:.4f} at every level.",
    )
    run.series(
        "Share of the words that the positions of a level cover",
        lines,
        x_label="level of the hierarchy",
        y_label="share of words",
        note="Period-5 has no position from level 4 on.",
    )


def sizes_by_mode(run: Run, texts: dict[str, bytes], sizes: _Sizes) -> dict[str, dict[str, int]]:
    """The size of every text in every mode: mode -> text -> bytes."""
    modes = COMPARED | _OURS
    found: dict[str, dict[str, int]] = {}
    with run.stage("compress in every mode", len(modes) * len(texts)) as stage:
        for mode, method in modes.items():
            found[mode] = {}
            for name, data in texts.items():
                found[mode][name] = sizes.of(data, method)
                stage.advance()
    run.table(
        "Bytes by tiling, same codebooks",
        ("mode", *texts),
        [(mode, *of_text.values()) for mode, of_text in found.items()],
        note="Files of the official format. The last four are ablations and an own variant.",
    )
    return found


def against_the_official(run: Run, of_mode: dict[str, dict[str, int]]) -> None:
    """Our sizes against the official program's own."""
    rows, ratios = [], []
    for mode in ("multi", "fib", "period5", "none"):
        of_text = next(found for name, found in of_mode.items() if name.startswith(f"{mode}:"))
        for name, ours in of_text.items():
            theirs = OFFICIAL[name][mode]
            ratios.append(ours / theirs)
            rows.append((name, mode, ours, theirs, f"{ours / theirs - 1:+.3%}"))
    run.table(
        "Beside the official program",
        ("text", "mode", "ours", "official, v5.6", "difference"),
        rows,
        note="The difference is the order of equally frequent words and phrases in the codebook: "
        "by first occurrence here, by the official program's hash table there.",
    )
    run.measure("official-size", max(ratios), baseline=OFFICIAL["alice29.txt"]["multi"])


def paper_ab(run: Run, of_mode: dict[str, dict[str, int]]) -> None:
    """The paper's A/B on alice29: as published, twelve phases against one."""
    of_alice = {mode: found["alice29.txt"] for mode, found in of_mode.items()}
    fib, multi = of_alice["fib: 12 golden phases"], of_alice["multi: 36 tilings"]
    period5, none = of_alice["period5: 1 shift"], of_alice["none: neither"]
    run.measure("fib-over-period5", period5 - fib, baseline=period5)
    run.measure("multi-over-fib", fib - multi, baseline=fib)
    run.measure("period5-over-none", none - period5, baseline=none)
    everywhere = of_alice["all: every position"]
    run.measure("tilings-over-everywhere", everywhere - multi, baseline=everywhere)
    run.note(
        f"On alice29 tilings save {none - fib} bytes over the mode without any, but "
        f"{none - of_alice['no tiling, with pairs of words']} of them come from pairs of words, "
        "which need no tiling and which that mode leaves out too."
    )


def equal_effort(run: Run, data: bytes, sizes: _Sizes) -> None:
    """Golden against Period-5 with equally many tilings: one each, and five each."""
    rows = []
    with run.stage("equal effort", 2 * len(run.seeds) + 1) as stage:
        five_periodic = sizes.of(data, Method(PERIOD_5))
        stage.advance()
        for seed in run.seeds:
            phases = random.Random(seed)
            start = phases.random()
            # Spread as the paper spreads its twelve.
            golden: list[AnyTiling] = [Tiling(phase=(start + i / PHI) % 1) for i in range(5)]
            shift = phases.randrange(5)
            one = sizes.of(data, Method(tuple(golden[:1])))
            one_periodic = sizes.of(data, Method((PERIOD_5[shift],)))
            stage.advance()
            five = sizes.of(data, Method(tuple(golden)))
            stage.advance()
            rows += [
                (seed, "1 and 1", one, one_periodic, one_periodic - one),
                (seed, "5 and 5", five, five_periodic, five_periodic - five),
            ]
            gain = max(one_periodic / one, five_periodic / five) - 1
            run.measure("equal-effort", gain, baseline=one_periodic, seed=seed)
    run.table(
        "Golden against Period-5 with equally many tilings, all texts joined",
        ("seed", "tilings", "golden, bytes", "Period-5, bytes", "golden saves"),
        rows,
        note="Phases and shifts are drawn by the seed; Period-5 has five shifts, and no more.",
    )


def growth(run: Run, texts: dict[str, bytes], sizes: _Sizes) -> None:
    """What golden tilings save over Period-5 as the text grows, as published and as fair."""
    name, data = next(iter(texts.items()))
    if run.scale is Scale.STANDARD:
        largest = max(texts, key=lambda text: len(texts[text]))
        _curve(run, name, data, (1 / 12, 1 / 6, 1 / 3, 2 / 3, 1), sizes)
        saved = _curve(run, largest, texts[largest], (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1), sizes)
        (small, first), (whole, last) = saved[0], saved[-1]
        # Above 1: the saving grows faster than the text.
        run.measure("advantage-grows", (last / first) / (whole / small), baseline=first)
    else:
        _curve(run, name, data, (1 / 4, 1 / 2, 1), sizes)


def _curve(
    run: Run, name: str, data: bytes, shares: Sequence[float], sizes: _Sizes
) -> list[tuple[int, int]]:
    compared = {
        "12 golden phases over one Period-5 (the paper's)": (
            "fib: 12 golden phases",
            "period5: 1 shift",
        ),
        "5 golden phases over 5 shifts": ("5 golden phases", "Period-5, 5 shifts"),
        "1 golden phase over one Period-5": ("1 golden phase", "period5: 1 shift"),
        "every position over 36 tilings": ("all: every position", "multi: 36 tilings"),
    }
    modes = sorted({mode for pair in compared.values() for mode in pair})
    lines: dict[str, list[tuple[float, float]]] = {label: [] for label in compared}
    rows, paper = [], []
    with run.stage(f"growing prefixes of {name}", len(shares) * len(modes)) as stage:
        for share in shares:
            prefix = data[: int(share * len(data))]
            of_mode = {}
            for mode in modes:
                of_mode[mode] = sizes.of(prefix, COMPARED[mode])
                stage.advance()
            row: list[float] = [len(prefix)]
            for label, (ours, theirs) in compared.items():
                saved = of_mode[theirs] - of_mode[ours]
                row.append(saved)
                lines[label].append((len(prefix) / 1e6, 1000 * saved / of_mode[theirs]))
            rows.append(row)
            paper.append((len(prefix), int(row[1])))
    run.table(f"Bytes saved as the text grows: {name}", ("bytes of text", *compared), rows)
    run.series(
        f"Saved as the text grows: {name}",
        lines,
        x_label="size of the text, MB",
        y_label="bytes saved per 1,000",
    )
    return paper


def against_peers(run: Run, texts: dict[str, bytes], sizes: _Sizes) -> None:
    """Sizes beside the peers on the same texts in this run."""
    rows: dict[str, list[int]] = {"Quasicryth, 36 tilings": [], "Quasicryth, every position": []}
    rows |= {peer.name: [] for peer in PEERS}
    with run.stage("compress with the peers", len(texts) * len(rows)) as stage:
        for data in texts.values():
            rows["Quasicryth, 36 tilings"].append(len(compress(data)))
            stage.advance()
            rows["Quasicryth, every position"].append(len(compress(data, "all")))
            stage.advance()
            for peer in PEERS:
                rows[peer.name].append(len(peer.compress(data)))
                stage.advance()
    run.table(
        "Beside the peers: bytes",
        ("compressor", *texts),
        [(name, *row) for name, row in {"as it is": [*map(len, texts.values())], **rows}.items()],
        note="Each at its strongest setting for text. Quasicryth in its own container.",
    )
    ours = rows["Quasicryth, 36 tilings"]
    shares = [mine / theirs for mine, theirs in zip(ours, rows["bzip2 -9"], strict=True)]
    run.measure("beats-bzip2", max(shares), baseline=rows["bzip2 -9"][0])
    run.measure("gap-to-xz", ours[0] / rows["xz -9e"][0], baseline=rows["xz -9e"][0])


def round_trips(run: Run, texts: dict[str, bytes]) -> None:
    """Whether every text comes back in every mode, and from the official format."""
    odd = {
        "nothing": b"",
        "one byte": b"\xff",
        "every byte": bytes(range(256)) * 8,
        "Windows lines": b"One line\r\nAnother\r\n" * 100,
        "a word of 100,000 bytes": b"a" * 100_000,
        "random bytes": random.Random(run.seeds[0]).randbytes(100_000),
    }
    good = total = 0
    with run.stage("round trips", len(texts) + len(odd)) as stage:
        for name, data in (texts | odd).items():
            for mode in METHODS if name in texts else ("multi", "none"):
                good += decompress(compress(data[: 1 << 20], mode)) == data[: 1 << 20]
                total += 1
            if data:
                good += read_qm56(write_qm56(data), len(data)) == data
                total += 1
            stage.advance()
    run.measure("lossless", good / total, baseline=1)


def levels_of(run: Run, named: tuple[str, bytes]) -> None:
    """Positions, hits and words covered per level on a text, and a passage as it is parsed."""
    name, data = named
    found: dict[str, Analysis] = {mode: analyse(data, mode) for mode in ("fib", "period5", "all")}
    rows: list[list[str | int]] = []
    for i, level in enumerate(found["fib"].levels):
        others = [found[mode].levels[i] for mode in ("period5", "all")]
        cells = [(one.positions, one.hits, one.taken) for one in (level, *others)]
        rows.append([level.name, level.entries, *(number for cell in cells for number in cell)])
    columns = ["what", "entries of its book"]
    for mode in ("12 golden", "Period-5", "everywhere"):
        columns += [f"positions, {mode}", f"hits, {mode}", f"taken, {mode}"]
    run.table(f"What is found in {name}, level by level", columns, rows)
    streams: list[list[str | int]] = [
        [mode, *one.streams.values(), one.compressed_bytes] for mode, one in found.items()
    ]
    run.table(
        f"What the bytes of {name} are spent on",
        ("mode", *found["fib"].streams, "together"),
        streams,
    )
    run.sample(
        f"A passage of {name} as it is parsed",
        {
            "12 golden tilings": _passage(data, METHODS["fib"]),
            "one Period-5 tiling": _passage(data, METHODS["period5"]),
        },
        note="In brackets: phrases of the codebooks, two words and more; in <>: escaped words.",
    )


def _passage(data: bytes, method: Method) -> str:
    parsed = parse(data, method)
    levels, starts = parsed.events.levels, parsed.events.starts
    deepest = int(levels.argmax())
    first = max(0, deepest - 30)
    shown = []
    for e in range(first, len(levels)):
        if starts[e] - starts[first] > _PASSAGE_WORDS:
            break
        end = int(starts[e + 1]) if e + 1 < len(starts) else len(parsed.words.ids)
        words = b"".join(parsed.words.word(w) for w in parsed.words.ids[int(starts[e]) : end])
        text = words.decode("latin-1")
        shown.append(f"[{text}]" if levels[e] >= 2 else text if levels[e] else f"<{text}>")
    return "".join(shown)


def speed(run: Run, data: bytes) -> None:
    """How fast both ways go, in processor time, and how much slower the way in is."""
    rows = []
    ways: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
        "Quasicryth, 36 tilings": (compress, decompress),
        "Quasicryth, 12 golden": (lambda text: compress(text, "fib"), decompress),
    }
    ways |= {peer.name: (peer.compress, peer.decompress) for peer in PEERS}
    with run.stage("speed", len(ways)) as stage:
        for name, (pack_it, unpack_it) in ways.items():
            packed = pack_it(data)
            slow, fast = (
                min(_seconds(way, what) for _ in run.seeds)
                for way, what in ((pack_it, data), (unpack_it, packed))
            )
            rows.append((name, len(packed), len(data) / slow / 1e6, len(data) / fast / 1e6))
            if name == "Quasicryth, 36 tilings":
                run.measure("slow-in-fast-out", slow / fast, baseline=len(data) / fast / 1e6)
            stage.advance()
    run.table(
        f"Speed on {len(data) / 1e6:.2f} MB, one core, processor time",
        ("compressor", "bytes", "MB/s in", "MB/s out"),
        rows,
        note="The best of as many times as there are seeds.",
    )


def _seconds(way: Callable[[bytes], bytes], data: bytes) -> float:
    started = time.process_time()
    way(data)
    return max(time.process_time() - started, 1e-6)
