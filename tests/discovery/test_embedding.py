import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.db import read, write
from paperround.discovery import embedding
from paperround.discovery.embedding import (
    DIMENSIONS,
    Embedder,
    QueryEmbedder,
    embed_missing,
    embedded_text,
    packed,
)
from paperround.discovery.search import search
from paperround.errors import AssetError
from paperround.settings import Settings

AddPaper = Callable[..., PaperId]

TEXTS = [
    "A cat sits on the mat.",
    "A kitten rests on a rug.",
    "Interest rates rose by half a point.",
    "",
    "😀 \x00 \ud800 Überraschung",
    "attention " * 2_000,
]


def test_rows_are_of_unit_length_and_in_order(embedder: Embedder) -> None:
    rows = embedder.embed(TEXTS)
    assert rows.shape == (len(TEXTS), DIMENSIONS)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    for text, row in zip(TEXTS, rows, strict=True):
        assert embedder.embed([text])[0] @ row > 0.995


def test_no_texts_are_no_rows(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, DIMENSIONS)


def test_like_meanings_are_near(embedder: Embedder) -> None:
    cat, kitten, money = embedder.embed(TEXTS[:3])
    assert cat @ kitten > 0.5 > cat @ money


def test_the_vectors_are_those_of_the_published_model(embedder: Embedder) -> None:
    # The example of the sentence-transformers documentation for this model, in float32.
    rows = embedder.embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert rows @ rows.T == pytest.approx(np.array(published), abs=0.02)


def test_a_title_alone_is_a_text() -> None:
    assert embedded_text("Title", "Abstract.") == "Title. Abstract."
    assert embedded_text("Title", "") == "Title"


def test_what_is_missing_or_changed_is_embedded_and_no_more(
    engine: Engine, add_paper: AddPaper, embedder: Embedder, place: Any
) -> None:
    cats = add_paper("A cat sits on the mat")
    add_paper("Interest rates rose by half a point")
    assert embed_missing(engine, embedder) == 2
    assert embed_missing(engine, embedder) == 0

    with write(engine) as connection:
        connection.execute(
            update(PaperTable).where(PaperTable.id == cats).values(title_text="Dogs bark at night")
        )
    done: list[int] = []
    assert embed_missing(engine, embedder, done.append) == 1
    assert done == [1]
    indexes = place.over(engine, embed=lambda query: embedder.embed([query])[0])
    with read(engine) as connection:
        answer = search(connection, "barking puppies", indexes, mode="meaning")
    assert answer.hits[0].paper.id == cats


def test_titles_are_embedded_too_and_what_has_none_is_due_again(
    engine: Engine, add_paper: AddPaper, embedder: Embedder
) -> None:
    add_paper("A cat sits on the mat", "Interest rates rose by half a point.", vector=[1.0])
    assert embed_missing(engine, embedder) == 1
    assert embed_missing(engine, embedder) == 0
    with read(engine) as connection:
        row = connection.execute(select(EmbeddingTable)).one()
    title = np.frombuffer(row.title_vector, np.int8).astype(np.float32)
    text = np.frombuffer(row.vector, np.float16).astype(np.float32)
    own, both = embedder.embed(
        ["A cat sits on the mat", "A cat sits on the mat. Interest rates rose by half a point."]
    )
    assert title @ own / np.linalg.norm(title) > 0.999
    assert text @ both > 0.999


@given(seed=st.integers(0, 2**32 - 1))
def test_packed_vectors_keep_their_directions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((20, DIMENSIONS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    again = packed(rows).astype(np.float32)
    assert np.abs(again).max() == 127
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    assert (again @ rows.T) == pytest.approx(rows @ rows.T, abs=5e-3)


def test_a_stopped_embedding_goes_on_where_it_was(
    engine: Engine, add_paper: AddPaper, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        add_paper(f"Paper {number}")
    monkeypatch.setattr(embedding, "_COMMIT_PAPERS", 2)

    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_missing(engine, embedder, stop)
    with read(engine) as connection:
        assert len(connection.execute(select(EmbeddingTable.paper_id)).all()) == 4
    assert embed_missing(engine, embedder) == 1


def test_a_query_is_embedded_once_and_kept(embedder: Embedder) -> None:
    embed = QueryEmbedder()
    first = embed("redundancy")
    assert first is embed("redundancy")
    assert first @ embedder.embed(["redundancy"])[0] > 0.999
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1.0


def test_threads_may_ask_at_the_same_time(embedder: Embedder) -> None:
    embed = QueryEmbedder()
    rows: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: rows.append(embed("one query"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows) == 4
    assert all(np.array_equal(rows[0], row) for row in rows)


def test_a_query_never_waits_for_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        embedding, "load_embedder", lambda *_, **__: pytest.fail("it would be fetched")
    )
    looks: list[str] = []
    monkeypatch.setattr(embedding, "is_here", lambda name, _: looks.append(name))
    embed = QueryEmbedder(Settings(home=tmp_path))
    for query in ("one", "two"):
        with pytest.raises(AssetError, match="asset get minilm-int8"):
            embed(query)
    # The second query trusts the first one's look.
    assert looks == ["minilm-int8"]
    monkeypatch.setattr(embedding, "_LOOK_AGAIN_S", 0.0)
    embed._absent_until = 0.0
    with pytest.raises(AssetError):
        embed("three")
    assert len(looks) == 2
