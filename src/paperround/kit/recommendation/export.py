"""A trained network as an ONNX file that ranks as it did here."""

import json
import logging
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from paperround.errors import MissingExtraError, UsageError
from paperround.kit.recommendation.models import AbstractSequenceEncoder, AbstractSequenceModel
from paperround.kit.recommendation.saved_ids import ids_to_json

OPSET = 18


class _Scoring(nn.Module):
    def __init__(self, encoder: AbstractSequenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        return self.encoder.score(self.encoder.last_hidden(items, times))


def export_onnx(model: AbstractSequenceModel, item_ids: Sequence[Hashable], path: Path) -> None:
    """Writes `items` (batch, max_len) int64 to `scores` (batch, n_items + 1) float32, any batch.

    A model that needs times has a second input, `times` (batch, max_len) float64: Unix seconds, 0
    on padding. Raises UsageError for models that count (they have no graph), MissingExtraError
    where the exporter is not installed.
    """
    if not isinstance(model, AbstractSequenceEncoder):
        raise UsageError(
            f"{type(model).__name__} counts and has no graph to export; save() keeps it whole"
        )
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f'{error.name} writes ONNX files: pip install "paperround[papers]"'
        ) from error
    scoring = _Scoring(model).eval()
    # Two rows: a batch of one would be taken for a constant.
    examples = {"items": torch.ones(2, model.max_len, dtype=torch.int64)}
    if model.needs_times:
        examples["times"] = torch.zeros(2, model.max_len, dtype=torch.float64)
    batch = torch.export.Dim("batch")
    exporting = logging.getLogger("torch.onnx")
    level = exporting.level
    exporting.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter warns of its own coming changes; nothing a caller could act upon.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                scoring,
                tuple(examples.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(examples),
                output_names=["scores"],
                dynamic_shapes={name: {0: batch} for name in examples},
                verbose=False,
            )
    finally:
        exporting.setLevel(level)
    graph = program.model_proto
    about = {"item_ids": ids_to_json(item_ids), "max_len": model.max_len}
    for name, value in about.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    onnx.save(graph, draft)
    draft.replace(path)
