"""SRA-CL for `paperround recommend --model sra-cl` and `Recommender("sra-cl")`.

What is fitted and saved is the plain backbone: texts and losses are needed for training alone, so
recommending, the file and the ONNX graph are those of a SASRec.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import BERT4Rec, GRU4Rec, SASRec
from paperround.kit.recommendation.interactions import InteractionLog
from paperround.kit.recommendation.item_text import ItemText
from paperround.kit.recommendation.kinds import TRAINING_OPTIONS, train
from paperround.kit.recommendation.models import AbstractSequenceEncoder, ModelKind
from paperround.kit.recommendation.objectives import masked_items, next_items
from paperround.kit.recommendation.text import item_vectors, minilm, tfidf
from paperround.kit.recommendation.training import FitTask, TrainingResult
from paperround.papers.sra_cl.method import SemanticContrastive
from paperround.papers.sra_cl.retrieval import Vectors, behaviour_vectors, user_vectors

_BACKBONES = ("sasrec", "gru4rec", "bert4rec")
_JSON_LINES = (".jsonl", ".ndjson")
_DELIMITERS = "\t;|,"
_ITEM_NAMES = ("item", "item_id", "id")
_VECTORS = ("minilm", "tfidf", "behaviour")
_METHOD: Mapping[str, Any] = {
    "alpha": 0.1,
    "beta": 0.1,
    "k": 10,
    "ratio": 0.2,
    "symmetric": False,
    "synthesis": "learnable",
    "states": "stale",
    "neighbour_grad": True,
    "warmup_epochs": 0,
}
_OPTIONS: Mapping[str, Any] = {
    # A CSV, TSV or JSON lines file of items and their texts; the ids themselves where empty.
    "texts": "",
    "vectors": "minilm",
    "backbone": "sasrec",
    "d_model": 64,
    "n_layers": 2,
    "n_heads": 2,
    "max_len": 50,
    "dropout": 0.5,
    "newest": 20,
    "decay": 0.9,
    **_METHOD,
    **TRAINING_OPTIONS,
}


def build(n_items: int, options: Mapping[str, Any]) -> AbstractSequenceEncoder:
    """An untrained backbone, which is all that is kept of the model."""
    backbone = options["backbone"]
    if backbone not in _BACKBONES:
        raise UsageError(f"no backbone '{backbone}'; there are {', '.join(_BACKBONES)}")
    if options["vectors"] not in _VECTORS:
        raise UsageError(f"no vectors by '{options['vectors']}'; there are {', '.join(_VECTORS)}")
    shape = {name: options[name] for name in ("d_model", "max_len", "dropout")}
    if backbone == "gru4rec":
        return GRU4Rec(n_items, n_layers=1, d_hidden=2 * options["d_model"], **shape)
    kind = SASRec if backbone == "sasrec" else BERT4Rec
    return kind(n_items, n_layers=options["n_layers"], n_heads=options["n_heads"], **shape)


def fit(backbone: AbstractSequenceEncoder, task: FitTask) -> TrainingResult:
    """Trains the backbone with both losses beside its own; texts are read and embedded first."""
    options = task.options
    items = vectors_of(task.train, options)
    users = user_vectors(task.train, items, newest=options["newest"], decay=options["decay"])
    model = SemanticContrastive(
        backbone, task.train, items, users, **{name: options[name] for name in _METHOD}
    )
    objective = next_items() if backbone.causal else masked_items()
    return train(model, task, objective, aux_losses=model.aux_losses())


def vectors_of(log: InteractionLog, options: Mapping[str, Any]) -> Vectors:
    """(n_items + 1, d): the vectors that `vectors` and `texts` ask for.

    Raises UsageError where texts are asked for and the ids are mere numbers, of which a language
    model knows nothing.
    """
    if options["vectors"] == "behaviour":
        if options["texts"]:
            raise UsageError("vectors=behaviour looks at no texts; leave texts out")
        return behaviour_vectors(log)[1]
    encoder = tfidf() if options["vectors"] == "tfidf" else minilm()
    ids = [str(item) for item in log.item_ids]
    if options["texts"]:
        titles = read_texts(Path(options["texts"]))
    elif any(letter.isalpha() for item in ids for letter in item):
        titles = {item: item for item in ids}
    else:
        raise UsageError(
            "sra-cl needs texts, and these items are numbers: give --set texts=items.csv (columns "
            "item and text), or --set vectors=behaviour to compare by who took them"
        )
    text = ItemText(
        {own: titles.get(item, "") for own, item in zip(log.item_ids, ids, strict=True)}
    )
    return item_vectors(log, text, encoder)


def read_texts(path: Path) -> dict[str, str]:
    """Texts by item from a file: columns with a header, or JSON lines with `item` and `text`.

    The column called item, item_id or id (else the first) names the item, the others together are
    its text. Raises UsageError, with the line, where the file cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: these texts cannot be read: {error}") from error
    lines = content.splitlines(keepends=True)
    found = _json_texts(path, lines) if path.suffix in _JSON_LINES else _column_texts(path, lines)
    if not found:
        raise UsageError(f"{path} has no texts")
    return found


def _json_texts(path: Path, lines: Sequence[str]) -> dict[str, str]:
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            found[str(said["item"])] = str(said["text"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}, line {number}: wanted an object with item and text: {error!r}"
            ) from error
    return found


def _column_texts(path: Path, lines: Sequence[str]) -> dict[str, str]:
    first = lines[0] if lines else ""
    rows = csv.reader(lines, delimiter=next((d for d in _DELIMITERS if d in first), ","))
    header = [name.strip().lower() for name in next(rows, [])]
    if len(header) < 2:
        raise UsageError(f"{path}: wanted a header with a column for the item and one for its text")
    at = next((header.index(name) for name in _ITEM_NAMES if name in header), 0)
    found = {}
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise UsageError(
                f"{path}, line {rows.line_num}: {len(row)} cells under {len(header)} columns"
            )
        said = [cell.strip() for place, cell in enumerate(row) if place != at and cell.strip()]
        found[row[at]] = ". ".join(said)
    return found


RECOMMENDERS: Mapping[str, ModelKind] = {
    "sra-cl": ModelKind(
        "sra-cl",
        "SASRec that also learns from users and items with similar texts",
        build,
        fit,
        _OPTIONS,
    )
}
