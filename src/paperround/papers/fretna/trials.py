"""The models of the reproduction: one translator, and all arms that go on from it.

The translator (the teacher) is trained first, with prefixes. Every arm starts from its weights and
has the same number of further updates: the translator itself (re-translation), wait-k, and a
Levenshtein Transformer for each seed, which learns the teacher's translations. Each arm is a job of
its own, in a process where there are several, and its streams over the test sentences come back.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import orjson
from transformers import MarianMTModel, PreTrainedTokenizerFast

from paperround.kit.language_models import use_threads
from paperround.kit.translation import (
    Pair,
    TrainingPlan,
    TranslatorSize,
    distil,
    train_translator,
)
from paperround.papers.fretna.levt import LevenshteinTransformer
from paperround.papers.fretna.levt_training import train_levt
from paperround.papers.fretna.streaming import (
    Retranslator,
    Stream,
    stream_all,
    translate_prefixes,
)
from paperround.papers.fretna.wait_k import WaitK, train_wait_k

_PAIRS = {"pairs": "pairs.json", "distilled": "distilled.json", "test": "test.json"}
Kind = Literal["ar", "wait-k", "levt"]


@dataclass(frozen=True)
class Way:
    """One row of the comparison: a kind of model, and how it is used."""

    name: str
    kind: Literal["ar", "speculative", "wait-k", "levt"]
    refinements: int = 2
    append_bias: float = 0.0
    mask_k: int = 0
    from_previous: bool = True
    k: int = 3

    def retranslator(self, model: Any, tokenizer: PreTrainedTokenizerFast) -> Retranslator:
        """The retranslator of this way; not for wait-k."""
        assert self.kind != "wait-k"
        return Retranslator(
            model,
            tokenizer,
            self.kind,
            refinements=self.refinements,
            append_bias=self.append_bias,
            mask_k=self.mask_k,
            from_previous=self.from_previous,
        )

    def seconds_of(
        self, model: Any, tokenizer: PreTrainedTokenizerFast, source: str
    ) -> list[float]:
        """The seconds of each update of one source, made one by one."""
        if self.kind == "wait-k":
            return list(WaitK(model, tokenizer, self.k).stream_of(source).seconds)
        stream = self.retranslator(model, tokenizer).stream(source.split())
        return [shown.seconds for shown in stream]

    def streams(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        sources: Sequence[str],
        translations: list[list[list[int]]] | None = None,
    ) -> list[Stream]:
        """What is shown of each source; see `stream_all` for `translations`."""
        if self.kind == "wait-k":
            policy = WaitK(model, tokenizer, self.k)
            return [policy.stream_of(source) for source in sources]
        return stream_all(self.retranslator(model, tokenizer), sources, translations)


@dataclass(frozen=True)
class Job:
    """An arm to be trained from the teacher in `folder`, and the ways to run it."""

    folder: Path
    kind: Kind
    seed: int
    plan: TrainingPlan
    ways: tuple[Way, ...]

    @property
    def model_folder(self) -> Path:
        """Where its model is kept."""
        return self.folder / f"{self.kind}-{self.seed}"


@dataclass(frozen=True)
class Teaching:
    """The teacher to be trained, into `folder`."""

    folder: Path
    size: TranslatorSize
    plan: TrainingPlan
    seed: int
    n_distilled: int


def write_pairs(folder: Path, name: str, pairs: Sequence[Pair]) -> None:
    """Keeps pairs for the jobs, by the name under which they ask for them."""
    (folder / _PAIRS[name]).write_bytes(orjson.dumps([list(pair) for pair in pairs]))


def read_pairs(folder: Path, name: str) -> list[Pair]:
    """The pairs that were kept under that name."""
    return [Pair(*sides) for sides in orjson.loads((folder / _PAIRS[name]).read_bytes())]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that was saved in the folder."""
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def load_model(job: Job) -> MarianMTModel | LevenshteinTransformer:
    """The trained model of a job that is done."""
    kind = LevenshteinTransformer if job.kind == "levt" else MarianMTModel
    return kind.from_pretrained(job.model_folder, local_files_only=True).eval()


def load_teacher(folder: Path) -> MarianMTModel:
    """The trained teacher."""
    return MarianMTModel.from_pretrained(folder / "teacher", local_files_only=True).eval()


def teach(teaching: Teaching, on_step: Any = None) -> None:
    """Trains the teacher on the pairs of its folder and keeps it there."""
    model = train_translator(
        read_pairs(teaching.folder, "pairs"),
        load_tokenizer(teaching.folder),
        teaching.plan,
        teaching.size,
        seed=teaching.seed,
        on_progress=on_step,
    )
    model.save_pretrained(teaching.folder / "teacher")


def distil_part(folder: Path, start: int, stop: int) -> list[Pair]:
    """The teacher's translations of the pairs from `start` to `stop`."""
    use_threads(1)
    pairs = read_pairs(folder, "pairs")[start:stop]
    return distil(load_teacher(folder), load_tokenizer(folder), pairs)


def distil_all(teaching: Teaching, processes: int) -> None:
    """Keeps the teacher's translations of the first `n_distilled` pairs."""
    n = min(teaching.n_distilled, len(read_pairs(teaching.folder, "pairs")))
    if processes <= 1:
        made = distil_part(teaching.folder, 0, n)
    else:
        cuts = [n * i // processes for i in range(processes + 1)]
        # Spawned, not forked: a fork after torch has started threads can hang.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            parts = pool.map(distil_part, [teaching.folder] * processes, cuts[:-1], cuts[1:])
            made = [pair for part in parts for pair in part]
    write_pairs(teaching.folder, "distilled", made)


def run_job(job: Job) -> dict[str, list[Stream]]:
    """Trains the arm, keeps its model, and gives the streams of each of its ways."""
    use_threads(1)
    tokenizer = load_tokenizer(job.folder)
    teacher = load_teacher(job.folder)
    model: MarianMTModel | LevenshteinTransformer
    if job.kind == "ar":
        pairs = read_pairs(job.folder, "pairs")
        model = train_translator(pairs, tokenizer, job.plan, seed=job.seed, model=teacher)
    elif job.kind == "wait-k":
        pairs = read_pairs(job.folder, "pairs")
        model = train_wait_k(teacher, pairs, tokenizer, job.plan, seed=job.seed)
    else:
        start = LevenshteinTransformer.from_translator(
            teacher, placeholder_token_id=tokenizer.mask_token_id, seed=job.seed
        )
        pairs = read_pairs(job.folder, "distilled")
        model = train_levt(start, pairs, tokenizer, job.plan, seed=job.seed)
    model.save_pretrained(job.model_folder)
    sources = [pair.source for pair in read_pairs(job.folder, "test")]
    # The ways of re-translation differ in what they show of the same translations.
    shared = translate_prefixes(model, tokenizer, sources) if job.kind == "ar" else None
    return {way.name: way.streams(model, tokenizer, sources, shared) for way in job.ways}


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[str, list[Stream]]]]:
    """Every job and its streams, as they are done; a failed one raises its own error."""
    if processes <= 1:
        for job in jobs:
            yield job, run_job(job)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            waiting = {pool.submit(run_job, job): job for job in jobs}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
