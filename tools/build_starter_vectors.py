"""Writes the starter catalogue's vectors anew: `python tools/build_starter_vectors.py`.

Imports the starter catalogue into a database of its own, takes the vectors of the present file
where the text is still the same, embeds the others (some minutes for all of them), and writes
discovery/data/starter_vectors.npz. Run it after a change of the starter catalogue or of how texts
become plain words; a test fails until that is done.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, select

import paperround.discovery.starter as starter
from paperround.catalogue.starter import import_starter
from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.db import open_database, read
from paperround.discovery.embedding import DIMENSIONS, MODEL, embed_missing, load_embedder
from paperround.settings import Settings

TARGET = Path(starter.__file__).with_name("data") / starter.FILE_NAME


def main() -> None:
    """Builds the file and tells how much of it is new."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(Settings(database_url=f"sqlite:///{folder}/starter.sqlite3"))
        import_starter(engine)
        kept = starter.load_starter_vectors(engine) if TARGET.is_file() else 0
        made = embed_missing(
            engine, load_embedder(), lambda done: print(f"\r{done} embedded", file=sys.stderr)
        )
        write_vectors(engine, TARGET)
        engine.dispose()
    print(f"{TARGET.name}: {kept} vectors kept, {made} new, {TARGET.stat().st_size:,} bytes")


def write_vectors(engine: Engine, target: Path) -> None:
    """Writes the vectors of a database, by key: the same content gives the same file."""
    with read(engine) as connection:
        rows = connection.execute(
            select(
                PaperTable.key,
                EmbeddingTable.text_sha256,
                EmbeddingTable.vector,
                EmbeddingTable.title_vector,
            )
            .join(EmbeddingTable, EmbeddingTable.paper_id == PaperTable.id)
            .where(EmbeddingTable.model == MODEL)
            .order_by(PaperTable.key)
        ).all()
    draft = target.with_suffix(".draft.npz")
    np.savez_compressed(
        draft,
        model=np.array(MODEL),
        keys=np.array([row.key for row in rows]),
        hashes=np.frombuffer(b"".join(row.text_sha256 for row in rows), np.uint8).reshape(-1, 32),
        vectors=np.frombuffer(b"".join(row.vector for row in rows), np.float16).reshape(
            -1, DIMENSIONS
        ),
        titles=np.frombuffer(b"".join(row.title_vector or b"" for row in rows), np.int8).reshape(
            -1, DIMENSIONS
        ),
    )
    draft.replace(target)


if __name__ == "__main__":
    main()
