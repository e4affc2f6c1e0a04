"""The slow forms, straight from the equations; tests compare the others with them.

a_l = x_l + after(Attn(before(x_l)))        y_l = a_l + after(MLP(before(a_l))) = x_{l+1}
"""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paperround.papers.llm_drop.plans import DropPlan
from paperround.papers.llm_drop.scores import ScoredKind
from paperround.papers.llm_drop.sublayers import layers_of, layout_of


def silenced(model: PreTrainedModel, plan: DropPlan) -> PreTrainedModel:
    """A copy of the intact model where what the plan names is computed and answers zeros.

    Its logits are those of the dropped model; nothing is saved, and its cache is of no use.
    """
    model = copy.deepcopy(model)
    layout, layers = layout_of(model), layers_of(model)
    for i in plan.attention:
        getattr(layers[i], layout.attention).register_forward_hook(
            lambda module, args, output: (torch.zeros_like(output[0]), *output[1:])
        )
    for i in plan.mlp:
        getattr(layers[i], layout.mlp).register_forward_hook(
            lambda module, args, output: torch.zeros_like(output)
        )
    return model


def plain_similarity(model: PreTrainedModel, ids: Tensor) -> dict[ScoredKind, list[float]]:
    """Similarity by kind and layer over all tokens of one batch, from streams added up by hand."""
    layout, layers = layout_of(model), layers_of(model)
    outputs: dict[tuple[str, int], Tensor] = {}
    start: list[Tensor] = []

    def keep(kind: str, i: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            outputs[kind, i] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [layers[0].register_forward_pre_hook(lambda module, args: start.append(args[0]))]
    for i, layer in enumerate(layers):
        # What is added to the residual stream is the output of the norm behind, if there is one.
        attention = (
            layout.attention_norms[1] if len(layout.attention_norms) > 1 else layout.attention
        )
        mlp = layout.mlp_norms[1] if len(layout.mlp_norms) > 1 else layout.mlp
        handles.append(getattr(layer, attention).register_forward_hook(keep("attention", i)))
        handles.append(getattr(layer, mlp).register_forward_hook(keep("mlp", i)))
    try:
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    similarity: dict[ScoredKind, list[float]] = {"block": [], "attention": [], "mlp": []}
    x = start[0].double()
    for i in range(len(layers)):
        a = x + outputs["attention", i].double()
        y = a + outputs["mlp", i].double()
        pairs: list[tuple[ScoredKind, Tensor, Tensor]] = [
            ("attention", x, a),
            ("mlp", a, y),
            ("block", x, y),
        ]
        for kind, before, after in pairs:
            dots = (before * after).sum(-1)
            norms = (before * before).sum(-1).sqrt() * (after * after).sum(-1).sqrt()
            similarity[kind].append(float((dots / norms).mean()))
        x = y
    return similarity
