import random

import numpy as np
import pytest
from sqlalchemy import Engine, delete, select, update

from paperround.catalogue.starter import import_starter
from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.db import read, write
from paperround.discovery import queries, starter
from paperround.discovery.embedding import DIMENSIONS, MODEL, Embedder, embedded_text
from paperround.discovery.searching import Searcher
from paperround.discovery.starter import load_starter_vectors, read_starter_vectors


def test_the_shipped_vectors_are_whole() -> None:
    shipped = read_starter_vectors()
    assert shipped.model == MODEL
    assert len(shipped.keys) == len(set(shipped.keys)) == len(shipped.hashes)
    assert shipped.vectors.shape == (len(shipped.keys), DIMENSIONS)
    assert shipped.vectors.dtype == np.float16
    lengths = np.linalg.norm(shipped.vectors.astype(np.float32), axis=1)
    assert lengths == pytest.approx(1.0, abs=1e-2)


def test_a_sample_embedded_again_gives_the_shipped_vectors(
    engine: Engine, embedder: Embedder
) -> None:
    import_starter(engine)
    with read(engine) as connection:
        waiting = queries.keyed_texts_without_embedding(connection)
    texts = {key: embedded_text(title, abstract) for _, key, title, abstract in waiting}
    titles = {key: title for _, key, title, _ in waiting}
    assert load_starter_vectors(engine) == len(texts)
    assert load_starter_vectors(engine) == 0

    shipped = read_starter_vectors()
    rows = random.Random(47).sample(range(len(shipped.keys)), 16)
    again = embedder.embed([texts[shipped.keys[row]] for row in rows])
    cosines = (again * shipped.vectors[rows].astype(np.float32)).sum(axis=1)
    assert cosines.min() >= 0.999
    own = embedder.embed([titles[shipped.keys[row]] for row in rows])
    packed_titles = shipped.titles[rows].astype(np.float32)
    lengths = np.linalg.norm(packed_titles, axis=1)
    assert ((own * packed_titles).sum(axis=1) / lengths).min() >= 0.999

    answer = Searcher(engine).search("models that copy what they have said before", n=100)
    assert (answer.mode_used, answer.note) == ("both", None)
    assert "2502.08923" in {hit.paper.key for hit in answer.hits}


def test_a_vector_of_another_text_or_key_is_never_used(engine: Engine) -> None:
    import_starter(engine)
    with write(engine) as connection:
        kept, changed, moved = connection.scalars(select(PaperTable.id).limit(3)).all()
        connection.execute(delete(PaperTable).where(PaperTable.id.not_in([kept, changed, moved])))
        connection.execute(
            update(PaperTable).where(PaperTable.id == changed).values(abstract_text="Another.")
        )
        connection.execute(update(PaperTable).where(PaperTable.id == moved).values(key="another"))
    assert load_starter_vectors(engine) == 1
    with read(engine) as connection:
        assert connection.scalars(select(EmbeddingTable.paper_id)).all() == [kept]


def test_vectors_of_another_model_are_left_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_starter(engine)
    monkeypatch.setattr(starter, "MODEL", "a later model")
    assert load_starter_vectors(engine) == 0
