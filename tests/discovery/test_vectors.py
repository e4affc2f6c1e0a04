import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.db import read, write
from paperround.discovery import queries, vectors
from paperround.discovery.embedding import DIMENSIONS, MODEL
from paperround.discovery.vectors import VectorIndex

AddPaper = Callable[..., PaperId]
EmbedAs = Callable[[PaperId, list[float]], None]


def direction(*numbers: float) -> np.ndarray:
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[: len(numbers)] = numbers
    return vector


def refreshed(engine: Engine, index: VectorIndex) -> bool:
    with read(engine) as connection:
        return index.refresh(connection)


def test_the_nearest_come_first_with_their_cosine(engine: Engine, add_paper: AddPaper) -> None:
    far, near, middle = (
        add_paper(vector=[-1.0]),
        add_paper(vector=[1.0]),
        add_paper(vector=[0.6, 0.8]),
    )
    index = VectorIndex()
    refreshed(engine, index)
    found = index.nearest(direction(1.0), 3)
    assert [paper_id for paper_id, _ in found] == [near, middle, far]
    assert [score for _, score in found] == pytest.approx([1.0, 0.6, -1.0], abs=1e-3)
    assert [paper_id for paper_id, _ in index.nearest(direction(1.0), 1)] == [near]
    assert index.nearest(direction(1.0), 3, exclude=[near])[0][0] == middle
    assert [paper_id for paper_id, _ in index.nearest(direction(1.0), 3, among=[far])] == [far]
    assert index.nearest(direction(1.0), 3, among=[]) == []


def test_equals_come_in_the_order_of_their_ids(engine: Engine, add_paper: AddPaper) -> None:
    papers = [add_paper(vector=[1.0]) for _ in range(5)]
    index = VectorIndex()
    refreshed(engine, index)
    assert [paper_id for paper_id, _ in index.nearest(direction(1.0), 5)] == papers


def test_a_refresh_brings_what_was_added_changed_and_removed(
    engine: Engine, add_paper: AddPaper, embed_as: EmbedAs
) -> None:
    index = VectorIndex()
    assert not refreshed(engine, index)
    assert index.nearest(direction(1.0), 5) == []
    first, second = add_paper(vector=[1.0]), add_paper(vector=[0.0, 1.0])
    assert refreshed(engine, index)
    assert not refreshed(engine, index)
    assert len(index) == 2

    embed_as(second, [1.0])
    embed_as(first, [0.0, 0.0, 1.0])
    assert refreshed(engine, index)
    assert index.nearest(direction(1.0), 1)[0][0] == second

    with write(engine) as connection:
        connection.execute(delete(PaperTable).where(PaperTable.id == second))
    assert refreshed(engine, index)
    assert [paper_id for paper_id, _ in index.nearest(direction(1.0), 5)] == [first]


def test_a_removal_and_an_addition_at_once_are_noticed(engine: Engine, add_paper: AddPaper) -> None:
    old, kept = add_paper(vector=[1.0]), add_paper(vector=[0.0, 1.0])
    index = VectorIndex()
    refreshed(engine, index)
    # The count stays the same, and SQLite gives the highest id again.
    with write(engine) as connection:
        connection.execute(delete(EmbeddingTable).where(EmbeddingTable.paper_id == old))
    new = add_paper(vector=[0.0, 0.0, 1.0])
    assert refreshed(engine, index)
    assert {paper_id for paper_id, _ in index.nearest(direction(1.0), 5)} == {kept, new}


def test_numbers_grow_even_when_the_clock_is_set_back(
    engine: Engine, add_paper: AddPaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_paper(vector=[1.0])
    with read(engine) as connection:
        _, before = queries.embedding_state(connection, MODEL)
    monkeypatch.setattr(queries.time, "time_ns", lambda: 5)
    add_paper(vector=[1.0])
    with read(engine) as connection:
        assert queries.embedding_state(connection, MODEL) == (2, before + 1)


def test_another_models_vectors_are_not_mixed_in(engine: Engine, add_paper: AddPaper) -> None:
    add_paper(vector=[1.0])
    index = VectorIndex(model="another model")
    assert not refreshed(engine, index)
    assert len(index) == 0


def test_an_embedding_of_a_paper_that_has_gone_is_passed_over(engine: Engine) -> None:
    row = queries.EmbeddingRow(PaperId(77), MODEL, b"\0" * 32, b"\0" * 768)
    with write(engine) as connection:
        assert queries.store_embeddings(connection, [row]) == 0


def test_a_paper_has_its_vector_or_none(engine: Engine, add_paper: AddPaper) -> None:
    with_one, without = add_paper(vector=[0.0, 1.0]), add_paper()
    index = VectorIndex()
    refreshed(engine, index)
    vector = index.vector_of(with_one)
    assert vector is not None
    assert vector[:2].tolist() == [0.0, 1.0]
    assert index.vector_of(without) is None
    assert index.vector_of(PaperId(10**9)) is None


def test_titles_have_their_own_cosines_wherever_they_are_held(
    engine: Engine,
    add_paper: AddPaper,
    embed_as: EmbedAs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors, "SMALLEST_FILE", 2)
    filed = [add_paper(vector=[1.0], title_vector=[0.6, -0.8]) for _ in range(3)]
    none_yet = add_paper(vector=[1.0])
    index = VectorIndex(tmp_path / "vectors")
    refreshed(engine, index)
    assert index._snapshot.files is not None
    new = add_paper(vector=[0.0, 1.0], title_vector=[0.0, 0.5])
    embed_as(filed[0], [0.0, 1.0])
    refreshed(engine, index)
    found = index.title_cosines(direction(0.6, 0.8), [*filed, none_yet, new, PaperId(10**9)])
    # A paper whose embedding is a former version's has no title to go by, nor one embedded anew.
    expected = {filed[1]: -0.28, filed[2]: -0.28, new: 0.8}
    assert found == {paper: pytest.approx(cosine, abs=5e-3) for paper, cosine in expected.items()}
    with read(engine) as connection:
        assert index.fault(connection) is None


def test_files_whose_titles_differ_from_the_database_are_at_fault(
    engine: Engine, add_paper: AddPaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "SMALLEST_FILE", 2)
    for _ in range(3):
        add_paper(vector=[1.0], title_vector=[0.6, 0.8])
    index = VectorIndex(tmp_path / "vectors")
    refreshed(engine, index)
    (path,) = (tmp_path / "vectors").glob("vectors-*/titles.npy")
    titles = np.load(path)
    titles[1, 5] = 9
    np.save(path.with_name("other.npy"), titles)
    path.with_name("other.npy").replace(path)
    with read(engine) as connection:
        assert "differ" in (VectorIndex(tmp_path / "vectors").fault(connection) or "")


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), size=st.integers(0, 50))
def test_a_partial_sort_finds_what_a_full_sort_finds(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.standard_normal((size, DIMENSIONS)).astype(np.float32)
    query = rng.standard_normal(DIMENSIONS).astype(np.float32)
    index = VectorIndex()
    index._snapshot = replace(vectors._EMPTY, ids=np.arange(1, size + 1), vectors=stored)
    found = index.nearest(query, n)
    expected = np.argsort(-(stored.astype(np.float64) @ query))[:n] + 1
    assert [paper_id for paper_id, _ in found] == expected.tolist()


def test_threads_search_while_another_refreshes(engine: Engine, add_paper: AddPaper) -> None:
    index = VectorIndex()
    faults: list[BaseException] = []
    done = threading.Event()

    def keep_searching() -> None:
        try:
            while not done.is_set():
                refreshed(engine, index)
                found = index.nearest(direction(1.0), 100)
                assert len({paper_id for paper_id, _ in found}) == len(found)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=keep_searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        add_paper(vector=[1.0])
    done.set()
    for thread in threads:
        thread.join()
    refreshed(engine, index)
    assert faults == []
    assert len(index) == 20


@pytest.fixture
def filed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written from the first few vectors on."""
    monkeypatch.setattr(vectors, "SMALLEST_FILE", 4)


@pytest.fixture
def many(engine: Engine, add_paper: AddPaper) -> list[PaperId]:
    rng = np.random.default_rng(5)
    return [add_paper(vector=rng.standard_normal(8).tolist()) for _ in range(12)]


def found(index: VectorIndex, *numbers: float, **options: object) -> list[PaperId]:
    return [paper for paper, _ in index.nearest(direction(*numbers), 50, **options)]  # type: ignore[arg-type]


@pytest.mark.usefixtures("filed")
def test_files_and_memory_give_the_same(
    engine: Engine, many: list[PaperId], tmp_path: Path, embed_as: EmbedAs, add_paper: AddPaper
) -> None:
    in_files, in_memory = VectorIndex(tmp_path / "vectors"), VectorIndex()

    def same() -> None:
        refreshed(engine, in_files)
        refreshed(engine, in_memory)
        assert len(in_files) == len(in_memory)
        for query in ([1.0], [0.0, 0.3, -0.8]):
            assert found(in_files, *query) == found(in_memory, *query)
            assert found(in_files, *query, among=many[:3]) == found(
                in_memory, *query, among=many[:3]
            )
            assert found(in_files, *query, exclude=many[2:5]) == found(
                in_memory, *query, exclude=many[2:5]
            )
        assert in_files.cosines(direction(1.0), many) == pytest.approx(
            in_memory.cosines(direction(1.0), many)
        )

    same()
    files = in_files._snapshot.files
    assert files is not None
    assert len(files.ids) == 12
    embed_as(many[3], [0.0, 0.0, 1.0])
    add_paper(vector=[0.5, 0.5])
    with write(engine) as connection:
        connection.execute(delete(PaperTable).where(PaperTable.id == many[7]))
    same()
    # What is new is held in memory, the files stay as they are.
    assert in_files._snapshot.files is files
    for _ in range(6):
        add_paper(vector=[0.1, 0.9])
    same()
    assert in_files._snapshot.files is not files


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize(
    "name", ["ids.npy", "sketches.npy", "vectors.npy", "mean.npy", "state.json"]
)
@pytest.mark.parametrize("harm", ["cut", "gone", "other"])
def test_damaged_files_are_made_anew(
    engine: Engine, many: list[PaperId], tmp_path: Path, name: str, harm: str
) -> None:
    first = VectorIndex(tmp_path)
    refreshed(engine, first)
    expected = found(first, 1.0)
    (path,) = tmp_path.glob(f"vectors-*/{name}")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no such thing")
    again = VectorIndex(tmp_path)
    refreshed(engine, again)
    assert found(again, 1.0) == expected
    assert len(again) == len(many)


@pytest.mark.usefixtures("filed")
def test_a_flipped_bit_of_a_sketch_is_noticed(
    engine: Engine, many: list[PaperId], tmp_path: Path
) -> None:
    refreshed(engine, VectorIndex(tmp_path))
    (path,) = tmp_path.glob("vectors-*/sketches.npy")
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with read(engine) as connection:
        assert VectorIndex(tmp_path).fault(connection) is not None
    assert refreshed(engine, VectorIndex(tmp_path))
    with read(engine) as connection:
        assert VectorIndex(tmp_path).fault(connection) is None


@pytest.mark.usefixtures("filed", "many")
def test_the_files_of_another_database_are_not_used(engine: Engine, tmp_path: Path) -> None:
    refreshed(engine, VectorIndex(tmp_path))
    with write(engine) as connection:
        connection.exec_driver_sql("UPDATE sequence SET last = last + 1 WHERE name = 'database'")
    index = VectorIndex(tmp_path)
    refreshed(engine, index)
    files = index._snapshot.files
    assert files is not None
    with read(engine) as connection:
        assert files.state.database == queries.change_state(connection)[0]


@pytest.mark.usefixtures("filed", "many")
def test_while_another_writes_the_files_memory_answers(engine: Engine, tmp_path: Path) -> None:
    index = VectorIndex(tmp_path)
    with FileLock(tmp_path / "lock"):
        refreshed(engine, index)
    assert index._snapshot.files is None
    assert len(index) == 12


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300))
def test_sketches_differ_in_as_many_signs_as_the_vectors(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, DIMENSIONS)).astype(np.float32)
    mean = rng.standard_normal(DIMENSIONS).astype(np.float32) / 4
    sketches = vectors.sketch(rows, mean)
    far = vectors.distances(np.ascontiguousarray(sketches.T), sketches[0])
    signs = rows > mean
    assert far.tolist() == (signs != signs[0]).sum(axis=1).tolist()


@pytest.mark.usefixtures("filed")
def test_asking_which_are_kept_finds_what_a_list_finds(
    engine: Engine, many: list[PaperId], tmp_path: Path, embed_as: EmbedAs
) -> None:
    index = VectorIndex(tmp_path)
    refreshed(engine, index)
    # One of the files' vectors is newer in memory.
    embed_as(many[2], [0.3, 0.9])
    refreshed(engine, index)
    allowed = many[::2]
    asked: list[int] = []

    def keep(ids: list[PaperId]) -> list[PaperId]:
        asked.append(len(ids))
        assert len(set(ids)) == len(ids)
        return [paper_id for paper_id in ids if paper_id in allowed]

    for query in ([1.0], [0.0, 0.3, -0.8]):
        expected = index.nearest(direction(*query), 4, among=allowed)
        found = index.nearest_kept(direction(*query), 4, keep, 0.5, rescored=1)
        assert [paper_id for paper_id, _ in found] == [paper_id for paper_id, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected])
    # Too few were kept of those that were asked about first.
    asked.clear()
    index.nearest_kept(direction(1.0), 6, keep, 5.0, rescored=1)
    assert asked == sorted(asked)
    assert len(asked) > 1
    assert index.nearest_kept(direction(1.0), 3, lambda ids: [], 0.9) == []


def test_nothing_in_the_database_is_counted_where_nothing_has_changed(
    engine: Engine, add_paper: AddPaper
) -> None:
    add_paper(vector=[1.0])
    index = VectorIndex()
    refreshed(engine, index)
    asked: list[str] = []
    with read(engine) as connection:
        event.listen(
            connection, "before_cursor_execute", lambda *told: asked.append(str(told[2]).lower())
        )
        assert not index.refresh(connection)
    assert asked
    assert not [statement for statement in asked if "count(" in statement]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400), size=st.integers(1, 300))
def test_the_rows_within_reach_are_the_nearest(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    far = rng.binomial(DIMENSIONS, 0.4, size).astype(np.uint16)
    far[rng.random(size) < 0.1] = vectors._NEVER
    for counted in (8, 1 << 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "_COUNTED", counted)
            rows = vectors._within_reach(far, n)
        near = far[rows]
        assert len(rows) >= min(n, int((far != vectors._NEVER).sum()))
        assert (near != vectors._NEVER).all()
        others = np.delete(far, rows)
        assert len(near) == 0 or len(others) == 0 or near.max() < others.min()


@pytest.mark.usefixtures("filed", "many")
def test_who_sees_less_than_others_have_filed_does_not_write_it_anew(
    engine: Engine, tmp_path: Path, add_paper: AddPaper
) -> None:
    with read(engine) as connection:
        # A transaction that began before the next papers came.
        queries.change_state(connection)
        for _ in range(6):
            add_paper(vector=[0.1, 0.9])
        refreshed(engine, VectorIndex(tmp_path))
        (folder,) = tmp_path.glob("vectors-*")
        late = VectorIndex(tmp_path)
        assert not late.refresh(connection)
    assert list(tmp_path.glob("vectors-*")) == [folder]
    assert refreshed(engine, late)
    assert len(late) == 18


@pytest.mark.usefixtures("filed", "many")
def test_how_much_is_new_is_known_without_opening_the_files(
    engine: Engine, tmp_path: Path, add_paper: AddPaper
) -> None:
    index = VectorIndex(tmp_path)
    with read(engine) as connection:
        assert index.lag(connection, 100) == 12
        assert index.lag(connection, 5) == 5
    refreshed(engine, index)
    add_paper(vector=[1.0])
    for some in (index, VectorIndex(tmp_path)):
        with read(engine) as connection:
            assert some.lag(connection, 100) == 1
