"""How well texts answer a query, by a local model that reads both together.

A cross-encoder (any sequence classifier of transformers that was trained for it) says so itself
(Nogueira and Cho, "Passage Re-ranking with BERT", 2019). A causal language model can be asked two
ways: how likely the query is after the text (query likelihood; Ponte and Croft, SIGIR 1998; Sachan
et al., EMNLP 2022), or how much likelier a "yes" is than a "no" to the question whether the text
answers it (Qin et al., NAACL 2024, section 2).

`discovery/reranking.py` runs this module as a process of its own, since whoever searches must not
import torch: `python -m paperround.kit.reranking FOLDER BY`, a line of JSON for a line of JSON.
"""

import json
import math
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from paperround.errors import AssetError
from paperround.kit.language_models import load_language_model, use_threads

By = Literal["auto", "cross-encoder", "query-likelihood", "yes-no"]

# A text's part of the prompt; what an abstract says first is what it is about.
MAX_TOKENS = 256
_BATCH_TEXTS = 8
_MAX_QUERY_TOKENS = 64
_TEXT, _QUERY = "Paper: {text}", "\nA question that this paper answers: {query}"
_ASKED = "\nDoes this paper answer «{query}»? Answer yes or no.\nAnswer:"


class CrossEncoder:
    """A sequence classifier that reads query and text as one pair."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Of one label, which is the score, or of two, of which the second is «relevant»."""
        if model.config.num_labels > 2:
            raise AssetError(
                f"a model of {model.config.num_labels} classes ranks nothing; one or two are needed"
            )
        self._model, self._tokenizer = model, tokenizer

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in their order; the greater, the better it answers."""
        limit = getattr(self._model.config, "max_position_embeddings", None) or 512
        encoded = [
            self._tokenizer(query, text, truncation="only_second", max_length=min(limit, 512))
            for text in (texts if texts else ())
        ]
        found = [0.0] * len(texts)
        for batch in _by_length([len(one["input_ids"]) for one in encoded]):
            padded = self._tokenizer.pad([encoded[place] for place in batch], return_tensors="pt")
            with torch.inference_mode():
                logits = self._model(**padded).logits.float()
            told = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            for place, score in zip(batch, told.tolist(), strict=True):
                found[place] = score
        return found


class LanguageModelScorer:
    """A causal language model that is asked about each text."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        by: Literal["query-likelihood", "yes-no"],
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        """`max_tokens` of each text are read."""
        self._model, self._tokenizer, self._by = model, tokenizer, by
        self._max_tokens = max_tokens

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in their order; the greater, the better it answers.

        Query likelihood: the mean log-probability of the query's tokens after the text. Yes or no:
        how much greater the log-probability of " yes" is than that of " no" after the question.
        """
        if self._by == "yes-no":
            end = self._ids(_ASKED.format(query=_short(query)))
            yes, no = (self._ids(word)[-1] for word in (" yes", " no"))
            told = self._log_probs(texts, end, keep=1)
            return [float(row[-1, yes] - row[-1, no]) for row in told]
        before, _, after = _QUERY.partition("{query}")
        end = self._ids(before.rstrip(" ")) + self._ids(f" {query}{after}")[:_MAX_QUERY_TOKENS]
        n = len(end) - len(self._ids(before.rstrip(" ")))
        if not n:
            return [0.0] * len(texts)
        targets = torch.tensor(end[-n:])
        told = self._log_probs(texts, end[:-1], keep=n)
        return [float(row.gather(1, targets[:, None]).mean()) for row in told]

    def _log_probs(self, texts: Sequence[str], end: list[int], keep: int) -> list[Tensor]:
        """Log-probabilities of what follows the last tokens of each prompt, (keep, vocabulary)."""
        start = [self._tokenizer.bos_token_id] if self._tokenizer.bos_token_id is not None else []
        prompts = [
            start + self._ids(_TEXT.format(text=text))[: self._max_tokens] + end for text in texts
        ]
        found: list[Tensor] = [torch.empty(0)] * len(texts)
        for batch in _by_length([len(prompt) for prompt in prompts]):
            longest = max(len(prompts[place]) for place in batch)
            # Padded on the left, so that every prompt ends at the last place.
            ids = torch.zeros((len(batch), longest), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, place in enumerate(batch):
                prompt = torch.tensor(prompts[place])
                ids[row, longest - len(prompt) :] = prompt
                mask[row, longest - len(prompt) :] = 1
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            with torch.inference_mode():
                logits = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    logits_to_keep=keep,
                    use_cache=False,
                ).logits.float()
            for row, place in enumerate(batch):
                found[place] = logits[row].log_softmax(dim=-1)
        return found

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def load_scorer(
    folder: Path, by: By = "auto", *, threads: int = 2
) -> CrossEncoder | LanguageModelScorer:
    """What scores texts for a query, from a folder of a model as transformers saves it.

    A folder with one GGUF is a language model. `auto` takes a sequence classifier for a
    cross-encoder, and asks a language model for the query's likelihood. Nothing is fetched, and
    weights are read as safetensors only. Raises AssetError, saying what is wrong with the folder.
    """
    if by not in get_args(By):
        raise AssetError(f"no way '{by}' of ranking again; there are {', '.join(get_args(By))}")
    if not folder.is_dir():
        raise AssetError(f"there is no folder {folder}")
    use_threads(threads)
    if any(folder.glob("*.gguf")):
        if by == "cross-encoder":
            raise AssetError(f"{folder} holds a language model, not a cross-encoder")
        model, tokenizer = load_language_model(folder)
        return LanguageModelScorer(model, tokenizer, "yes-no" if by == "yes-no" else _LIKELIHOOD)
    try:
        # No code that lies in the folder is run, and no pickle opened.
        names = AutoConfig.from_pretrained(folder, local_files_only=True).architectures or []
        classifies = any(name.endswith("ForSequenceClassification") for name in names)
        if not classifies and not any(
            name.endswith(("ForCausalLM", "LMHeadModel")) for name in names
        ):
            said = ", ".join(names) or "no architecture"
            raise AssetError(f"{folder} has {said}, neither a sequence classifier nor a causal LM")
        if classifies != (by == "cross-encoder") and by != "auto":
            kind = "cross-encoder" if classifies else "language model"
            raise AssetError(f"{folder} holds a {kind}, which cannot rank by {by}")
        kind_of = AutoModelForSequenceClassification if classifies else AutoModelForCausalLM
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = kind_of.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()
    # What transformers raises for a folder that is not whole has no type of its own.
    except (
        SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError
    ) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AssetError(f"{folder} cannot be loaded: {reason[:300]}") from error
    if classifies:
        return CrossEncoder(model, tokenizer)
    return LanguageModelScorer(model, tokenizer, "yes-no" if by == "yes-no" else _LIKELIHOOD)


_LIKELIHOOD: Literal["query-likelihood"] = "query-likelihood"


def answer_lines(
    scorer: CrossEncoder | LanguageModelScorer, asked: TextIO, told: TextIO, idle_s: float
) -> None:
    """Answers each line {"query", "texts"} with {"scores"} until the lines end or none comes.

    A line that cannot be answered gets {"error"}; whoever asks decides what that means.
    """
    while select.select([asked], [], [], idle_s)[0] and (line := asked.readline()):
        try:
            row: dict[str, Any] = json.loads(line)
            scores = scorer.scores(row["query"], row["texts"])
            if not all(math.isfinite(score) for score in scores):
                raise ValueError("the model's scores are not all finite")
            answer: dict[str, Any] = {"scores": scores}
        # Whatever the model stumbles on is told to whoever asked, and the next line is read.
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        told.write(json.dumps(answer) + "\n")
        told.flush()


def _by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Places in batches of like length, so that little is spent on padding."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    return [order[start : start + _BATCH_TEXTS] for start in range(0, len(order), _BATCH_TEXTS)]


def _short(query: str) -> str:
    return " ".join(query.split()[:_MAX_QUERY_TOKENS])


def main(arguments: Sequence[str]) -> int:
    """Loads a model, says {"ready": true} or {"error"}, and answers lines from then on."""
    folder, by, threads, idle_s = arguments
    # Libraries that print must not break the lines.
    told, sys.stdout = sys.stdout, sys.stderr
    try:
        scorer = load_scorer(Path(folder), by, threads=int(threads))  # type: ignore[arg-type]
    except AssetError as error:
        told.write(json.dumps({"error": str(error)}) + "\n")
        told.flush()
        return 3
    told.write(json.dumps({"ready": True}) + "\n")
    told.flush()
    answer_lines(scorer, sys.stdin, told, float(idle_s))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
