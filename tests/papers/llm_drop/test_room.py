"""The room: every stage of both scales runs on a small world, the command works, data is whole."""

import json
import lzma
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from paperround.errors import UsageError
from paperround.kit.assets import find_asset
from paperround.papers import llm_drop
from paperround.papers.llm_drop import reproduction
from paperround.papers.llm_drop.__main__ import _parser, main
from paperround.papers.llm_drop.savings import TimingSize
from paperround.papers.llm_drop.texts import read_texts
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run
from paperround.runs.rooms import find_rooms

FOLDER = Path(llm_drop.__file__).parent
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<s>", "</s>", "<pad>", *(f"w{i}" for i in range(37))]
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="w0",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    )


@pytest.fixture
def texts(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Two texts of a few thousand words from a chain in which each word has few followers."""
    generator = torch.Generator().manual_seed(5)
    for file in ("lcet10.txt.xz", "alice29.txt.xz"):
        steps = torch.randint(1, 4, (9_000,), generator=generator).cumsum(0) % 37
        with lzma.open(tmp_path / file, "wt", encoding="utf-8") as out:
            out.write(" ".join(f"w{int(step)}" for step in steps))
    return read_texts(tmp_path, tmp_path, tokenizer, None)


def tiny(scale: Scale) -> reproduction.Size:
    size = replace(
        reproduction.SIZES[scale],
        calibration=(3, 24),
        measured=(2, 20),
        n=2,
        half=2,
        sample_tokens=4,
        sweep=(1, 2),
    )
    if scale is Scale.QUICK:
        return size
    assert size.peers is not None
    return replace(
        size,
        timing=TimingSize(contexts=(4, 9), claimed_context=9, n_steps=2),
        peers=replace(
            size.peers,
            ns=(1, 2),
            by_loss_windows=1,
            iterative_windows=1,
            span_windows=2,
            n_questions=8,
            repair_steps=6,
            repair_tokens=12,
        ),
    )


@pytest.mark.parametrize("scale", [Scale.QUICK, Scale.STANDARD])
def test_every_stage_of_a_scale_runs_on_a_small_world(
    a_model: Make, texts: Any, tokenizer: Any, tmp_path: Path, scale: Scale
) -> None:
    card = find_rooms()[0]["llm-drop"].card
    events: list[dict[str, Any]] = []
    run = Run(card, scale, card.scales[scale].seeds, tmp_path, events.append, threads=1)
    reproduction.measure(run, a_model("llama").float(), tokenizer, texts, tiny(scale))
    of_kind = {
        kind: [e for e in events if e["kind"] == kind] for kind in ("measure", "table", "series")
    }
    measured = {event["claim"] for event in of_kind["measure"]}
    asked = {claim.id for claim in card.claims if claim.bars[scale].not_measured is None}
    assert asked <= measured
    for claim in asked - {"rank-stability"}:
        seeds = [event["seed"] for event in of_kind["measure"] if event["claim"] == claim]
        assert seeds == list(run.seeds), claim
    shares = {event["value"] for event in of_kind["measure"] if event["claim"] == "cache"}
    assert shares == {0.5}
    titles = [event["title"] for kind in ("table", "series") for event in of_kind[kind]]
    assert len(titles) == len(set(titles))
    assert any(event["kind"] == "sample" for event in events)


def test_the_full_scale_is_a_configuration(tmp_path: Path) -> None:
    card = find_rooms()[0]["llm-drop"].card
    run = Run(card, Scale.FULL, (0, 1, 2), tmp_path, lambda event: None)
    with pytest.raises(UsageError, match=r"full\.toml"):
        reproduction.reproduce(run)


def test_the_full_configuration_is_what_the_command_takes() -> None:
    full = tomllib.loads((FOLDER / "full.toml").read_text(encoding="utf-8"))
    assert sum(full["tasks"].values()) == 50
    for run in full["runs"]:
        for drop in run["drop"]:
            arguments = [run["model"], "--text", "c4.txt", "--drop", str(drop)]
            for name in ("kind", "dtype", "time"):
                arguments += [f"--{name}", str(run[name])]
            for name in ("windows", "length", "seed"):
                arguments += [f"--{name}", str(full["calibration"][name])]
            assert _parser().parse_args(arguments).windows == 341


def test_the_calibration_text_ships_and_is_whole() -> None:
    found = find_asset("lcet10")
    with lzma.open(found.folder / "lcet10.txt.xz", "rt", encoding="utf-8") as file:
        text = file.read()
    assert len(text) == 419_235
    assert "WORKSHOP ON ELECTRONIC TEXTS" in text


@pytest.fixture
def a_folder(a_model: Make, tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    a_model("qwen3").float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (tmp_path / "text.txt").write_text(" ".join(f"w{i * i % 37}" for i in range(2_000)))
    return folder


@pytest.mark.parametrize("by", ["similarity", "loss"])
def test_the_command_drops_measures_and_saves(
    a_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    arguments = [str(a_folder), "--text", str(tmp_path / "text.txt"), "--drop", "2", "--by", by]
    arguments += ["--windows", "8", "--length", "16", "--protect", "0", "--time", "5"]
    assert main([*arguments, "--out", str(tmp_path / "small")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["dropped"]["attention"]) == 2
    assert 0 not in found["dropped"]["attention"]
    assert len(found["similarity"]) == 4
    # A quarter of the windows was not scored but measured on.
    assert found["scored_tokens"] == 6 * 16
    assert found["left"]["cache_bytes_per_token"] * 2 == found["intact"]["cache_bytes_per_token"]
    assert found["left"]["parameters"] < found["intact"]["parameters"]
    assert found["speed"]["allowed_by_bytes"] > 1
    assert found["saved"]["saves_all"]
    loaded = llm_drop.load_dropped(tmp_path / "small")
    assert set(llm_drop.dropped_sublayers(loaded)[0]) == set(found["dropped"]["attention"])
    # The folder is not written over.
    assert main([*arguments, "--out", str(tmp_path / "small")]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--drop", "9"], 3, "9 cannot be dropped"),
        (["--drop", "4"], 3, "one attention at least"),
        (["--drop", "-1"], 2, "--drop 0 or more"),
        (["--windows", "1"], 2, "--windows and --length must be 2"),
        (["--windows", "500"], 3, "the text holds"),
        (["--text", "absent.txt"], 3, "absent.txt"),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(
    a_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    status: int,
    words: str,
) -> None:
    arguments = [str(a_folder), "--text", str(tmp_path / "text.txt"), "--drop", "1"]
    arguments += ["--windows", "4", "--length", "16"]
    assert main([*arguments, *change]) == status
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_folder_without_a_model_is_a_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--text", "x", "--drop", "1"]) == 2
    assert "no config.json" in capsys.readouterr().err


def test_importing_the_room_imports_no_torch() -> None:
    program = "import sys, paperround.papers.llm_drop as room; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    for name in llm_drop.__all__:
        assert getattr(llm_drop, name).__name__ == name
    with pytest.raises(AttributeError, match="attribute prune"):
        _ = llm_drop.prune
