"""Drops from a model's folder: `python -m paperround.papers.llm_drop MODEL --text FILE --drop 8`.

Scores MODEL, a folder of transformers with its tokenizer, on windows of the text, and prints one
JSON object: similarities, what goes, perplexity before and after on windows that were not scored,
parameters and cache; with `--time`, the speed-up beside the one that is allowed; with `--out`, the
dropped model is saved. Exit status as everywhere: 0 well, 2 usage, 3 failed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from paperround.errors import PaperroundError, UsageError
from paperround.papers.llm_drop.measures import (
    cache_bytes_per_token,
    n_parameters,
    perplexity,
)
from paperround.papers.llm_drop.peers import plan_by_loss
from paperround.papers.llm_drop.plans import DropPlan, drop, plan_drop, scored_kinds
from paperround.papers.llm_drop.saving import save_dropped
from paperround.papers.llm_drop.scores import score_sublayers
from paperround.papers.llm_drop.speed import decoding_speedup
from paperround.papers.llm_drop.texts import drawn_windows


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status, after doing what the arguments ask."""
    options = _parser().parse_args(arguments)
    # Standard error is for what is wrong, in a line.
    transformers.utils.logging.disable_progress_bar()
    try:
        found = _run(options)
    except PaperroundError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.windows < 2 or options.length < 2 or options.drop < 0:
        raise UsageError("--windows and --length must be 2 or more, --drop 0 or more")
    if options.out is not None and options.out.exists() and any(options.out.iterdir()):
        # Said before the work, and not after it.
        raise UsageError(f"{options.out} is there already and not empty")
    if not (options.model / "config.json").is_file():
        raise UsageError(f"{options.model} is no folder of a model: it has no config.json")
    tokenizer = AutoTokenizer.from_pretrained(options.model, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=getattr(torch, options.dtype), local_files_only=True
    )
    model = model.to(options.device).eval()
    text = options.text.read_text(encoding="utf-8")
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    windows = drawn_windows(ids, options.windows, options.length, options.seed)
    # A quarter, at least one, is kept to measure on.
    n_measured = max(1, options.windows // 4)
    measured, calibration = windows[::-1][:n_measured], windows[::-1][n_measured:]
    scores = score_sublayers(model, calibration, scored_kinds(options.kind))
    if options.by == "similarity":
        plan = plan_drop(scores, options.drop, options.kind, protect=options.protect)
    else:
        plan = plan_by_loss(model, calibration, options.drop, options.kind, protect=options.protect)
    found: dict[str, Any] = {
        "similarity": scores.rows(),
        "scored_tokens": scores.n_tokens,
        "dropped": {"attention": list(plan.attention), "mlp": list(plan.mlp)},
        "intact": _state(model, measured),
    }
    if options.time:
        found["speed"] = _speed(model, plan, options.time)
    drop(model, plan)
    found["left"] = _state(model, measured)
    if options.out is not None:
        saved = save_dropped(model, options.out, options.form, tokenizer)
        found["saved"] = {
            **asdict(saved),
            "folder": str(saved.folder),
            "saves_all": saved.saves_all,
        }
    return found


def _state(model: Any, windows: Sequence[torch.Tensor]) -> dict[str, float]:
    return {
        "perplexity": perplexity(model, windows),
        "parameters": n_parameters(model),
        "cache_bytes_per_token": cache_bytes_per_token(model),
    }


def _speed(model: Any, plan: DropPlan, context: int) -> dict[str, float]:
    speed = decoding_speedup(model, plan, context=context)
    return {**asdict(speed), "share_of_allowed": speed.share_of_allowed}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paperround.papers.llm_drop",
        description="Drops the most redundant sub-layers of a language model, without training.",
        epilog="Example: python -m paperround.papers.llm_drop ./SmolLM2-135M-Instruct "
        "--text book.txt --drop 8 --time 512 --out smaller",
    )
    parser.add_argument("model", type=Path, help="a folder that transformers loads")
    parser.add_argument("--text", type=Path, required=True, help="calibration text, UTF-8")
    parser.add_argument("--drop", type=int, required=True, help="how many go")
    parser.add_argument(
        "--kind", choices=("attention", "mlp", "block", "joint"), default="attention"
    )
    parser.add_argument(
        "--by",
        choices=("similarity", "loss"),
        default="similarity",
        help="loss is greedy by calibration loss: better, and many passes",
    )
    parser.add_argument("--protect", type=int, nargs="*", default=(), help="layers left alone")
    parser.add_argument(
        "--windows", type=int, default=32, help="of the text; a quarter is measured on"
    )
    parser.add_argument("--length", type=int, default=512, help="tokens in a window")
    parser.add_argument("--seed", type=int, default=0, help="draws the windows")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--time", type=int, metavar="TOKENS", help="time decoding at that context")
    parser.add_argument("--out", type=Path, help="a new folder for the dropped model")
    parser.add_argument("--form", choices=("code", "plain"), default="code")
    return parser


if __name__ == "__main__":
    sys.exit(main())
