"""One arm of the comparison: a model fine-tuned one way, and everything measured of it.

Arms run side by side, one process and one thread each, so what goes in and comes out is plain data.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from paperround.kit.language_models import load_language_model, load_tokenizer, use_threads
from paperround.kit.tiny_gpt import TinyGptConfig, load_tiny_gpt, save_tiny_gpt
from paperround.papers.ditto.baselines import contrastive_search
from paperround.papers.ditto.evaluation import (
    Fit,
    continuations,
    fit_to_text,
    ordinary_ids,
    prefixes_of,
    random_copy_accuracy,
)
from paperround.papers.ditto.fine_tuning import Arm, FineTuning, fine_tune, train_last_layers
from paperround.papers.ditto.method import end_token_ids
from paperround.papers.ditto.metrics import Repetition, repetition_metrics
from paperround.papers.ditto.reinforcement import Reinforcement, self_reinforcement
from paperround.papers.ditto.small_lm import (
    SIZE,
    VOCABULARY,
    PretrainingPlan,
    train_small_lm,
)
from paperround.papers.ditto.texts import read_abstracts, read_wikitext, sentences_of_text

GREEDY = "greedy"
# Decoding-time remedies at the values that users set; they change no model.
DECODINGS: Mapping[str, Mapping[str, Any]] = {
    GREEDY: {},
    "nucleus p 0.9": {"do_sample": True, "top_p": 0.9, "top_k": 0},
    "repetition penalty 1.2": {"repetition_penalty": 1.2},
    "no 4-gram twice": {"no_repeat_ngram_size": 4},
}
CONTRASTIVE = "contrastive search"
_COPY_ROWS, _COPY_LENGTH = 16, 24


@dataclass(frozen=True)
class Setting:
    """What all arms on one model share.

    `folder` holds the model, in the files of transformers or as one GGUF; `last_layers` limits
    training to so many of its blocks. Repeated sentences have at most `longest_sentence` words, so
    that all copies stay within the places that the model knows. Perplexity is that of the first
    `fit_tokens` of the test text, noted after the updates in `looks` as well; prefixes come from
    all of that text.
    """

    name: Literal["small", "smollm2"]
    folder: Path
    text_folder: Path
    plan: FineTuning
    last_layers: int | None
    n_sentences: int
    n_copies: int
    longest_sentence: int
    n_prefixes: int
    prefix_tokens: int
    new_tokens: int
    fit_tokens: int
    looks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one arm gave with one seed. `written` has the first greedy continuations as text.

    `at_updates` holds perplexity after so many updates. `arm` is None for the model before any.
    """

    arm: str | None
    seed: int
    fit: Fit
    random_copying: float
    curve: Reinforcement
    repetition: dict[str, Repetition]
    written: list[str]
    prompts: list[str]
    at_updates: dict[int, float] = field(default_factory=dict)
    ditto_share: float | None = None
    fallbacks: int = 0
    seconds: float = 0.0


Job = tuple[Setting, Arm | None, int, tuple[str, ...]]


@dataclass(frozen=True)
class Base:
    """A small GPT that has to be trained, into `folder`, before the arms that start from it.

    `characters` limits it to the beginning of each text.
    """

    folder: Path
    text_folder: Path
    abstracts_folder: Path
    plan: PretrainingPlan
    seed: int = 0
    vocabulary: int = VOCABULARY
    config: TinyGptConfig = SIZE
    characters: int | None = None


def train_base(base: Base) -> list[float]:
    """Trains the base into its folder; the loss of every update, in nats per token."""
    use_threads(1)
    texts = [read_wikitext(base.text_folder)[0], read_abstracts(base.abstracts_folder)]
    model, tokenizer, losses = train_small_lm(
        [text[: base.characters] for text in texts],
        base.plan,
        vocabulary=base.vocabulary,
        config=base.config,
        seed=base.seed,
    )
    save_tiny_gpt(model, tokenizer, base.folder)
    return losses


def run_all(
    jobs: Sequence[Job], processes: int, base: Base | None = None
) -> Iterator[tuple[Job, Outcome]]:
    """Every job's outcome, as they are done; those on the base's model after it is trained.

    A failed one raises its own error. With one process everything is done in this one, in order.
    """
    early = [job for job in jobs if base is None or job[0].folder != base.folder]
    late = [job for job in jobs if job not in early]
    if processes <= 1:
        if base is not None:
            train_base(base)
        for job in jobs:
            yield job, run_arm(*job)
        return
    # Spawned, not forked: a fork after torch has started threads can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            training = None if base is None else pool.submit(train_base, base)
            waiting = {pool.submit(run_arm, *job): job for job in early}
            if training is not None:
                training.result()
            waiting |= {pool.submit(run_arm, *job): job for job in late}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def run_arm(setting: Setting, arm: Arm | None, seed: int, decodings: tuple[str, ...]) -> Outcome:
    """Fine-tunes the setting's model as the arm says (not at all for None) and measures it."""
    use_threads(1)
    model, tokenizer = load(setting)
    train, test = (
        torch.tensor(tokenizer(text)["input_ids"]) for text in read_wikitext(setting.text_folder)
    )
    if arm is None:
        return measure(setting, model, tokenizer, test, None, seed, decodings)
    if setting.last_layers is not None:
        train_last_layers(model, setting.last_layers)
    at_updates: dict[int, float] = {}

    def look(update: int) -> None:
        if update in setting.looks:
            at_updates[update] = _fit(setting, model, test).perplexity

    ends = end_token_ids(tokenizer)
    started = time.monotonic()
    trained = fine_tune(model, train, arm, setting.plan, ends, seed=seed, on_update=look)
    seconds = time.monotonic() - started
    return replace(
        measure(setting, model, tokenizer, test, arm.name, seed, decodings),
        at_updates=at_updates,
        ditto_share=trained.ditto_updates / setting.plan.updates,
        fallbacks=trained.fallbacks,
        seconds=seconds,
    )


def load(setting: Setting) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The setting's model, in float32 and evaluation mode, and its tokenizer."""
    if any(setting.folder.glob("*.gguf")):
        return load_language_model(setting.folder)
    return load_tiny_gpt(setting.folder)


def measure(
    setting: Setting,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    test: Tensor,
    arm: str | None,
    seed: int,
    decodings: Sequence[str],
) -> Outcome:
    """Everything measured of one model: fit, copying, the curve, and what it writes."""
    model.eval()
    ends = end_token_ids(tokenizer)
    test_text = read_wikitext(setting.text_folder)[1]
    curve = self_reinforcement(
        model,
        tokenizer,
        sentences_of_text(
            test_text, setting.n_sentences, shortest=6, longest=setting.longest_sentence
        ),
        n_repeats=setting.n_copies,
    )
    prefixes = prefixes_of(test, setting.n_prefixes, setting.prefix_tokens)
    written = {name: decoder(name)(model, prefixes, setting.new_tokens, seed) for name in decodings}
    shown = written[decodings[0]][:3]
    return Outcome(
        arm=arm,
        seed=seed,
        fit=_fit(setting, model, test),
        random_copying=random_copy_accuracy(
            model, ordinary_ids(tokenizer), rows=_COPY_ROWS, length=_COPY_LENGTH, seed=seed
        ),
        curve=curve,
        repetition={name: repetition_metrics(rows, ends) for name, rows in written.items()},
        written=[tokenizer.decode(ids) for ids in shown],
        prompts=[tokenizer.decode(ids) for ids in prefixes[: len(shown)]],
    )


def decoder(name: str) -> Callable[[PreTrainedModel, Tensor, int, int], list[list[int]]]:
    """The function (model, prefixes, new tokens, seed) that decodes in the way of that name."""

    def generated(
        model: PreTrainedModel, prefixes: Tensor, n_new: int, seed: int
    ) -> list[list[int]]:
        if name == CONTRASTIVE:
            return contrastive_search(model, prefixes, n_new)[:, prefixes.shape[1] :].tolist()
        # Sampling draws from the global state; a fork leaves the caller's as it is.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return continuations(model, prefixes, n_new, **DECODINGS[name])

    return generated


def text_itself(setting: Setting) -> Repetition:
    """How repetitive the held-out text is where the models were to continue it."""
    if any(setting.folder.glob("*.gguf")):
        tokenizer = load_tokenizer(setting.folder)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(setting.folder, local_files_only=True)
    test = torch.tensor(tokenizer(read_wikitext(setting.text_folder)[1])["input_ids"])
    whole = prefixes_of(test, setting.n_prefixes, setting.prefix_tokens + setting.new_tokens)
    return repetition_metrics(whole[:, setting.prefix_tokens :].tolist(), end_token_ids(tokenizer))


def _fit(setting: Setting, model: PreTrainedModel, test: Tensor) -> Fit:
    return fit_to_text(model, test[: setting.fit_tokens], setting.plan.context)
