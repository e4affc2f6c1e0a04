"""The embeddings of the starter catalogue, shipped: a fresh machine can search by meaning at once.

`tools/build_starter_vectors.py` makes the file. Each vector stands under its paper's key and the
hash of the text that was embedded; it is used for exactly that text and for no other.
"""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from paperround.db import read, write
from paperround.discovery import queries
from paperround.discovery.embedding import MODEL, embedded_text, text_sha256

FILE_NAME = "starter_vectors.npz"


@dataclass(frozen=True)
class StarterVectors:
    """What the file holds: row i of each belongs to one paper."""

    model: str
    keys: list[str]
    hashes: list[bytes]
    # (papers, 384), unit length.
    vectors: npt.NDArray[np.float16]
    # (papers, 384), of any length.
    titles: npt.NDArray[np.int8]


def read_starter_vectors() -> StarterVectors:
    """The shipped vectors."""
    with (
        files("paperround.discovery").joinpath("data", FILE_NAME).open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return StarterVectors(
            model=str(stored["model"]),
            keys=stored["keys"].tolist(),
            hashes=[row.tobytes() for row in stored["hashes"]],
            vectors=stored["vectors"],
            titles=stored["titles"],
        )


def load_starter_vectors(engine: Engine) -> int:
    """The number of papers that got their shipped vector: those of that key with that very text.

    Papers that have a whole embedding already keep it.
    """
    shipped = read_starter_vectors()
    if shipped.model != MODEL:
        return 0
    row_of = {
        (key, sha256): row
        for row, (key, sha256) in enumerate(zip(shipped.keys, shipped.hashes, strict=True))
    }
    with read(engine) as connection:
        waiting = queries.keyed_texts_without_embedding(connection)
    rows = []
    for paper_id, key, title, abstract in waiting:
        sha256 = text_sha256(embedded_text(title, abstract))
        row = row_of.get((key, sha256))
        if row is not None:
            vector, title_vector = shipped.vectors[row].tobytes(), shipped.titles[row].tobytes()
            rows.append(queries.EmbeddingRow(paper_id, MODEL, sha256, vector, title_vector))
    with write(engine) as connection:
        return queries.store_embeddings(connection, rows)
