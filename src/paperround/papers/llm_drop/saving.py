"""Folders that transformers loads where Paperround is not installed.

transformers has no architecture whose layers may lack an attention, so there are two honest forms:

`code`   a folder with the kept weights and a file of code, our `sublayers.py`. It loads with
         `AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` and has all savings:
         computation, memory and cache. Without `trust_remote_code` transformers refuses to load it.
`plain`  a folder in the model's own architecture, which loads with `from_pretrained(folder)` and no
         code at all. What stays of the model is packed into as few whole layers as its order
         allows: an attention that is followed by an MLP makes a layer, be they from one layer or
         from two. Whole blocks that were dropped are therefore truly gone. An attention or an MLP
         without a partner gets one whose weights are all zero: the same logits, but the partner is
         stored, computed and, where it is an attention, cached. `SavedModel` says how many those
         are; after Attention Drop it is nearly every dropped one, and nothing is saved.
"""

import copy
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedModel, PreTrainedTokenizerBase

from paperround.papers.llm_drop import sublayers
from paperround.papers.llm_drop.sublayers import (
    drop_sublayers,
    dropped_sublayers,
    layers_of,
    layout_of,
)

Form = Literal["code", "plain"]
_CODE_FILE = "modeling_llm_drop.py"
_CLASSES = '''

from transformers import {config_class}, {model_class}  # noqa: E402


class DroppedConfig({config_class}):
    """That of {config_class}, and the layers whose attention and MLP are gone."""

    model_type = "{model_type}"


class DroppedForCausalLM({model_class}):
    """{model_class} without the sub-layers that its configuration names."""

    config_class = DroppedConfig

    def __init__(self, config):
        super().__init__(config)
        drop_sublayers(self, config.drop_attn_list, config.drop_mlp_list)
'''
# Lists in a configuration with an entry per layer, which go where the layer's attention goes.
_FOLLOW_ATTENTION = ("layer_types", "no_rope_layers")


@dataclass(frozen=True)
class SavedModel:
    """What was written. A zeroed partner costs what the part that was dropped there had cost."""

    folder: Path
    form: Form
    n_layers: int
    zeroed_attention: int
    zeroed_mlp: int
    size_bytes: int

    @property
    def saves_all(self) -> bool:
        """Whether everything that was dropped is saved, and nothing of it computed as zeros."""
        return self.zeroed_attention == self.zeroed_mlp == 0


def save_dropped(
    model: PreTrainedModel,
    folder: Path | str,
    form: Form = "code",
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> SavedModel:
    """Writes the dropped model, with its tokenizer if given, and says what the form costs.

    The module's docstring says what the two forms are. The folder must be new or empty; it appears
    whole or not at all. Raises ValueError for another form, a folder with files in it, or a model
    that the plain form cannot hold: one whose layers depend on their number.
    """
    if form not in get_args(Form):
        raise ValueError(f"no form '{form}'; there are {' and '.join(get_args(Form))}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".llm-drop-", dir=folder.parent) as drafts:
        draft = Path(drafts, "model")
        if form == "code":
            n_layers, zeroed = _write_code_form(model, draft)
        else:
            n_layers, zeroed = _write_plain_form(model, draft)
        if tokenizer is not None:
            tokenizer.save_pretrained(draft)
        size_bytes = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
        if folder.exists():
            folder.rmdir()
        draft.replace(folder)
    return SavedModel(folder, form, n_layers, *zeroed, size_bytes=size_bytes)


def load_dropped(folder: Path | str, **options: Any) -> PreTrainedModel:
    """A model that `save_dropped` wrote, in evaluation mode; runs no code from the folder.

    `options` go to `from_pretrained`, such as `dtype`. Raises ValueError for a folder of the code
    form that names another architecture than one of transformers'.
    """
    folder = Path(folder)
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "base_architecture" not in described:
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, **options
        ).eval()
    model_type, architecture = described["base_model_type"], described["base_architecture"]
    base: Any = getattr(transformers, architecture, None)
    if model_type not in CONFIG_MAPPING or not _is_model_class(base):
        raise ValueError(f"{folder} names {architecture}, which transformers does not have")
    for ours in ("auto_map", "model_type", "base_model_type", "base_architecture"):
        described.pop(ours, None)
    config = CONFIG_MAPPING[model_type].from_dict(described)

    def build(self: Any, config: Any) -> None:
        base.__init__(self, config)
        drop_sublayers(self, config.drop_attn_list, config.drop_mlp_list)

    known: Any = type(f"Dropped{architecture}", (base,), {"__init__": build})
    model = known.from_pretrained(folder, config=config, local_files_only=True, **options)
    return model.eval()


def packed(
    n_layers: int, dropped_attention: Iterable[int], dropped_mlp: Iterable[int]
) -> list[tuple[int | None, int | None]]:
    """The fewest whole layers that hold what is kept, in order: (attention's, MLP's old layer).

    None stands for a part that has to be there without effect. An attention takes the MLP that
    follows it if no other attention comes between.
    """
    gone_attention, gone_mlp = set(dropped_attention), set(dropped_mlp)
    pairs: list[tuple[int | None, int | None]] = []
    for layer in range(n_layers):
        if layer not in gone_attention:
            pairs.append((layer, None))
        if layer not in gone_mlp:
            if pairs and pairs[-1][1] is None:
                pairs[-1] = (pairs[-1][0], layer)
            else:
                pairs.append((None, layer))
    return pairs


def _is_model_class(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, PreTrainedModel)


def _base_class(model: PreTrainedModel) -> type[PreTrainedModel]:
    """The class of transformers itself that the model is, or that its class was made from."""
    for cls in type(model).__mro__:
        if cls.__module__.startswith("transformers.models.") and hasattr(
            transformers, cls.__name__
        ):
            return cls
    raise ValueError(f"{type(model).__name__} is no model of transformers; it cannot be saved")


def _write_code_form(model: PreTrainedModel, draft: Path) -> tuple[int, tuple[int, int]]:
    base = _base_class(model)
    attention, mlp = dropped_sublayers(model)
    model.save_pretrained(draft)
    path = draft / "config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    config_class = base.config_class
    # A type that transformers does not know: without its code the folder must not load, for a
    # plain model would fill what is missing with random weights and only warn.
    model_type = f"llm_drop_{config_class.model_type}"
    described |= {
        "model_type": model_type,
        "architectures": ["DroppedForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{Path(_CODE_FILE).stem}.DroppedConfig",
            "AutoModelForCausalLM": f"{Path(_CODE_FILE).stem}.DroppedForCausalLM",
        },
        "base_model_type": config_class.model_type,
        "base_architecture": base.__name__,
        "drop_attn_list": list(attention),
        "drop_mlp_list": list(mlp),
    }
    path.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    classes = _CLASSES.format(
        config_class=config_class.__name__, model_class=base.__name__, model_type=model_type
    )
    source = Path(sublayers.__file__).read_text(encoding="utf-8")
    # Whatever a model loaded from such a folder left of its code is replaced as a whole.
    (draft / _CODE_FILE).write_text(source + classes, encoding="utf-8")
    return len(layers_of(model)), (0, 0)


def _write_plain_form(model: PreTrainedModel, draft: Path) -> tuple[int, tuple[int, int]]:
    layout, layers = layout_of(model), layers_of(model)
    pairs = packed(len(layers), *dropped_sublayers(model))
    config = _packed_config(model, pairs)
    with torch.device("meta"):
        plain = _base_class(model)(config)
    path = f"{layout.decoder}.{layout.layers}."
    state = {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=False).items()
        if not name.startswith(path)
    }
    attention_parts = (*layout.attention_norms, layout.attention)
    mlp_parts = (*layout.mlp_norms, layout.mlp)
    for place, (attention, mlp) in enumerate(pairs):
        for source, parts in ((attention, attention_parts), (mlp, mlp_parts)):
            for part in parts:
                empty = getattr(layers_of(plain)[place], part).state_dict()
                kept = {} if source is None else getattr(layers[source], part).state_dict()
                for name, like in empty.items():
                    state[f"{path}{place}.{part}.{name}"] = (
                        torch.zeros(like.shape, dtype=model.dtype) if source is None else kept[name]
                    )
    plain.load_state_dict(state, strict=True, assign=True)
    plain.tie_weights()
    plain.generation_config = copy.deepcopy(model.generation_config)
    plain.save_pretrained(draft)
    zeroed = [sum(pair[part] is None for pair in pairs) for part in (0, 1)]
    return len(pairs), (zeroed[0], zeroed[1])


def _packed_config(model: PreTrainedModel, pairs: Sequence[tuple[int | None, int | None]]) -> Any:
    """The configuration of the plain form. Raises ValueError where a layer's number matters."""
    n_layers = len(layers_of(model))
    described = model.config.to_dict()
    for ours in ("drop_attn_list", "drop_mlp_list", "auto_map", "base_model_type"):
        described.pop(ours, None)
    described.pop("base_architecture", None)
    moved = any(
        place != attention for place, (attention, _) in enumerate(pairs) if attention is not None
    )
    if moved and described.get("scale_attn_by_inverse_layer_idx"):
        raise ValueError(
            "this GPT-2 scales its attention by the layer's number, which the plain form changes; "
            "save it as form='code'"
        )
    for name, value in described.items():
        per_layer = isinstance(value, list) and len(value) == n_layers
        if not per_layer or name.endswith("_token_id") or name == "architectures":
            continue
        if name not in _FOLLOW_ATTENTION:
            raise ValueError(
                f"the configuration's '{name}' has an entry for each layer, and the plain form "
                "does not know which to keep; save it as form='code'"
            )
        # A zeroed attention may be of any type.
        described[name] = [value[mlp if at is None else at] for at, mlp in pairs]
    # GPT-2 calls it by another name.
    renamed = model.config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    described[renamed] = len(pairs)
    base_config = _base_class(model).config_class
    described["model_type"] = base_config.model_type
    return base_config.from_dict(described)
