"""Texts scored for a query: batches against one at a time, and the equations by hand."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from paperround.errors import AssetError
from paperround.kit.reranking import (
    CrossEncoder,
    LanguageModelScorer,
    answer_lines,
    load_scorer,
    main,
)

_VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] paper : a question that this answers yes no beams search copies text"
    " does ? answer or . states grow while decoding models repeat what they have said"
)
WORDS = _VOCABULARY.split()
TEXTS = [
    "beams search states",
    "text copies what they have said while decoding models repeat",
    "",
    "a question that no paper answers . " * 60,
]


def tokenizer(special: bool) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", bos_token=None if special else "[CLS]",
    )  # fmt: skip


@pytest.fixture
def cross_encoder(tmp_path: Path) -> Callable[[int], Path]:
    def saved(n_labels: int) -> Path:
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=64, num_labels=n_labels,
            initializer_range=0.5,
        )  # fmt: skip
        folder = tmp_path / f"cross-encoder-{n_labels}"
        BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer(special=True).save_pretrained(folder)
        return folder

    return saved


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=512, initializer_range=0.5,
    )  # fmt: skip
    folder = tmp_path / "language-model"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(special=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("n_labels", [1, 2])
def test_a_cross_encoder_reads_query_and_text_as_one_pair(
    cross_encoder: Callable[[int], Path], n_labels: int
) -> None:
    folder = cross_encoder(n_labels)
    scores = load_scorer(folder, threads=1).scores("beams search", TEXTS)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        for text, score in zip(TEXTS, scores, strict=True):
            pair = tokenizer(special=True)(
                "beams search", text, truncation="only_second", max_length=64, return_tensors="pt"
            )
            (logits,) = model(**pair).logits
            expected = logits[0] if n_labels == 1 else logits[1] - logits[0]
            assert score == pytest.approx(float(expected), abs=1e-5)


def test_likelihood_is_the_mean_of_the_querys_tokens_after_the_text(language_model: Path) -> None:
    scores = load_scorer(language_model, "query-likelihood", threads=1).scores("copies text", TEXTS)
    model = LlamaForCausalLM.from_pretrained(language_model).eval()
    cut = tokenizer(special=False)
    for text, score in zip(TEXTS, scores, strict=True):
        before = cut(f"Paper: {text}", add_special_tokens=False).input_ids[:256]
        before = [2, *before, *cut("A question that this paper answers:").input_ids]
        log_probs = []
        # By hand: the model reads up to a token, and says how likely that token was.
        for token in cut("copies text").input_ids:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([before])).logits[0, -1]
            log_probs.append(float(logits.log_softmax(dim=-1)[token]))
            before = [*before, token]
        assert score == pytest.approx(sum(log_probs) / len(log_probs), abs=1e-4)


def test_yes_and_no_are_compared_after_the_question(language_model: Path) -> None:
    scorer = load_scorer(language_model, "yes-no", threads=1)
    (score,) = scorer.scores("copies text", TEXTS[:1])
    cut = tokenizer(special=False)
    asked = "Does this paper answer «copies text»? Answer yes or no. Answer:"
    prompt = [2, *cut(f"Paper: {TEXTS[0]}").input_ids, *cut(asked).input_ids]
    model = LlamaForCausalLM.from_pretrained(language_model).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    expected = logits[WORDS.index("yes")] - logits[WORDS.index("no")]
    assert score == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("by", ["query-likelihood", "yes-no"])
def test_a_text_scores_the_same_in_any_company(language_model: Path, by: str) -> None:
    scorer = load_scorer(language_model, by, threads=1)  # type: ignore[arg-type]
    together = scorer.scores("states grow", TEXTS)
    alone = [scorer.scores("states grow", [text])[0] for text in TEXTS]
    assert together == pytest.approx(alone, abs=1e-4)


def test_no_text_and_no_query_are_no_error(language_model: Path) -> None:
    scorer = load_scorer(language_model, threads=1)
    assert isinstance(scorer, LanguageModelScorer)
    assert scorer.scores("states", []) == []
    assert scorer.scores("", ["beams"]) == [0.0]


def test_the_kind_of_model_is_seen_from_the_folder(
    cross_encoder: Callable[[int], Path], language_model: Path
) -> None:
    assert isinstance(load_scorer(cross_encoder(1), threads=1), CrossEncoder)
    assert isinstance(load_scorer(language_model, threads=1), LanguageModelScorer)
    with pytest.raises(AssetError, match="holds a cross-encoder, which cannot rank by yes-no"):
        load_scorer(cross_encoder(1), "yes-no")
    with pytest.raises(AssetError, match="holds a language model, which cannot rank by cross-enc"):
        load_scorer(language_model, "cross-encoder")


def test_a_folder_that_is_no_ranker_says_what_is_wrong(
    cross_encoder: Callable[[int], Path], tmp_path: Path
) -> None:
    with pytest.raises(AssetError, match="there is no folder"):
        load_scorer(tmp_path / "absent")
    with pytest.raises(AssetError, match="3 classes"):
        load_scorer(cross_encoder(3))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssetError, match="cannot be loaded"):
        load_scorer(tmp_path / "empty")
    whole = cross_encoder(1)
    (whole / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(AssetError, match="cannot be loaded"):
        load_scorer(whole)
    other = tmp_path / "encoder"
    BertModel(BertConfig(hidden_size=16, num_attention_heads=2)).save_pretrained(other)
    with pytest.raises(AssetError, match="neither a sequence classifier nor"):
        load_scorer(other)


def test_weights_in_a_pickle_are_not_opened(cross_encoder: Callable[[int], Path]) -> None:
    folder = cross_encoder(1)
    model = BertForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(AssetError, match="cannot be loaded"):
        load_scorer(folder)


def test_a_line_is_answered_by_a_line_and_a_bad_one_does_not_end_it(language_model: Path) -> None:
    asked_end, ours = os.pipe()
    scorer = load_scorer(language_model, threads=1)
    told = io.StringIO()
    with os.fdopen(ours, "w") as out, os.fdopen(asked_end) as asked:
        out.write('{"query": "states", "texts": ["beams", "text"]}\n')
        out.write('{"query": 7}\n["states"]\n')
        out.flush()
        out.close()
        answer_lines(scorer, asked, told, idle_s=5)
    first, second, third = map(json.loads, told.getvalue().splitlines())
    assert len(first["scores"]) == 2
    assert "KeyError" in second["error"]
    assert "TypeError" in third["error"]


def test_a_folder_that_cannot_be_loaded_is_told_as_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent"), "auto", "1", "1"]) == 3
    assert "there is no folder" in json.loads(capsys.readouterr().out)["error"]
