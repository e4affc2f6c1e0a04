"""Part C measured: a non-autoregressive translator that starts from masked language models.

The masked language model is trained in the run, on the texts of both languages, and never told
which ones translate each other; then every arm gets as many SUNDAE updates on the same pairs in
the same order. What a seed draws: the weights of the arm that starts at random, the batches, the
corruption.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    MarianMTModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from paperround.kit.language_models.timing import counted_passes
from paperround.kit.translation import bleu, chrf, translate_ids
from paperround.papers.making_the_most.masked_lm import (
    MaskedLMPlan,
    MaskedLMSize,
    build_masked_lm,
    train_masked_lm,
)
from paperround.papers.making_the_most.sundae import SpecialTokens, SundaeSeq2Seq
from paperround.papers.making_the_most.sundae_decoding import generate
from paperround.papers.making_the_most.sundae_training import (
    SundaePlan,
    train_sundae,
    validation_loss,
)
from paperround.papers.making_the_most.translation_task import TranslationTask
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

PRETRAINED, RANDOM, ENCODER_ONLY = (
    "masked language models",
    "random weights",
    "masked language model as encoder only",
)
# The number of steps that the claim on chrF is about.
MOST_STEPS = 10


@dataclass(frozen=True)
class Size:
    """How large the models are, how long they train, how many steps are tried at decoding."""

    model: MaskedLMSize
    masked_lm: MaskedLMPlan
    sundae: SundaePlan
    decoding_steps: tuple[int, ...]
    temperature: float
    n_lengths: int
    # Arms beside the two of the claims, for the first seed.
    with_encoder_only: bool


SIZES: Mapping[Scale, Size] = {
    Scale.QUICK: Size(
        model=MaskedLMSize(d_model=64, n_layers=2, n_heads=4, d_ffn=128, max_positions=32),
        masked_lm=MaskedLMPlan(steps=160, batch_size=64, learning_rate=4e-3),
        sundae=SundaePlan(steps=18, batch_size=32, learning_rate=3e-3),
        decoding_steps=(1, 10),
        temperature=0.1,
        n_lengths=1,
        with_encoder_only=False,
    ),
    Scale.STANDARD: Size(
        model=MaskedLMSize(),
        masked_lm=MaskedLMPlan(steps=300, batch_size=64),
        sundae=SundaePlan(steps=100, batch_size=32, learning_rate=1.5e-3),
        decoding_steps=(1, 4, 10),
        temperature=0.1,
        n_lengths=1,
        with_encoder_only=True,
    ),
}


@dataclass(frozen=True)
class Arm:
    """What one start came to: losses of its updates, on validation texts, and its translations."""

    name: str
    seed: int
    losses: list[float]
    validation: float
    # By the number of decoding steps.
    translations: dict[int, list[str]]
    seconds: dict[int, float]

    def chrf(self, references: Sequence[str], steps: int) -> float:
        """Of the whole test part, 0 to 100."""
        return chrf(self.translations[steps], references)


def measure_c(run: Run, task: TranslationTask, translator: MarianMTModel | None) -> None:
    """Measures the claims of part C that this scale can.

    `translator` is the autoregressive one that the same data trained, shown beside where it is.
    """
    if run.scale is Scale.QUICK:
        masked_models_kept(run)
    study(run, task, translator, SIZES[run.scale])


def study(run: Run, task: TranslationTask, translator: MarianMTModel | None, size: Size) -> None:
    """Trains every arm and shows what each came to."""
    special, first = task.special, run.seeds[0]
    masked_lm = build_masked_lm(len(task.tokenizer), special, size.model, seed=first)
    train = task.ids(task.train)
    started = time.perf_counter()
    with run.stage("train a masked language model", size.masked_lm.steps) as stage:
        masked_losses = train_masked_lm(
            masked_lm,
            [side for pair in train for side in pair],
            special,
            task.tokenizer.mask_token_id,
            size.masked_lm,
            seed=first,
            on_step=lambda loss: stage.advance(),
        )
    masked_seconds = time.perf_counter() - started
    arms = []
    for seed in run.seeds:
        starts = [PRETRAINED, RANDOM]
        if size.with_encoder_only and seed == first:
            starts.append(ENCODER_ONLY)
        for name in starts:
            blank = build_masked_lm(len(task.tokenizer), special, size.model, seed=1_000 + seed)
            encoder = blank if name == RANDOM else masked_lm
            decoder = masked_lm if name == PRETRAINED else blank
            model = SundaeSeq2Seq.from_mlm(encoder, decoder, special=special)
            arms.append(trained_arm(run, task, train, model, name, seed, size))
    references = [pair.target for pair in task.test]
    by_seed = {(arm.name, arm.seed): arm for arm in arms}
    quick = run.scale is Scale.QUICK
    for seed in run.seeds:
        ours, theirs = by_seed[PRETRAINED, seed], by_seed[RANDOM, seed]
        ratio = ours.validation / theirs.validation
        run.measure(
            "pretrained-loss-invented" if quick else "pretrained-loss",
            ratio,
            baseline=theirs.validation,
            seed=seed,
        )
        if quick:
            continue
        many, one = ours.chrf(references, MOST_STEPS), ours.chrf(references, 1)
        random = theirs.chrf(references, MOST_STEPS)
        run.measure("pretrained-chrf", many - random, baseline=random, seed=seed)
        run.measure("more-steps", many - one, baseline=one, seed=seed)
    show(run, task, arms, translator, size, (masked_losses, masked_seconds))


def trained_arm(
    run: Run,
    task: TranslationTask,
    train: list[tuple[list[int], list[int]]],
    model: SundaeSeq2Seq,
    name: str,
    seed: int,
    size: Size,
) -> Arm:
    """The arm after its updates."""
    with run.stage(f"SUNDAE from {name}, seed {seed}", size.sundae.steps) as stage:
        losses = train_sundae(
            model, train, size.sundae, seed=seed, on_step=lambda loss: stage.advance()
        )
    sources = [task.words(pair.source) for pair in task.test]
    translations, seconds = {}, {}
    with run.stage(f"translate, seed {seed}", len(size.decoding_steps) + 1) as stage:
        validation = validation_loss(model, task.ids(task.validation))
        stage.advance()
        for n_steps in size.decoding_steps:
            started = time.perf_counter()
            written = generate(
                model,
                sources,
                n_steps=n_steps,
                temperature=size.temperature,
                n_candidates=size.n_lengths,
                seed=seed,
            )
            seconds[n_steps] = time.perf_counter() - started
            translations[n_steps] = [task.text(one.tokens) for one in written]
            stage.advance()
    return Arm(name, seed, losses, validation, translations, seconds)


def show(
    run: Run,
    task: TranslationTask,
    arms: Sequence[Arm],
    translator: MarianMTModel | None,
    size: Size,
    pretraining: tuple[list[float], float],
) -> None:
    """The tables, the chart and a sample of part C."""
    references = [pair.target for pair in task.test]
    texts = {"source": task.test[0].source, "reference": references[0]}
    rows: list[list[str | float | int | None]] = []
    if translator is not None:
        sources = [task.tokenizer(pair.source)["input_ids"] for pair in task.test]
        started = time.perf_counter()
        with counted_passes(translator.model.decoder) as count:
            greedy = [task.text(ids) for ids in translate_ids(translator, sources)]
        seconds = time.perf_counter() - started
        rows.append(
            [
                "left to right, greedy",
                None,
                count.passes,
                chrf(greedy, references),
                bleu(greedy, references),
                1000 * seconds / len(references),
            ]
        )
        texts["left to right"] = greedy[0]
    names = list(dict.fromkeys(arm.name for arm in arms))
    for name in names:
        of_name = [arm for arm in arms if arm.name == name]
        for n_steps in size.decoding_steps:
            rows.append(
                [
                    f"SUNDAE from {name}, {n_steps} steps",
                    fmean(arm.validation for arm in of_name),
                    n_steps + 1,
                    fmean(arm.chrf(references, n_steps) for arm in of_name),
                    fmean(bleu(arm.translations[n_steps], references) for arm in of_name),
                    1000 * fmean(arm.seconds[n_steps] for arm in of_name) / len(references),
                ]
            )
    losses, masked_seconds = pretraining
    run.table(
        f"C: translation by all words at once: {task.name}, {len(references)} test texts",
        ["model", "SUNDAE loss", "decoder passes", "chrF", "BLEU", "ms a text"],
        rows,
        note=(
            f"SUNDAE arms: {size.sundae.steps} updates of {size.sundae.batch_size} pairs, means "
            f"over seeds; lengths tried: the {size.n_lengths} likeliest, one pass more scores "
            f"the texts. Before, the masked language model took {len(losses)} updates, "
            f"{masked_seconds:.0f} s, which the arm from random weights did not get. Passes from "
            "left to right: of all batches"
        ),
    )
    first = run.seeds[0]
    every = max(1, size.sundae.steps // 40)
    run.series(
        "C: SUNDAE loss while training",
        {
            arm.name: [
                (step + 1, fmean(arm.losses[max(0, step + 1 - every) : step + 1]))
                for step in range(every - 1, len(arm.losses), every)
            ]
            for arm in arms
            if arm.seed == first
        },
        x_label="updates",
        y_label="loss, nats a word",
        note=f"Seed {first}; means over {every} updates",
    )
    ours = next(arm for arm in arms if arm.name == PRETRAINED and arm.seed == first)
    run.sample(
        "C: a text in a few steps",
        texts
        | {f"{n_steps} steps": ours.translations[n_steps][0] for n_steps in size.decoding_steps},
    )


def masked_models_kept(run: Run) -> None:
    """Measures that a decoder is its masked language model until it is trained."""
    sizes = {"vocab_size": 40, "pad_token_id": 1, "initializer_range": 0.4}
    wide = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 32,
    }
    narrow = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 32}
    special = SpecialTokens(1, 0, 2)
    with run.stage("compare with masked language models", len(run.seeds)) as stage:
        for seed in run.seeds:
            largest = 0.0
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                models: list[PreTrainedModel] = [
                    BertForMaskedLM(BertConfig(**sizes, **wide)),
                    RobertaForMaskedLM(RobertaConfig(**sizes, **wide)),
                    DistilBertForMaskedLM(DistilBertConfig(**sizes, **narrow)),
                ]
                texts = torch.randint(3, 40, (6, 9)).tolist()
            for masked_lm in models:
                model = SundaeSeq2Seq.from_mlm(masked_lm.eval(), special=special).eval()
                source, target = model.batch(texts[:3]), model.batch(texts[3:])
                with torch.inference_mode():
                    logits = model(target, model.encode(source), source)
                    expected = masked_lm(
                        input_ids=target.ids, attention_mask=target.mask.long()
                    ).logits
                largest = max(largest, float((logits - expected).abs().max()))
            run.measure("masked-model-kept", largest, baseline=0.0, seed=seed)
            stage.advance()
