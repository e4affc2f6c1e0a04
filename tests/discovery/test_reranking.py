"""The first papers ranked again, by a stand-in and by a real process with a real (tiny) model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from paperround.db import read
from paperround.discovery.embedding import DIMENSIONS
from paperround.discovery.reranking import Reranker, RerankError
from paperround.discovery.search import SearchAnswer, ranking, search
from paperround.settings import RerankerModel

AddPaper = Callable[..., int]


@dataclass
class Preferring:
    """Ranks the texts that hold a word before all others, in the place of a model."""

    word: str
    first: int = 50
    weight: float = 1.0
    name: str = "a stand-in"
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((query, list(texts)))
        return [float(self.word in text) for text in texts]


@pytest.fixture
def four(engine: Engine, add_paper: AddPaper) -> list[int]:
    texts = [("Beams", "beams beams"), ("Beams", "late beams"), ("Beams", "x"), ("Late", "beams")]
    return [add_paper(title, text, vector=[1.0]) for title, text in texts]


@pytest.fixture
def ask(engine: Engine, place: Any) -> Callable[..., SearchAnswer]:
    def answer(query: str, reranker: Any, **options: Any) -> SearchAnswer:
        vector = np.zeros(DIMENSIONS, dtype=np.float32)
        vector[0] = 1.0
        indexes = place.over(engine, embed=lambda query: vector, reranker=reranker)
        with read(engine) as connection:
            return search(connection, query, indexes, rerank=True, **options)

    return answer


def ids(answer: SearchAnswer) -> list[int]:
    return [hit.paper.id for hit in answer.hits]


def test_the_first_are_ranked_again_and_the_others_stay(
    four: list[int], ask: Callable[..., SearchAnswer]
) -> None:
    before = ids(ask("beams", Preferring("nothing")))
    model = Preferring("late", first=2)
    chosen = [paper for paper in before[:2] if paper == four[1]]
    again = ids(ask("beams", model))
    assert again[0] == (chosen or before)[0]
    assert again[2:] == before[2:]
    every = Preferring("late")
    assert ids(ask("beams", every))[0] == four[1]
    assert every.asked[0][0] == "beams"
    assert set(every.asked[0][1]) == {
        "Beams. beams beams", "Beams. late beams", "Beams. x", "Late. beams"
    }  # fmt: skip


@pytest.mark.usefixtures("four")
def test_scores_still_fall_with_the_rank(ask: Callable[..., SearchAnswer]) -> None:
    answer = ask("beams", Preferring("late"))
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    assert answer.reranked is not None
    assert (answer.reranked.model, answer.reranked.papers) == ("a stand-in", 4)
    assert answer.reranked.seconds >= 0


def test_a_small_weight_only_settles_what_search_leaves_open(
    four: list[int], ask: Callable[..., SearchAnswer]
) -> None:
    before = ids(ask("beams x", Preferring("nothing")))
    assert before[0] == four[2]
    assert ids(ask("beams x", Preferring("late", weight=0.01)))[0] == four[2]
    assert ids(ask("beams x", Preferring("late", weight=1.0)))[0] == four[1]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": "beams"}, "no model is set up for it"),
        ({"query": "beams", "order": "newest"}, "no model is set up for it"),
    ],
)
def test_without_a_model_the_answer_says_so_and_stays(
    ask: Callable[..., SearchAnswer], options: dict[str, Any], says: str
) -> None:
    answer = ask(**options, reranker=None)
    assert len(answer.hits) == 4
    assert answer.reranked is None
    assert answer.note is not None
    assert says in answer.note


@pytest.mark.usefixtures("four")
def test_what_has_no_relevance_is_not_ranked_again(ask: Callable[..., SearchAnswer]) -> None:
    model = Preferring("late")
    newest = ask("beams", model, order="newest")
    filters = ask("-absent", model)
    assert (newest.reranked, filters.reranked, model.asked) == (None, None, [])
    assert "the order is newest" in (newest.note or "")
    assert "filters alone" in (filters.note or "")


@pytest.mark.usefixtures("four")
def test_a_ranking_for_evaluation_fails_where_it_cannot_be_ranked_again(
    engine: Engine, place: Any
) -> None:
    indexes = place.over(engine)
    with read(engine) as connection, pytest.raises(RerankError):
        ranking(connection, "beams", indexes, "words", rerank=True)


# A real process.


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "beams", "late", "x"]
    cut = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "[UNK]"))
    cut.pre_tokenizer = pre_tokenizers.Whitespace()
    cut.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    folder: Path = tmp_path_factory.mktemp("models") / "tiny-cross-encoder"
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=cut, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture
def made() -> Iterator[Callable[..., Reranker]]:
    rerankers = []

    def make(folder: Path, **options: Any) -> Reranker:
        rerankers.append(Reranker(RerankerModel(folder=folder, threads=1, **options)))
        return rerankers[-1]

    yield make
    for reranker in rerankers:
        reranker.close()


@pytest.mark.timeout(900)
def test_a_real_model_answers_and_is_started_again_when_it_died(
    cross_encoder: Path, made: Callable[..., Reranker]
) -> None:
    reranker = made(cross_encoder, timeout_s=800)
    scores = reranker.scores("beams", ["beams late", "x", ""])
    assert len(set(scores)) == 3
    process = reranker._process
    assert process is not None
    # The same question is answered from memory, so that the next page costs nothing.
    process.kill()
    process.wait()
    assert reranker.scores("beams", ["beams late", "x", ""]) == scores
    assert reranker.scores("beams", ["x", "beams late"]) == pytest.approx([scores[1], scores[0]])
    reranker.close()
    assert reranker._process is None


def test_a_folder_without_a_model_is_seen_at_once(
    tmp_path: Path, made: Callable[..., Reranker]
) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RerankError, match="holds no model as transformers saves one"):
            made(folder).scores("beams", ["late"])


def test_a_model_that_takes_too_long_is_ended(
    cross_encoder: Path, made: Callable[..., Reranker]
) -> None:
    reranker = made(cross_encoder, timeout_s=0.01)
    with pytest.raises(RerankError, match=r"took longer than 0\.01 s and was ended"):
        reranker.scores("beams", ["late"])
    assert reranker._process is None


@pytest.mark.timeout(900)
def test_a_folder_that_is_broken_says_so(tmp_path: Path, made: Callable[..., Reranker]) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["ElmoModel"]}', encoding="utf-8")
    with pytest.raises(RerankError, match=r"no model ranks again: .*broken"):
        made(folder, timeout_s=800).scores("beams", ["late"])
