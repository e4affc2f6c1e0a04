"""Real language models: from a folder that transformers reads, or from a GGUF file.

De-quantising a GGUF takes some ten seconds on two cores, loading safetensors half a second, so the
first load leaves a copy in the cache of `PAPERROUND_HOME`. No code that lies in a model's folder is
ever run.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from paperround.errors import AssetError, UsageError
from paperround.kit.assets import declared_assets, find_asset
from paperround.settings import get_settings


def open_model(
    where: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal language model of a folder, or of an asset's name, and its tokenizer.

    A folder is what `save_pretrained` wrote (config.json, weights, tokenizer), or holds one GGUF
    file. In evaluation mode, on the CPU. Raises UsageError where there is no such folder,
    AssetError where it holds no whole model.
    """
    folder = Path(where)
    if not folder.is_dir():
        if str(where) not in declared_assets():
            raise UsageError(f"{where} is no folder with a model, and no asset has that name")
        folder = find_asset(str(where)).folder
    if not (folder / "config.json").is_file():
        return load_language_model(folder, dtype)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _without_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **local)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise AssetError(f"{folder} holds no language model that can be read: {reason}") from error
    return model.eval(), tokenizer


def load_language_model(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in evaluation mode and its tokenizer, from a folder with one GGUF.

    The weights are de-quantised to float32 and then cast to `dtype`, on the CPU. Raises AssetError
    when the folder holds no GGUF file or several.
    """
    converted = _converted(folder)
    with _without_bars():
        model = AutoModelForCausalLM.from_pretrained(converted, dtype=dtype, local_files_only=True)
    return model.eval(), load_tokenizer(folder)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keeps transformers from drawing a bar for every file that it reads."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer alone, which is much faster to load than the model."""
    return AutoTokenizer.from_pretrained(_converted(folder), local_files_only=True)


def _converted(folder: Path) -> Path:
    ggufs = sorted(folder.glob("*.gguf"))
    if len(ggufs) != 1:
        raise AssetError(f"{folder} holds {len(ggufs)} GGUF files; one is expected")
    gguf = ggufs[0]
    # The asset's checksum was verified, so name and size are enough to tell two models apart.
    converted = get_settings().cache_dir / "converted" / f"{gguf.stem}-{gguf.stat().st_size}"
    if not converted.is_dir():
        _convert(gguf, converted)
    return converted


def _convert(gguf: Path, converted: Path) -> None:
    converted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=converted.parent) as drafts:
        draft = Path(drafts, "model")
        source = {"gguf_file": gguf.name, "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
        with _without_bars():
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
        # transformers refuses to save a model that it believes to be quantised; these weights are
        # plain float32 by now.
        model.hf_quantizer, model.is_quantized = None, False
        for holder, name in ((model, "quantization_method"), (model.config, "quantization_config")):
            if hasattr(holder, name):
                delattr(holder, name)
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        try:
            draft.replace(converted)
        except OSError:
            # Another process was faster; its copy is the same.
            if not converted.is_dir():
                raise
            shutil.rmtree(draft)


def use_threads(threads: int) -> None:
    """Limits PyTorch to that many processor threads, within the machine's own number."""
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
