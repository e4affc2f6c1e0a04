import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.records import PaperId
from paperround.discovery.fusion import TITLE_DISCOUNT, by_meaning, fuse

PAPERS = st.integers(1, 30).map(PaperId)
SCORES = st.dictionaries(PAPERS, st.floats(0.01, 40), max_size=15)
COSINES = st.dictionaries(PAPERS, st.floats(-1, 1), max_size=15)
WEIGHTS = st.floats(0, 1)


def scores(**by_name: float) -> dict[PaperId, float]:
    return {PaperId(int(name[1:])): score for name, score in by_name.items()}


def test_the_sums_are_those_of_the_formula() -> None:
    fused = dict(fuse(scores(p1=10, p2=4, p5=5), scores(p1=0.2, p2=0.9, p4=0.1), 0.25))
    assert fused == {
        1: pytest.approx(0.25 * 0.2 + 0.75),
        2: pytest.approx(0.25 * 0.9 + 0.75 * 0.4),
        4: pytest.approx(0.25 * 0.1),
        5: pytest.approx(0.25 * 0.1 + 0.75 * 0.5),
    }


def test_a_title_counts_where_it_is_nearer_by_more_than_a_little() -> None:
    near = by_meaning(scores(p1=0.2, p2=0.9, p3=0.5), scores(p1=0.8, p2=0.91, p4=1.0))
    assert near == scores(p1=0.8 - TITLE_DISCOUNT, p2=0.9, p3=0.5)


@given(texts=COSINES, titles=COSINES)
def test_a_title_takes_no_paper_further_away(
    texts: dict[PaperId, float], titles: dict[PaperId, float]
) -> None:
    near = by_meaning(texts, titles)
    assert near.keys() == texts.keys()
    assert all(near[paper] >= cosine for paper, cosine in texts.items())


def test_equal_sums_come_in_the_order_of_their_ids() -> None:
    assert [paper for paper, _ in fuse(scores(p5=1, p1=1), {})] == [1, 5]


@given(words=SCORES, meaning=COSINES, weight=WEIGHTS)
def test_every_paper_comes_once_best_first(
    words: dict[PaperId, float], meaning: dict[PaperId, float], weight: float
) -> None:
    fused = fuse(words, meaning, weight)
    assert sorted(paper for paper, _ in fused) == sorted(words.keys() | meaning.keys())
    sums = [score for _, score in fused]
    assert sums == sorted(sums, reverse=True)
    assert all(-1 - 1e-9 <= score <= 1 + 1e-9 for score in sums)


@given(words=SCORES, meaning=COSINES, weight=WEIGHTS, scale=st.floats(0.5, 4))
def test_the_scale_of_bm25_does_not_matter(
    words: dict[PaperId, float], meaning: dict[PaperId, float], weight: float, scale: float
) -> None:
    scaled = {paper: scale * score for paper, score in words.items()}
    before, after = dict(fuse(words, meaning, weight)), dict(fuse(scaled, meaning, weight))
    assert before == pytest.approx(after, abs=1e-6)


@given(words=SCORES, meaning=COSINES)
def test_all_the_weight_on_one_side_is_its_ranking(
    words: dict[PaperId, float], meaning: dict[PaperId, float]
) -> None:
    fused = [paper for paper, _ in fuse(words, meaning, 0.0) if paper in words]
    expected = sorted(words, key=lambda paper: (-words[paper], paper))
    spread = max(words.values(), default=0) - min(words.values(), default=0)
    if spread > 1e-6:
        assert [words[paper] for paper in fused] == pytest.approx(
            [words[paper] for paper in expected], abs=1e-6
        )
