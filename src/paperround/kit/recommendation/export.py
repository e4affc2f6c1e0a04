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

    def forward(self, items: Tensor) -> Tensor:
        return self.encoder.score(self.encoder.last_hidden(items))


def export_onnx(model: AbstractSequenceModel, item_ids: Sequence[Hashable], path: Path) -> None:
    """Writes `items` (batch, max_len) int64 to `scores` (batch, n_items + 1) float32, any batch.

    Raises UsageError for models that count (they have no graph) and for those that need times,
    MissingExtraError where the exporter is not installed.
    """
    if not isinstance(model, AbstractSequenceEncoder):
        raise UsageError(
            f"{type(model).__name__} counts and has no graph to export; save() keeps it whole"
        )
    if model.needs_times:
        raise UsageError(
            f"{type(model).__name__} needs times, which the exported graph has none of"
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
    example = torch.ones(2, model.max_len, dtype=torch.int64)
    exporting = logging.getLogger("torch.onnx")
    level = exporting.level
    exporting.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter warns of its own coming changes; nothing a caller could act upon.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                scoring,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["items"],
                output_names=["scores"],
                dynamic_shapes={"items": {0: torch.export.Dim("batch")}},
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
