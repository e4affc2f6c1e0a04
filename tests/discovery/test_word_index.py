import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import PaperTable
from paperround.db import read, write
from paperround.discovery import queries, searching, word_index
from paperround.discovery.query_language import parse
from paperround.discovery.searching import Searcher
from paperround.discovery.word_index import WordIndex, stem_of
from paperround.settings import Settings

AddPaper = Callable[..., PaperId]


def found(engine: Engine, index: WordIndex, query: str, n: int = 50) -> list[int]:
    with read(engine) as connection:
        assert index.refresh(connection)
    return [paper_id for paper_id, _ in index.rank(parse(query), n)]


@pytest.fixture
def index(tmp_path: Path) -> WordIndex:
    return WordIndex(tmp_path / "words")


@pytest.fixture(scope="module")
def read_only(library: Engine, tmp_path_factory: pytest.TempPathFactory) -> WordIndex:
    index = WordIndex(tmp_path_factory.mktemp("words"))
    with read(library) as connection:
        index.refresh(connection)
    return index


def test_what_is_added_changed_and_removed_is_followed(
    engine: Engine, add_paper: AddPaper, index: WordIndex
) -> None:
    assert found(engine, index, "zebra") == []
    first, second = add_paper("A zebra"), add_paper("An ape")
    assert found(engine, index, "zebra") == [first]
    with write(engine) as connection:
        connection.execute(
            update(PaperTable).where(PaperTable.id == second).values(title_text="Zebra and ape")
        )
    assert set(found(engine, index, "zebra")) == {first, second}
    with write(engine) as connection:
        connection.execute(delete(PaperTable).where(PaperTable.id == first))
    assert found(engine, index, "zebra") == [second]
    assert index.n_papers == 1


def test_another_process_sees_what_this_one_wrote(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    first, second = WordIndex(tmp_path), WordIndex(tmp_path)
    paper = add_paper("A zebra")
    assert found(engine, first, "zebra") == [paper]
    assert found(engine, second, "zebra") == [paper]
    other = add_paper("Two zebras")
    assert set(found(engine, first, "zebra")) == {paper, other}
    assert set(found(engine, second, "zebra")) == {paper, other}


def test_while_another_writes_the_old_index_is_searched(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    index = WordIndex(tmp_path)
    paper = add_paper("A zebra")
    assert found(engine, index, "zebra") == [paper]
    add_paper("Two zebras")
    with FileLock(tmp_path / "lock"), read(engine) as connection:
        assert not index.refresh(connection)
        assert [i for i, _ in index.rank(parse("zebra"), 9)] == [paper]


@pytest.mark.parametrize("harm", ["cut", "gone", "state", "pointer", "format"])
def test_a_damaged_index_is_made_anew(
    engine: Engine, add_paper: AddPaper, tmp_path: Path, harm: str
) -> None:
    papers = [add_paper(f"Zebra {number}") for number in range(3)]
    assert found(engine, WordIndex(tmp_path), "zebra") == papers
    (folder,) = tmp_path.glob("words-*")
    if harm == "cut":
        for path in folder.glob("*.store"):
            beginning = path.read_bytes()[:10]
            # Another file in its place: the former index may have this one mapped still.
            path.unlink()
            path.write_bytes(beginning)
        (folder / "meta.json").write_text("{")
    elif harm == "gone":
        (folder / "meta.json").unlink()
    elif harm == "state":
        (folder / "state.json").write_text('{"format": 1}')
    elif harm == "pointer":
        (tmp_path / "current").write_text("../../etc")
    else:
        state = (folder / "state.json").read_text()
        (folder / "state.json").write_text(state.replace('"format": 1', '"format": 0'))
    assert found(engine, WordIndex(tmp_path), "zebra") == papers
    assert len(list(tmp_path.glob("words-*"))) == 1


def test_the_index_of_another_database_is_not_used(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    add_paper("Zebra")
    assert found(engine, WordIndex(tmp_path), "zebra") == [1]
    with write(engine) as connection:
        connection.exec_driver_sql("UPDATE sequence SET last = last + 1 WHERE name = 'database'")
        connection.exec_driver_sql("UPDATE paper SET title_text = 'Ape'")
        connection.exec_driver_sql("DELETE FROM paper_change")
        connection.exec_driver_sql("INSERT INTO paper_change VALUES (1, 1)")
    index = WordIndex(tmp_path)
    assert found(engine, index, "zebra") == []
    assert found(engine, index, "ape") == [1]


def test_a_check_tells_an_index_that_lags_from_one_that_differs(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    index = WordIndex(tmp_path)
    with read(engine) as connection:
        assert index.fault(connection) is None
    add_paper("Zebra")
    found(engine, index, "zebra")
    add_paper("Late")
    with read(engine) as connection:
        assert index.fault(connection) is None
    found(engine, index, "zebra")
    with write(engine) as connection:
        # As if the trigger had been away for a while.
        connection.exec_driver_sql("DROP TRIGGER paper_change_removed")
        connection.execute(delete(PaperTable).where(PaperTable.id == 1))
    with read(engine) as connection:
        assert index.fault(connection) == "the index of words differs from the papers"
        index.rebuild(connection)
        assert index.fault(connection) is None


def test_threads_search_while_another_writes(
    engine: Engine, add_paper: AddPaper, index: WordIndex
) -> None:
    faults: list[BaseException] = []
    done = threading.Event()

    def keep_searching() -> None:
        try:
            while not done.is_set():
                with read(engine) as connection:
                    index.refresh(connection)
                ranked = index.rank(parse("zebra"), 100)
                assert len({paper_id for paper_id, _ in ranked}) == len(ranked)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=keep_searching) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(8):
        add_paper(f"Zebra {number}")
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(found(engine, index, "zebra")) == 8


@given(query=st.text(alphabet=st.characters(codec=None), max_size=80))
def test_any_text_can_be_searched_for(read_only: WordIndex, query: str) -> None:
    wanted = parse(query)
    scores = [score for _, score in read_only.rank(wanted, 10)]
    assert scores == sorted(scores, reverse=True)
    assert read_only.count(wanted) >= len(scores)
    read_only.titles(query, 5)
    read_only.matching(wanted)


def test_one_matching_word_is_enough_and_more_rank_higher(
    library: Engine, read_only: WordIndex
) -> None:
    # Both words of the second paper's abstract against one of the third's title.
    assert found(library, read_only, "recurrence attention corpus") == [2, 3]


def test_a_phrase_must_occur_and_never_spans_title_and_abstract(
    engine: Engine, add_paper: AddPaper, index: WordIndex
) -> None:
    add_paper("A training corpus", "Tokens repeat.")
    add_paper("A corpus for training", "Tokens.")
    assert found(engine, index, '"training corpus" tokens') == [1]
    assert found(engine, index, '"corpus tokens"') == []
    assert found(engine, index, '"corpus A"') == []


@pytest.mark.parametrize("query", ["Nunez", "nu\u0301n\u0303ez", "decode", "DECODING", "lovelace"])
def test_accents_case_endings_and_authors(
    library: Engine, read_only: WordIndex, query: str
) -> None:
    assert found(library, read_only, query) == [1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("author:ada", [1]),
        ('author:"ada lovelace"', [1]),
        ('author:"lovelace jose"', []),
        ("-author:ada", [2, 3]),
        ('title:"training corpus"', [3]),
        ("title:attention", []),
    ],
)
def test_authors_and_titles_are_asked_for(
    library: Engine, read_only: WordIndex, query: str, expected: list[int]
) -> None:
    assert sorted(found(library, read_only, query)) == expected


def test_every_filter_finds_what_has_it(
    engine: Engine, add_paper: AddPaper, index: WordIndex
) -> None:
    add_paper("One", organisation="Google DeepMind", code_url="https://github.com/a/b")
    add_paper("Two", categories=("cs.CL",), links=("https://huggingface.co/datasets/a/b",))
    add_paper("Three", source="openreview", links=("https://huggingface.co/a/b",))
    expected = {
        "org:deepmind": [1],
        'org:"google deepmind"': [1],
        "has:code": [1],
        "cat:cs.CL": [2],
        "cat:cs": [2],
        "cat:c": [],
        "has:dataset": [2],
        "has:model": [3],
        "source:openreview": [3],
        "-has:code -has:model": [2],
        "year:2024": [],
    }
    assert {query: sorted(found(engine, index, query)) for query in expected} == expected


def test_titles_are_found_while_they_are_typed(
    engine: Engine, add_paper: AddPaper, index: WordIndex
) -> None:
    add_paper("Diverse Beam Search: Decoding Diverse Solutions")
    add_paper("Beamforming, diversely")
    found(engine, index, "x")
    assert index.titles("diverse bea", 5) == [1]
    assert sorted(index.titles("bea", 5)) == [1, 2]
    assert index.titles("search diverse", 5) == []
    assert index.titles("  ", 5) == []
    assert index.titles("b.*", 5) != [1, 2, 3]


def test_a_stem_is_that_of_the_index() -> None:
    assert stem_of("Recommendations") == stem_of("recommend") == "recommend"
    assert stem_of("") == ""
    assert word_index.TITLE_BOOST > 0


def test_a_server_answers_while_thousands_of_papers_are_indexed(
    engine: Engine, add_paper: AddPaper, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "AT_ONCE", 3)
    for number in range(4):
        add_paper(f"Zebra {number}")
    searcher = Searcher(engine, settings, waits=False)
    first = searcher.search("zebra", mode="words")
    assert first.note is not None
    assert "until they are indexed" in first.note
    for thread in threading.enumerate():
        if thread.name == "search index":
            thread.join()
    second = searcher.search("zebra", mode="words")
    assert (len(second.hits), second.note) == (4, None)


def test_who_sees_less_than_others_have_indexed_does_not_make_it_anew(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    late, early = WordIndex(tmp_path), WordIndex(tmp_path)
    add_paper("A zebra")
    assert found(engine, early, "zebra") == [1]
    (folder,) = tmp_path.glob("words-*")
    with read(engine) as connection:
        # A transaction that began before the next paper came.
        queries.change_state(connection)
        add_paper("Two zebras")
        assert found(engine, early, "zebra") == [1, 2]
        assert late.refresh(connection)
    assert list(tmp_path.glob("words-*")) == [folder]
    # An index that is ahead of the database itself, such as one of a backup, is made anew.
    with write(engine) as connection:
        connection.exec_driver_sql("DELETE FROM paper_change WHERE paper_id = 2")
        connection.exec_driver_sql("DELETE FROM paper WHERE id = 2")
        connection.exec_driver_sql("DELETE FROM paper_change WHERE paper_id = 2")
    assert found(engine, late, "zebra") == [1]
    assert list(tmp_path.glob("words-*")) != [folder]


@pytest.mark.parametrize("suffix", ["idx", "pos", "term", "fast", "fieldnorm", "store"])
def test_a_truncated_file_is_noticed_when_it_is_opened(
    engine: Engine, add_paper: AddPaper, tmp_path: Path, suffix: str
) -> None:
    papers = [add_paper(f"Zebra {number}") for number in range(3)]
    assert found(engine, WordIndex(tmp_path), "zebra") == papers
    paths = list(tmp_path.glob(f"words-*/*.{suffix}"))
    assert paths
    for path in paths:
        whole = path.read_bytes()
        # Another file in its place: what this process has mapped must stay as it is.
        path.unlink()
        path.write_bytes(whole[:-7])
    again = WordIndex(tmp_path)
    assert found(engine, again, "zebra") == papers
    with read(engine) as connection:
        assert again.fault(connection) is None


def test_a_search_goes_on_with_what_is_open_when_the_folder_is_gone(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    paper = add_paper("A zebra")
    index = WordIndex(tmp_path)
    assert found(engine, index, "zebra") == [paper]
    shutil.rmtree(tmp_path)
    with read(engine) as connection:
        assert index.lag(connection, 100) == 1
        assert [i for i, _ in index.rank(parse("zebra"), 9)] == [paper]
    assert found(engine, index, "zebra") == [paper]
    assert (tmp_path / "current").is_file()


def test_no_search_waits_while_a_thread_makes_the_index(
    engine: Engine, add_paper: AddPaper, tmp_path: Path
) -> None:
    add_paper("A zebra")
    index = WordIndex(tmp_path)
    assert found(engine, index, "zebra") == [1]
    add_paper("Two zebras")
    with index._writing, read(engine) as connection:
        # As if another thread had been writing for minutes.
        assert index.lag(connection, 100) == 1
        assert [i for i, _ in index.rank(parse("zebra"), 9)] == [1]
