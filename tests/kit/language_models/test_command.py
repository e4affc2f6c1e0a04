"""`paperround generate` as scripts rely on it."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from paperround.cli import call
from paperround.kit.language_models.families import byte_tokenizer, random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    # It never ends a text by itself.
    random_model("qwen2", dtype=torch.float32, eos_token_id=None).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    path = tmp_path / "prompt.txt"
    path.write_text("the cat sat on the mat, and the cat sat on the\n", encoding="utf-8")
    return str(path)


def generated(folder: str, prompt: str, *more: str) -> list[str]:
    return ["generate", "--model", folder, "--prompt", prompt, "--max-new-tokens", "20", *more]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_it_prints_the_text_its_speed_and_what_the_method_changed(
    folder: str, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(generated(folder, prompt, "--method", "copyspec", "--set", "gamma=2", "--json")) == 0
    )
    [line] = lines(capsys)
    assert line["method"] == "copyspec"
    assert line["options"] == {"gamma": 2, "max_copy": 10}
    [text] = line["texts"]
    assert text["tokens"] == 20
    assert line["tokens_per_second"] == pytest.approx(20 / line["seconds"], rel=0.05)
    assert line["passes"] == line["figures"]["passes"] <= 20

    assert call(generated(folder, prompt, "--method", "copyspec", "--set", "gamma=2")) == 0
    printed = capsys.readouterr()
    assert text["text"] in printed.out
    assert "tokens in" in printed.out
    assert "a second" in printed.out
    assert f"{line['passes']} forward passes for 20 tokens" in printed.out
    assert printed.err == ""


def test_compared_with_greedy_it_says_whether_the_text_is_the_same(
    folder: str, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(generated(folder, prompt, "--method", "prompt-lookup", "--compare", "--json")) == 0
    [line] = lines(capsys)
    assert line["greedy"]["same_text"]
    assert line["greedy"]["text"] == line["texts"][0]["text"]
    assert line["greedy"]["passes"] == 20
    assert call(generated(folder, prompt, "--method", "sampling", "--compare")) == 0
    assert "Another text" in capsys.readouterr().out


def test_a_file_of_lines_has_a_prompt_or_messages_each(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    said = [{"role": "user", "content": "hello"}]
    records = [{"prompt": "one \u2028 line"}, {"messages": said}, {"prompt": "hello"}]
    path.write_text(
        "\n\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8"
    )
    assert call(generated(folder, str(path), "--json")) == 0
    plain, chat, as_text = lines(capsys)
    assert plain["prompt"] == f"{path}, line 1"
    assert chat["prompt"] == f"{path}, line 3"
    assert call(generated(folder, str(path), "--json", "--chat")) == 0
    assert lines(capsys)[2]["texts"] == chat["texts"] != as_text["texts"]


def test_a_prompt_may_come_from_standard_input(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"so")))
    assert call(generated(folder, "-", "--json")) == 0
    [line] = lines(capsys)
    assert line["prompt"] == "-"


def test_it_lists_the_methods_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["generate", "--methods"]) == 0
    printed = capsys.readouterr().out
    for name in ("greedy", "copyspec", "copyspec-adaptive", "diverse-beam-search"):
        assert f"\n{name} " in f"\n{printed}"
    assert "gamma=3" in printed


@pytest.mark.parametrize(
    ("content", "more", "complaint"),
    [
        (b"", [], "prompt 1 is empty"),
        (b"\n", ["--chat"], "prompt 1 is empty"),
        (b"x" * 600, [], "leaves no room"),
        (b"x" * 500, [], "more together than the model's context of 512"),
        (b"\xff\xfe", [], "no text in UTF-8"),
        (b"a", ["--method", "telepathy"], "no method 'telepathy'"),
        (b"a", ["--method", "copyspec", "--set", "gamma=0"], "gamma is 0"),
        (b"a", ["--method", "copyspec", "--set", "gamma=three"], "gamma is int"),
        (b"a", ["--method", "copyspec", "--set", "gamma"], "NAME=VALUE"),
        (b"a", ["--set", "gamma=3"], "greedy has no option 'gamma'"),
        (b"a", ["--method", "diverse-beam-search", "--set", "groups=3"], "does not divide"),
        (b"a", ["--model", "/nowhere/at/all"], "no folder with a model"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    folder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    more: list[str],
    complaint: str,
) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    assert call(generated(folder, str(path), *more)) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize("line", ["{ half a li", '"text"', '{"text": "a"}', '{"messages": [1]}'])
def test_a_broken_line_is_named(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'{{"prompt": "a"}}\n{line}\n', encoding="utf-8")
    assert call(generated(folder, str(path))) == 2
    assert f"{path}, line 2" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(generated(folder, str(tmp_path / "absent.txt"))) == 2
    assert "absent.txt cannot be read" in capsys.readouterr().err
    assert call(["generate", "--model", folder]) == 2
    assert "--prompt names the file" in capsys.readouterr().err


def test_no_tokens_are_no_text_and_no_error(
    folder: str, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(
            [*generated(folder, prompt, "--method", "copyspec", "--json"), "--max-new-tokens", "0"]
        )
        == 0
    )
    [line] = lines(capsys)
    assert line["texts"] == [{"text": "", "tokens": 0, "log_prob": None}]
    assert line["tokens_per_second"] is None
