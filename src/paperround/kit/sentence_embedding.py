"""Texts as vectors: all-MiniLM-L6-v2 in int8 under ONNX Runtime, without torch.

The vector is the mean of the last hidden states over the text's tokens, scaled to unit length, as
the model's authors trained it (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019, section 3).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paperround.kit.assets import find_asset
from paperround.settings import Settings

if TYPE_CHECKING:
    from tokenizers import BertWordPieceTokenizer, Encoding

MODEL = "all-MiniLM-L6-v2-int8"
DIMENSIONS = 384
ASSETS = ("minilm-int8", "minilm-vocab")

# What the model was trained with; the rest of a longer text is not read.
_MAX_TOKENS = 256
_BATCH_TEXTS = 16

Vectors = npt.NDArray[np.float32]


class Embedder:
    """The loaded model. `embed` may be called from several threads."""

    def __init__(self, session: Any, tokenizer: "BertWordPieceTokenizer") -> None:
        """From an ONNX Runtime session and the tokenizer; see `load_embedder`."""
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit-length row per text, shape (len(texts), 384), in the order of the texts.

        Texts of like length share a batch, so that little is spent on padding. An int8 model
        scales its activations by batch: a row differs by under 0.001 in cosine with its company.
        """
        rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        encoded = self._tokenizer.encode_batch([_encodable(text) for text in texts])
        by_length = sorted(range(len(texts)), key=lambda index: len(encoded[index].ids))
        for start in range(0, len(by_length), _BATCH_TEXTS):
            batch = by_length[start : start + _BATCH_TEXTS]
            rows[batch] = self._embed_batch([encoded[index] for index in batch])
        return rows

    def _embed_batch(self, encoded: "Sequence[Encoding]") -> Vectors:
        longest = max(len(encoding.ids) for encoding in encoded)
        # (batch, tokens): padded with zeros, which the mask hides.
        ids = np.zeros((len(encoded), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encoded):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        (hidden,) = self._session.run(
            ["last_hidden_state"],
            {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)},
        )
        # (batch, tokens, 384) -> (batch, 384); [CLS] and [SEP] make every mask sum at least 2.
        mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Vectors = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return unit


def load_embedder(settings: Settings | None = None, *, threads: int = 2) -> Embedder:
    """The embedding model, fetched where it is not here yet. Raises AssetError."""
    import onnxruntime
    from tokenizers import BertWordPieceTokenizer

    model, vocabulary = (find_asset(name, settings).folder for name in ASSETS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads would otherwise burn a core each for nothing, beside a web server's own.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena would keep the largest batch ever seen: some 400 MB in a process that lives on.
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(
        str(model / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = BertWordPieceTokenizer(str(vocabulary / "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(_MAX_TOKENS)
    return Embedder(session, tokenizer)


def _encodable(text: str) -> str:
    # A lone surrogate is no text to the tokenizer.
    return text.encode("utf-8", "replace").decode("utf-8")
