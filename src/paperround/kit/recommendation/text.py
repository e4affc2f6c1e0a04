"""Texts of items as vectors, by a small model on this machine, and who is near whom.

    log = load_amazon("beauty")
    # (n_items + 1, 384)
    vectors = item_vectors(log, load_item_text("amazon-beauty"), minilm())
    # The codes of the ten items that are nearest to item 1.
    nearest_neighbours(vectors, k=10).rows[1]

An encoder is a name and a function from texts to rows; `minilm`, `transformer_encoder` (any model
of transformers) and `tfidf` (no model at all) make one. Vectors are computed once and kept in
the cache, by the encoder's name and the texts themselves.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import InteractionLog, Ints
from paperround.kit.recommendation.item_text import ItemText
from paperround.kit.sentence_embedding import MODEL, load_embedder
from paperround.settings import get_settings

Vectors = NDArray[np.float32]
_WORD = re.compile(r"\w+")
# Rows whose similarities to all others are made at once.
_BLOCK_SIMILARITIES = 1 << 24


@dataclass(frozen=True)
class TextEncoder:
    """`encode(texts)` gives one float32 row per text, in their order.

    `name` has to tell encoders apart that give different rows: cached vectors are known by it.
    """

    name: str
    encode: Callable[[Sequence[str]], Vectors]


def minilm(*, threads: int = 1) -> TextEncoder:
    """all-MiniLM-L6-v2 in int8 (384 numbers): the model that searches the catalogue, 23 MB.

    The model is loaded, and fetched where it is not here, when something is encoded that the cache
    does not have. Raises AssetError then.
    """
    return TextEncoder(MODEL, lambda texts: load_embedder(threads=threads).embed(texts))


def transformer_encoder(
    model: Any, tokenizer: Any, name: str, *, batch_size: int = 16, max_tokens: int = 256
) -> TextEncoder:
    """Any model of transformers: the mean of its last hidden states over a text's tokens.

    With `paperround.kit.language_models.load_language_model` that is SmolLM2 (576 numbers). The
    tokenizer needs a padding token, or an end token that can stand for it.
    """

    def encode(texts: Sequence[str]) -> Vectors:
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        # Texts of like length share a batch, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows: dict[int, Vectors] = {}
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            # A text without a token would have no mean.
            batch = tokenizer(
                [texts[place] or " " for place in places],
                padding=True,
                truncation=True,
                max_length=max_tokens,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                hidden = model(**batch, output_hidden_states=True).hidden_states[-1]
            # (batch, tokens, 1): padding counts for nothing, on whichever side it stands.
            mask = batch["attention_mask"][:, :, None].to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            rows |= zip(places, mean.float().cpu().numpy(), strict=True)
        if not texts:
            return np.zeros((0, model.config.hidden_size), dtype=np.float32)
        return np.stack([rows[place] for place in range(len(texts))])

    return TextEncoder(name, encode)


def tfidf(dimensions: int = 128) -> TextEncoder:
    """TF-IDF over words and a truncated SVD: no model, and no meaning beyond shared words.

    What a text gets depends on the texts that it is encoded with. Where they have fewer distinct
    words (or texts) than `dimensions`, the remaining numbers are 0.
    """

    def encode(texts: Sequence[str]) -> Vectors:
        from scipy.sparse import csr_matrix
        from scipy.sparse.linalg import svds

        known: dict[str, int] = {}
        split = [_WORD.findall(text.lower()) for text in texts]
        place = [known.setdefault(word, len(known)) for found in split for word in found]
        row = np.repeat(np.arange(len(texts)), [len(found) for found in split])
        counts = csr_matrix((np.ones(len(place)), (row, place)), shape=(len(texts), len(known)))
        counts.sum_duplicates()
        in_texts = np.bincount(counts.indices, minlength=len(known))
        # log(1 + tf) * log(n / df), rows of unit length.
        counts.data = np.log1p(counts.data) * np.log(1 + len(texts) / in_texts[counts.indices])
        norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        weighted = counts.multiply(1 / np.maximum(norms, 1e-12)[:, None]).tocsr()
        vectors = np.zeros((len(texts), dimensions), dtype=np.float32)
        kept = min(dimensions, min(weighted.shape) - 1)
        if kept > 0:
            start = np.random.default_rng(0).standard_normal(min(weighted.shape))
            left, values, _ = svds(weighted, k=kept, v0=start)
            vectors[:, :kept] = (left * values)[:, ::-1]
        return vectors

    return TextEncoder(f"tfidf-{dimensions}", encode)


def text_vectors(
    encoder: TextEncoder, texts: Sequence[str], *, cache: Path | None = None
) -> Vectors:
    """One row per text, from the cache's folder (that of Paperround unless given), or computed.

    A text that says nothing has a row of zeros. Rows are not normalised.
    """
    folder = cache or get_settings().cache_dir / "text-vectors"
    digest = hashlib.sha256(encoder.name.encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    path = folder / f"{digest.hexdigest()}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    # Each text is encoded once, however many items share it.
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    encoded_rows = np.asarray(encoder.encode(distinct), dtype=np.float32)
    if encoded_rows.ndim != 2 or len(encoded_rows) != len(distinct):
        raise UsageError(
            f"the encoder {encoder.name} gave {encoded_rows.shape} for {len(distinct)} texts; "
            "it has to give a row each"
        )
    if not np.isfinite(encoded_rows).all():
        raise UsageError(f"the encoder {encoder.name} gave numbers that are not finite")
    rows = np.vstack([encoded_rows, np.zeros((1, encoded_rows.shape[1]), dtype=np.float32)])
    place = {text: number for number, text in enumerate(distinct)}
    vectors = rows[[place.get(text, -1) for text in texts]]
    folder.mkdir(parents=True, exist_ok=True)
    # Two processes may compute the same vectors at once: each writes a draft of its own.
    draft = path.with_suffix(f".{os.getpid()}.draft")
    with draft.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    draft.replace(path)
    return vectors


def item_vectors(
    log: InteractionLog,
    text: ItemText,
    encoder: TextEncoder,
    *,
    with_attributes: bool = True,
    cache: Path | None = None,
) -> Vectors:
    """(n_items + 1, d) by item codes; zeros for padding and for items without any text.

    Raises UsageError where no item of the log has a text: its ids are probably another list's.
    """
    texts = text.texts(log.item_ids, with_attributes=with_attributes)
    if not any(texts):
        raise UsageError(
            f"none of {len(texts)} items has a text; the log's ids are such as "
            f"{log.item_ids[0]!r}, the titles' such as {next(iter(text.titles), None)!r}"
        )
    return text_vectors(encoder, ["", *texts], cache=cache)


def whitened(vectors: Vectors, dimensions: int | None = None) -> Vectors:
    """The vectors' first principal components, each scaled to variance 1; rows of zeros stay so.

    Vectors of one model lie in a narrow cone, where everything is similar to everything; this
    spreads them out. Rows of zeros count neither for the mean nor for the components.
    """
    some = vectors.any(axis=1)
    mean = vectors[some].mean(axis=0)
    centred = (vectors[some] - mean).astype(np.float64)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    rank = int((values > values[0] * 1e-6).sum()) if len(values) else 0
    kept = min(rank, dimensions or rank)
    scale = np.sqrt(max(1, len(centred) - 1)) / values[:kept]
    spread = np.zeros((len(vectors), kept), dtype=np.float32)
    spread[some] = (centred @ directions[:kept].T * scale).astype(np.float32)
    return spread


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each row, nearest first: `rows` and `similarity` are (n, k).

    Where a row has fewer than k, the rest is -1 with a similarity of 0.
    """

    rows: Ints
    similarity: Vectors

    def of(self, row: int) -> Ints:
        """The neighbours of one row, as many as there are."""
        near = self.rows[row]
        return near[near >= 0]


def nearest_neighbours(vectors: Vectors, k: int = 10, *, groups: Ints | None = None) -> Neighbours:
    """Per row, the k others of the highest cosine; equal ones in the order of their numbers.

    Exact. No row is its own neighbour, rows of zeros (padding, items without text) have none and
    are none, and rows of one of the `groups` (n,) are no neighbours of each other: with several
    rows of one user, a user's own later row would give away what is to be predicted.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    n = len(vectors)
    if groups is not None and len(groups) != n:
        raise UsageError(f"{len(groups)} groups for {n} rows")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    nothing = norms[:, 0] == 0
    rows = np.full((n, k), -1, dtype=np.int64)
    similarity = np.zeros((n, k), dtype=np.float32)
    block = max(1, _BLOCK_SIMILARITIES // max(1, n))
    for start in range(0, n, block):
        stop = min(start + block, n)
        cosines = unit[start:stop] @ unit.T
        cosines[:, nothing] = -np.inf
        cosines[nothing[start:stop]] = -np.inf
        cosines[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        if groups is not None:
            cosines[groups[start:stop, None] == groups[None, :]] = -np.inf
        for place, row in enumerate(cosines, start=start):
            least = np.partition(row, n - k)[n - k] if n > k else -np.inf
            near = np.flatnonzero((row >= least) & (row > -np.inf))
            near = near[np.lexsort((near, -row[near]))][:k]
            rows[place, : len(near)] = near
            similarity[place, : len(near)] = row[near]
    return Neighbours(rows, similarity)
