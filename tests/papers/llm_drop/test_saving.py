"""Saved folders give the same logits back, in a process that has never heard of Paperround."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from paperround.papers.llm_drop.measures import cache_size_bytes, n_parameters
from paperround.papers.llm_drop.plans import DropPlan, drop
from paperround.papers.llm_drop.saving import load_dropped, packed, save_dropped
from paperround.papers.llm_drop.sublayers import dropped_sublayers, layers_of

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2")
# The first attention, a block, and sub-layers of two layers that make a whole one.
PLAN = DropPlan(attention=(0, 2), mlp=(1, 2))

Make = Callable[..., Any]

subsets = st.frozensets(st.integers(0, 5))

# Loads a folder with transformers alone and writes what it computes.
_STRANGER = """
import json, sys
import torch
from transformers import AutoModelForCausalLM

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "paperround":
            raise ImportError("Paperround is not installed here")

sys.meta_path.insert(0, Absent())
folder, ids, trusted = sys.argv[1], torch.tensor(json.loads(sys.argv[2])), sys.argv[3] == "code"
model = AutoModelForCausalLM.from_pretrained(
    folder, trust_remote_code=trusted, local_files_only=True
).eval()
with torch.inference_mode():
    output = model(input_ids=ids, use_cache=True)
    text = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        min_new_tokens=12,
        do_sample=False,
    )
print(json.dumps({
    "logits": output.logits.tolist(),
    "entries": len(output.past_key_values.layers),
    "text": text.tolist(),
}))
"""


def as_a_stranger(folder: Path, ids: torch.Tensor, form: str, tmp_path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER, str(folder), json.dumps(ids.tolist()), form],
        capture_output=True,
        text=True,
        check=False,
        env={
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "hf"),
            "PATH": "",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def computed(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        text = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            min_new_tokens=12,
            do_sample=False,
        )
        return model(input_ids=ids, use_cache=False).logits, text


@pytest.mark.parametrize(("family", "form"), [("llama", "code"), ("gemma3", "plain")])
def test_a_stranger_loads_it_without_paperround(
    a_model: Make, some_ids: Make, tmp_path: Path, family: str, form: Any
) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, PLAN)
    saved = save_dropped(model, tmp_path / "small", form)
    logits, text = computed(model, ids)
    found = as_a_stranger(saved.folder, ids, form, tmp_path)
    assert torch.allclose(torch.tensor(found["logits"], dtype=torch.float64), logits, atol=1e-10)
    assert found["text"] == text.tolist()
    assert found["entries"] == (2 if form == "code" else saved.n_layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_folders_compute_the_same(
    a_model: Make, some_ids: Make, tmp_path: Path, family: str
) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, PLAN)
    saved = save_dropped(model, tmp_path / "small", "plain")
    # Kept are M0 A1 A3 M3: M0 stands alone, A1 and A3 M3 follow.
    assert (saved.n_layers, saved.zeroed_attention, saved.zeroed_mlp) == (3, 1, 1)
    assert not saved.saves_all
    loaded = AutoModelForCausalLM.from_pretrained(saved.folder, local_files_only=True).eval()
    assert type(loaded) is type(model)
    for found, wanted in zip(computed(loaded, ids), computed(model, ids), strict=True):
        assert torch.allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_folders_with_code_compute_the_same_and_save_it_all(
    a_model: Make, some_ids: Make, tmp_path: Path, family: str
) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, PLAN)
    saved = save_dropped(model, tmp_path / "small")
    assert saved.saves_all
    loaded = load_dropped(saved.folder)
    assert dropped_sublayers(loaded) == dropped_sublayers(model)
    assert n_parameters(loaded) == n_parameters(model)
    assert cache_size_bytes(loaded, 5) == cache_size_bytes(model, 5)
    for found, wanted in zip(computed(loaded, ids), computed(model, ids), strict=True):
        assert torch.allclose(found, wanted, atol=1e-10)
    # And once more, from what was loaded.
    drop(loaded, DropPlan(attention=(1,)))
    again = load_dropped(save_dropped(loaded, tmp_path / "smaller").folder)
    assert dropped_sublayers(again) == ((0, 1, 2), (1, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_blocks_are_gone_in_the_plain_form(
    a_model: Make, some_ids: Make, tmp_path: Path, family: str
) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, DropPlan(attention=(0, 2), mlp=(0, 2)))
    saved = save_dropped(model, tmp_path / "small", "plain")
    assert saved.saves_all
    loaded = load_dropped(saved.folder)
    assert len(layers_of(loaded)) == saved.n_layers == 2
    assert n_parameters(loaded) == n_parameters(model)
    assert torch.allclose(computed(loaded, ids)[0], computed(model, ids)[0], atol=1e-10)


def test_what_two_layers_keep_may_make_one_plain_layer(
    a_model: Make, some_ids: Make, tmp_path: Path
) -> None:
    model, ids = a_model("qwen2"), some_ids(1, 9)
    drop(model, DropPlan(attention=(2,), mlp=(1,)))
    saved = save_dropped(model, tmp_path / "small", "plain")
    assert saved.saves_all
    assert saved.n_layers == 3
    loaded = load_dropped(saved.folder)
    assert torch.allclose(computed(loaded, ids)[0], computed(model, ids)[0], atol=1e-10)


@given(attention=subsets, mlp=subsets)
def test_packing_keeps_the_order_and_wastes_nothing(
    attention: frozenset[int], mlp: frozenset[int]
) -> None:
    pairs = packed(6, attention, mlp)
    kept = [
        (kind, layer)
        for layer in range(6)
        for kind, gone in (("A", attention), ("M", mlp))
        if layer not in gone
    ]
    unpacked = [
        (kind, layer)
        for pair in pairs
        for kind, layer in zip("AM", pair, strict=True)
        if layer is not None
    ]
    assert unpacked == kept
    assert all(pair != (None, None) for pair in pairs)
    # No two neighbours could be one layer.
    assert not any(before[1] is None and after[0] is None for before, after in pairwise(pairs))


def test_without_trust_a_folder_with_code_does_not_load(
    a_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model("llama")
    drop(model, PLAN)
    save_dropped(model, tmp_path / "small")
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    # A plain Llama with random weights in the gaps is what must not come of it.
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "small", local_files_only=True)


def test_loading_runs_no_code_of_the_folder(a_model: Make, tmp_path: Path) -> None:
    model = a_model("llama")
    drop(model, PLAN)
    saved = save_dropped(model, tmp_path / "small")
    (saved.folder / "modeling_llm_drop.py").write_text("raise SystemExit('this was run')")
    assert dropped_sublayers(load_dropped(saved.folder)) == ((0, 2), (1, 2))
    described = json.loads((saved.folder / "config.json").read_text())
    described["base_architecture"] = "os"
    (saved.folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="names os"):
        load_dropped(saved.folder)


def test_a_folder_with_files_is_left_alone(a_model: Make, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        save_dropped(a_model("llama"), tmp_path)
    with pytest.raises(ValueError, match="no form 'gguf'"):
        save_dropped(a_model("llama"), tmp_path / "new", "gguf")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_model_whose_layers_depend_on_their_number_is_refused(tmp_path: Path) -> None:
    config = GPT2Config(
        vocab_size=20,
        n_embd=16,
        n_layer=3,
        n_head=2,
        n_positions=16,
        scale_attn_by_inverse_layer_idx=True,
    )
    model = GPT2LMHeadModel(config).eval()
    ids = torch.tensor([[3, 4, 5]])
    drop(model, DropPlan(attention=(0,), mlp=(0,)))
    with pytest.raises(ValueError, match="scales its attention"):
        save_dropped(model, tmp_path / "plain", "plain")
    assert not (tmp_path / "plain").exists()
    loaded = load_dropped(save_dropped(model, tmp_path / "code").folder)
    assert torch.allclose(loaded(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-6)
