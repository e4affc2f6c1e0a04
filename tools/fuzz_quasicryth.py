"""Coverage-guided fuzzing of Quasicryth's decoder, for as long as one likes:

    python tools/fuzz_quasicryth.py --seconds 600

The decoder runs as plain Python (without numba), so that a trace sees which lines follow which. An
input that goes a new way is kept and changed further. Streams are changed inside the frame and its
checksums mended, so that the fuzzer reaches what is behind them. What must come out: a text of the
declared size or DamagedError, within a second or so; anything else is saved and ends the run. Kept
inputs are then given to the compiled decoder, which must say the same.
"""

import os

os.environ["NUMBA_DISABLE_JIT"] = "1"

import argparse
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

from paperround.papers import quasicryth
from paperround.papers.quasicryth import container
from paperround.papers.quasicryth.blocks import Block, decompress_block
from paperround.papers.quasicryth.errors import DamagedError

ROOM = str(Path(quasicryth.__file__).parent)
GOLDEN = Path(__file__).parents[1] / "tests" / "papers" / "quasicryth" / "golden"
_LONGEST_BYTES = 3_000
_SLOWEST_S = 20.0
Edges = set[tuple[str, int, int]]

# What a block says and its streams, which the fuzzer changes one by one.
Case = dict[str, Any]
_NUMBERS = ("n_bytes", "n_words", "n_flags")
_STREAMS = ("payload", "case", "codebook", "escapes")


def cases() -> list[Case]:
    """The golden files' first blocks, taken apart."""
    found = []
    for path in sorted(GOLDEN.glob("*.qcy")):
        data = path.read_bytes()
        frame = container.read_frame_header(data)
        if frame is None or frame.dictionary_id:
            continue
        rest = data[frame.size :]
        block = container.read_block_header(rest, frame)
        if not isinstance(block, container.BlockHeader) or not block.is_coded:
            continue
        place, streams = block.size, []
        for size in block.sizes:
            streams.append(rest[place : place + size])
            place += size
        found.append(
            {
                "n_bytes": block.n_bytes,
                "n_words": block.n_words,
                "n_flags": block.n_flags,
                "is_text": block.is_text,
                "coder_bits": block.coder_bits,
                "payload": streams[0],
                "case": streams[1],
                "codebook": container.unpack(streams[2], block.unpacked[0]),
                "escapes": container.unpack(streams[3], block.unpacked[1]),
            }
        )
    return found


def changed(case: Case, rng: random.Random, corpus: list[Case]) -> Case:
    """A case with a few changes, one of its streams perhaps from another case."""
    new = dict(case)
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(8)
        if kind == 0:
            name = rng.choice(_NUMBERS)
            new[name] = rng.choice((0, 1, new[name] - 1, new[name] + 1, rng.randrange(1, 3_000)))
        elif kind == 1:
            new["is_text"] = not new["is_text"]
        elif kind == 2:
            new["coder_bits"] = 56 - new["coder_bits"]
        elif kind == 3:
            name = rng.choice(_STREAMS)
            new[name] = rng.choice(corpus)[name]
        else:
            name = rng.choice(_STREAMS)
            stream = bytearray(new[name])
            place = rng.randrange(len(stream) + 1)
            if kind == 4:
                del stream[place : place + rng.randrange(1, 9)]
            elif kind == 5:
                stream[place:place] = rng.randbytes(rng.randrange(1, 9))
            elif stream:
                stream[place % len(stream)] = rng.choice((0, 255, rng.randrange(256)))
            new[name] = bytes(stream[:_LONGEST_BYTES])
    new["n_bytes"] = min(max(1, new["n_bytes"]), _LONGEST_BYTES)
    new["n_words"] = min(max(1, new["n_words"]), new["n_bytes"])
    new["n_flags"] = min(max(0, new["n_flags"]), new["n_bytes"])
    return new


def attempt(case: Case) -> bytes | None:
    """The text of a case, or None where it is refused."""
    try:
        text = decompress_block(Block(**case))
    except DamagedError:
        return None
    if len(text) != case["n_bytes"]:
        raise AssertionError(f"{len(text)} bytes instead of {case['n_bytes']}")
    return text


def traced(case: Case) -> tuple[Edges, bytes | None]:
    """Which line followed which in the room's own code, and what came out."""
    edges: Edges = set()

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        last = 0

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            edges.add((frame.f_code.co_name, last, frame.f_lineno))
            last = frame.f_lineno
            return on_line

        return on_line

    sys.settrace(on_call)
    try:
        return edges, attempt(case)
    finally:
        sys.settrace(None)


def compiled_says_the_same(corpus: list[tuple[Case, bytes | None]]) -> bool:
    """Whether the compiled decoder gives the same for every case; it runs in another process."""
    code = (
        "import ast, sys\n"
        "from paperround.papers.quasicryth.blocks import Block, decompress_block\n"
        "from paperround.papers.quasicryth.errors import DamagedError\n"
        "for line in sys.stdin:\n"
        "    case, expected = ast.literal_eval(line)\n"
        "    try:\n"
        "        text = decompress_block(Block(**case))\n"
        "    except DamagedError:\n"
        "        text = None\n"
        "    assert text == expected, line\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "0", "NUMBA_BOUNDSCHECK": "1"}
    lines = "".join(f"{(case, text)!r}\n" for case, text in corpus)
    done = subprocess.run([sys.executable, "-c", code], input=lines, text=True, env=environment)
    return done.returncode == 0


def main() -> int:
    """Fuzzes; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # A warning of numpy is an overflow that the compiled code would not see.
    warnings.simplefilter("error")
    rng = random.Random(options.seed)
    corpus = cases()
    seen: Edges = set()
    kept: list[tuple[Case, bytes | None]] = []
    started, n = time.monotonic(), 0
    while time.monotonic() - started < options.seconds:
        case = corpus[n] if n < len(corpus) else changed(rng.choice(corpus), rng, corpus)
        begun = time.monotonic()
        try:
            edges, text = traced(case)
        except Exception:
            print(f"this case fails:\n{case!r}", file=sys.stderr)
            raise
        if time.monotonic() - begun > _SLOWEST_S:
            print(f"this case takes too long:\n{case!r}", file=sys.stderr)
            return 1
        if edges - seen:
            seen |= edges
            kept.append((case, text))
            if n >= len(corpus):
                corpus.append(case)
        n += 1
    print(f"{n} cases, {len(seen)} edges, {len(kept)} kept; now compiled", file=sys.stderr)
    return 0 if compiled_says_the_same(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
