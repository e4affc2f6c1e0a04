import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.records import PaperId
from paperround.discovery.fusion import reciprocal_rank_fusion

RANKINGS = st.lists(
    st.lists(st.integers(1, 30).map(PaperId), unique=True, max_size=15), min_size=1, max_size=4
)


def ids(*numbers: int) -> list[PaperId]:
    return [PaperId(number) for number in numbers]


def test_the_sums_are_those_of_the_formula() -> None:
    fused = dict(reciprocal_rank_fusion([ids(7, 8), ids(8, 9)], k=60))
    assert fused[PaperId(8)] == pytest.approx(1 / 62 + 1 / 61)
    assert fused[PaperId(7)] == pytest.approx(1 / 61)
    assert fused[PaperId(9)] == pytest.approx(1 / 62)


def test_a_weight_multiplies_its_ranking() -> None:
    fused = dict(reciprocal_rank_fusion([ids(7), ids(8)], weights=[1, 0.5], k=9))
    assert fused == {PaperId(7): pytest.approx(0.1), PaperId(8): pytest.approx(0.05)}


def test_equal_sums_keep_the_order_in_which_they_are_met() -> None:
    assert [paper for paper, _ in reciprocal_rank_fusion([ids(5, 1), ids(1, 5)])] == ids(5, 1)


@given(rankings=RANKINGS)
def test_every_paper_comes_once_best_first(rankings: list[list[PaperId]]) -> None:
    fused = reciprocal_rank_fusion(rankings)
    papers = [paper for paper, _ in fused]
    assert len(papers) == len(set(papers))
    assert set(papers) == {paper for ranking in rankings for paper in ranking}
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)


@given(rankings=RANKINGS)
def test_the_order_of_the_rankings_changes_no_sum(rankings: list[list[PaperId]]) -> None:
    forwards = dict(reciprocal_rank_fusion(rankings))
    backwards = dict(reciprocal_rank_fusion(rankings[::-1]))
    assert forwards == pytest.approx(backwards)


@given(ranking=st.lists(st.integers(1, 99).map(PaperId), unique=True), times=st.integers(1, 4))
def test_rankings_that_agree_are_the_ranking(ranking: list[PaperId], times: int) -> None:
    assert [paper for paper, _ in reciprocal_rank_fusion([ranking] * times)] == ranking


@given(ranking=st.lists(st.integers(1, 99).map(PaperId), unique=True, min_size=2), data=st.data())
def test_who_rises_in_one_ranking_never_falls(ranking: list[PaperId], data: st.DataObject) -> None:
    other = data.draw(st.permutations(ranking))
    paper = ranking[data.draw(st.integers(1, len(ranking) - 1))]
    risen = [paper, *(each for each in ranking if each != paper)]

    def place(rankings: list[list[PaperId]]) -> int:
        fused = reciprocal_rank_fusion(rankings)
        score = dict(fused)[paper]
        return sum(each > score for _, each in fused)

    assert place([risen, other]) <= place([ranking, other])


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        reciprocal_rank_fusion([ids(1)], k=-1)
    with pytest.raises(ValueError, match="1 weights for 2 rankings"):
        reciprocal_rank_fusion([ids(1), ids(2)], weights=[1.0])
