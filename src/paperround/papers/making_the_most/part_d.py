"""Part D measured: modes of language models, and modes given what the text is wanted to be.

On small Markov models everything is checked against enumeration, and the argument on noise is
played through. A translator is asked for its exact modes and for outputs of given lengths.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import MarianMTModel

from paperround.kit.translation import Pair, chrf, length_limit
from paperround.papers.making_the_most.attributes import Length
from paperround.papers.making_the_most.conditional_search import conditional_beam_search
from paperround.papers.making_the_most.exact_search import (
    ExactModes,
    Mode,
    enumerate_modes,
    exact_mode,
)
from paperround.papers.making_the_most.markov import (
    MarkovLengths,
    MarkovLM,
    layered_markov_lm,
    random_markov_lm,
)
from paperround.papers.making_the_most.prefix_classifier import (
    Continuations,
    FitPlan,
    PrefixClassifier,
    fit_length_classifier,
    sample_continuations,
)
from paperround.papers.making_the_most.prefix_scores import PrefixScorer, Tokens
from paperround.papers.making_the_most.translation_task import TranslationTask
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

# What the thesis argues with.
NOISE = 1e-6
# Three places with this many words each: 120^-3 is below the noise.
N_CHOICES, N_PLACES = 120, 3
N_ENUMERABLE_WORDS, LONGEST = 3, 4
_SAME = 1e-5
_PREFIXES_AT_ONCE = 256


@dataclass(frozen=True)
class SearchSize:
    """How much is searched on the translator, for each seed."""

    # Sources whose modes over all lengths are sought, and the shortest ones with the reference's.
    n_modes: int
    node_limit: int
    n_short: int
    short_node_limit: int
    # Sources and lengths for the conditional beam.
    n_beam: int
    ratios: tuple[float, ...]
    num_beams: int
    # What the classifier of lengths learns from.
    n_sources: int
    n_samples: int
    n_classes: int
    fit: FitPlan


@dataclass(frozen=True)
class Size:
    """How many small languages for each seed, and what is done with a translator."""

    n_languages: int
    n_narrow: int
    search: SearchSize | None


SIZES: Mapping[Scale, Size] = {
    Scale.QUICK: Size(n_languages=3, n_narrow=3, search=None),
    Scale.STANDARD: Size(
        n_languages=10,
        n_narrow=10,
        search=SearchSize(
            n_modes=6,
            node_limit=1_000,
            n_short=4,
            short_node_limit=5_000,
            n_beam=8,
            ratios=(0.6, 0.8, 1.0, 1.2),
            num_beams=4,
            n_sources=200,
            n_samples=4,
            n_classes=24,
            fit=FitPlan(steps=400),
        ),
    ),
}


def measure_d(run: Run, task: TranslationTask, translator: MarianMTModel | None) -> None:
    """Measures the claims of part D that this scale can."""
    measure(run, task, translator, SIZES[run.scale])


def measure(run: Run, task: TranslationTask, translator: MarianMTModel | None, size: Size) -> None:
    """The small languages, and what a translator is searched for where there is one."""
    n_violations = small_languages(run, size.n_languages)
    noise(run)
    narrow_beams(run, size.n_narrow)
    if size.search is not None and translator is not None:
        exact_modes_of_translator(run, task, translator, size.search)
        n_violations += lengths_of_translator(run, task, translator, size.search)
    run.measure("attribute-kept", n_violations, baseline=0)


def small_languages(run: Run, n_languages: int) -> int:
    """Measures both searches against enumeration; how many outputs had the wrong length."""
    n_violations = 0
    with run.stage("enumerate small languages", len(run.seeds) * n_languages) as stage:
        for seed in run.seeds:
            n_exact, n_conditional, n_lengths = 0, 0, 0
            for number in range(n_languages):
                model = random_markov_lm(N_ENUMERABLE_WORDS, 1_000 * seed + number)
                expected = enumerate_modes(model, model.prompt, max_length=LONGEST)
                found = exact_mode(model, model.prompt, max_length=LONGEST)
                n_exact += found.is_exact and _same_modes(found, expected)
                for n, mode in enumerate(expected.by_length):
                    assert mode is not None
                    tokens, log_prob = _of_length(
                        model, n, N_ENUMERABLE_WORDS**n, MarkovLengths(model, LONGEST + 1)
                    )
                    n_violations += len(tokens) != n
                    n_conditional += abs(log_prob - mode.log_prob) < _SAME
                    n_lengths += 1
                stage.advance()
            run.measure("exact-mode", n_exact / n_languages, baseline=1.0, seed=seed)
            run.measure("conditional-mode", n_conditional / n_lengths, baseline=1.0, seed=seed)
    return n_violations


def noise(run: Run) -> None:
    """Measures what a millionth of empty texts does to the mode of a perfect model."""
    rows: list[list[str | float | int]] = []
    with run.stage("search languages with noise", len(run.seeds)) as stage:
        for seed in run.seeds:
            clean = layered_markov_lm(N_PLACES, N_CHOICES, seed, spread=0.02)
            noisy = clean.with_empty_noise(NOISE)
            without, with_noise = (
                exact_mode(model, model.prompt, max_length=N_PLACES, batch_size=512)
                for model in (clean, noisy)
            )
            text = with_noise.by_length[N_PLACES]
            assert text is not None
            shown = (
                with_noise.is_exact
                and with_noise.best.tokens == ()
                and text.tokens == clean.mode_of_length(N_PLACES)[0]
            )
            run.measure(
                "noise-is-the-mode",
                float(shown),
                baseline=float(without.best.tokens == ()),
                seed=seed,
            )
            for name, found in (("none", without), (f"{NOISE:g} empty texts", with_noise)):
                mode, given_text = found.best, found.by_length[N_PLACES]
                assert given_text is not None
                rows.append(
                    [
                        seed,
                        name,
                        len(mode.tokens),
                        mode.log_prob,
                        given_text.log_prob,
                        found.n_nodes,
                    ]
                )
            stage.advance()
    run.table(
        f"D: modes of a perfect model of texts of {N_PLACES} words, {N_CHOICES} choices each",
        [
            "seed",
            "noise",
            "words in the mode",
            "log p of the mode",
            "log p of the likeliest text",
            "prefixes visited",
        ],
        rows,
        note="Found by exact search. Nobody would call the empty text typical: one in a million is",
    )
    lengths = range(1, 7)
    run.series(
        "D: why longer texts have empty modes",
        {
            f"likeliest text, {n_choices} choices a word": [
                (n, layered_markov_lm(n, n_choices, 0).mode_of_length(n)[1]) for n in lengths
            ]
            for n_choices in (10, 30, N_CHOICES)
        }
        | {f"the empty text, {NOISE:g} of the data": [(n, math.log(NOISE)) for n in lengths]},
        x_label="words in a text",
        y_label="log-probability, nats",
        note="Exact. Where a line falls below the level one, the mode of the language is empty",
    )


def narrow_beams(run: Run, n_languages: int) -> None:
    """Shows how far beams fall short of the exact conditional mode, with and without posterior."""
    n, widths = 6, (1, 2, 4, 8)
    lines: dict[str, list[tuple[float, float]]] = {"lambda 0": [], "lambda 1, true posterior": []}
    with run.stage("search with narrow beams", len(widths)) as stage:
        for width in widths:
            gaps: dict[str, list[float]] = {name: [] for name in lines}
            for seed in run.seeds:
                for number in range(n_languages):
                    model = random_markov_lm(8, 1_000 * seed + number, end=0.15, spread=2.0)
                    best = model.mode_of_length(n)[1]
                    posterior = MarkovLengths(model, n + 1)
                    for name, given in zip(lines, (None, posterior), strict=True):
                        gaps[name].append(best - _of_length(model, n, width, given)[1])
            for name, of_width in gaps.items():
                lines[name].append((width, fmean(of_width)))
            stage.advance()
    run.series(
        f"D: what a beam misses of the likeliest text of {n} words",
        lines,
        x_label="beams",
        y_label="log p of the conditional mode - log p found, nats",
        x_log=True,
        note=f"Means over {n_languages * len(run.seeds)} random Markov models of 8 words; both end "
        "where they must, lambda 1 also sees where a prefix leads",
    )


def exact_modes_of_translator(
    run: Run, task: TranslationTask, translator: MarianMTModel, size: SearchSize
) -> None:
    """Measures empty modes by source length, and modes of the reference's length."""
    by_length = sorted(task.test, key=lambda pair: len(task.words(pair.source)))
    # Evenly over all lengths; every seed its own, so that none is searched twice.
    n_wanted = size.n_modes * len(run.seeds)
    spread = [by_length[i * len(by_length) // n_wanted] for i in range(n_wanted)]
    empty: list[bool] = []
    rows: list[list[str | float | int]] = []
    n_open = 0
    with run.stage("exact modes of the translator", n_wanted) as stage:
        for pair in spread:
            source = _source(task, pair.source)
            found = exact_mode(
                translator,
                source,
                max_length=length_limit(source.shape[1]),
                lengths=(),
                node_limit=size.node_limit,
                batch_size=_PREFIXES_AT_ONCE,
            )
            empty.append(found.best.tokens == ())
            n_open += not found.is_exact or found.longer_is_possible
            stage.advance()
    third = len(empty) // 3
    shares = [fmean(empty[place : place + third]) for place in (0, third, 2 * third)]
    run.measure("empty-modes", shares[2] - shares[0], baseline=shares[0])
    for name, share, pairs in zip(
        ("shortest third", "middle third", "longest third"),
        shares,
        (spread[:third], spread[third : 2 * third], spread[2 * third :]),
        strict=True,
    ):
        rows.append([name, fmean(len(task.words(pair.source)) for pair in pairs), share])
    run.table(
        "D: empty modes of the translator by the length of the source",
        ["sources", "mean length, tokens", "share of empty modes"],
        rows,
        note=f"{len(spread)} test sources, at most {size.node_limit} prefixes each; in {n_open} of "
        "them the limit came first, and the best text that was seen stands for the mode",
    )
    modes_of_reference_length(run, task, translator, size)


def modes_of_reference_length(
    run: Run, task: TranslationTask, translator: MarianMTModel, size: SearchSize
) -> None:
    """Measures how good modes of the reference's length are beside the modes over all lengths."""
    short = sorted(task.test, key=lambda pair: len(task.words(pair.target)))
    short = short[: size.n_short * len(run.seeds)]
    # The pair, its mode, its mode of the reference's length.
    found_modes: list[tuple[Pair, Mode, Mode]] = []
    n_open = 0
    with run.stage("modes of the reference's length", len(short)) as stage:
        for pair in short:
            n = len(task.words(pair.target))
            found = exact_mode(
                translator,
                _source(task, pair.source),
                max_length=n,
                lengths=[n],
                node_limit=size.short_node_limit,
                batch_size=_PREFIXES_AT_ONCE,
            )
            of_length = found.by_length[n]
            if found.is_exact and of_length is not None:
                found_modes.append((pair, found.best, of_length))
            else:
                n_open += 1
            stage.advance()
    if not found_modes:
        run.note(
            f"D: the mode of the reference's length was found in none of {len(short)} sources "
            f"within {size.short_node_limit} prefixes; conditional-modes-better is not measured"
        )
        return
    references = [pair.target for pair, _, _ in found_modes]
    modes = [task.text(mode.tokens) for _, mode, _ in found_modes]
    conditional = [task.text(mode.tokens) for _, _, mode in found_modes]
    over_all, given = chrf(modes, references), chrf(conditional, references)
    run.measure("conditional-modes-better", given - over_all, baseline=over_all)
    run.table(
        "D: exact modes of short sources",
        ["mode", "chrF", "mean length, tokens"],
        [
            [
                "over all lengths up to the reference's",
                over_all,
                fmean(len(mode.tokens) for _, mode, _ in found_modes),
            ],
            [
                "of the reference's length",
                given,
                fmean(len(task.words(text)) for text in references),
            ],
        ],
        note=f"{len(references)} of the {len(short)} test sources with the shortest references; in "
        f"the {n_open} others {size.short_node_limit} prefixes were not enough",
    )
    # The last one is the longest.
    pair, mode, of_length = found_modes[-1]
    run.sample(
        "D: exact modes of a translator",
        {
            "source": pair.source,
            "reference": pair.target,
            "mode over all lengths": modes[-1] or "(empty)",
            "mode of the reference's length": conditional[-1],
        },
        note=f"Log-probabilities {mode.log_prob:.2f} and {of_length.log_prob:.2f}",
    )


def lengths_of_translator(
    run: Run, task: TranslationTask, translator: MarianMTModel, size: SearchSize
) -> int:
    """Measures the conditional beam against a forced one; how many lengths were not kept."""
    classifier = length_classifier(run, task, translator, size)
    n_violations = 0
    tallies: dict[float, list[float]] = {ratio: [] for ratio in size.ratios}
    over_truncated: dict[float, list[float]] = {ratio: [] for ratio in size.ratios}
    total = len(run.seeds) * size.n_beam
    with run.stage("search for outputs of given lengths", total) as stage:
        for place, seed in enumerate(run.seeds):
            differing: list[bool] = []
            for pair in task.test[place * size.n_beam : (place + 1) * size.n_beam]:
                source = _source(task, pair.source)
                scorer = PrefixScorer(translator, source)
                plain = _plain_beam(translator, source, size.num_beams)
                n_reference = len(task.words(pair.target))
                for ratio in size.ratios:
                    n = max(1, round(ratio * n_reference))
                    ours, forced = (
                        _length_on_translator(
                            translator, source, n, size.num_beams, lam, classifier
                        )
                        for lam in (1.0, 0.0)
                    )
                    n_violations += len(ours) != n
                    gain = scorer.log_prob(ours) - scorer.log_prob(forced)
                    tallies[ratio].append(gain)
                    over_truncated[ratio].append(
                        scorer.log_prob(ours) - scorer.log_prob(_truncated(scorer, plain, n))
                    )
                    if n != n_reference and abs(gain) > _SAME:
                        differing.append(gain > 0)
                stage.advance()
            run.measure(
                "likelier-at-a-length",
                fmean(differing) if differing else 0.5,
                baseline=0.5,
                seed=seed,
            )
    run.table(
        f"D: outputs of a given length, {size.num_beams} beams, {total} test sources",
        [
            "length over the reference's",
            "likelier",
            "the same",
            "less likely",
            "mean gain, nats",
            "mean gain over truncation, nats",
        ],
        [
            [
                ratio,
                sum(gain > _SAME for gain in gains),
                sum(abs(gain) <= _SAME for gain in gains),
                sum(gain < -_SAME for gain in gains),
                fmean(gains),
                fmean(over_truncated[ratio]),
            ]
            for ratio, gains in tallies.items()
        ],
        note="Conditional beam search against beam search that may not end before the length and "
        "must end at it, the stronger baseline; truncation cuts the plain beam's output there, or "
        "goes on greedily to it",
    )
    return n_violations


def length_classifier(
    run: Run, task: TranslationTask, translator: MarianMTModel, size: SearchSize
) -> PrefixClassifier:
    """A classifier of how many tokens follow, from what the translator itself writes."""
    sources = sorted(
        (task.tokenizer(pair.source)["input_ids"] for pair in task.train[: size.n_sources]),
        key=len,
    )
    parts: list[Continuations] = []
    batch = 50
    # One limit for all, so that batches can be joined.
    limit = length_limit(max(map(len, sources)))
    with run.stage("sample translations for the classifier", len(sources)) as stage:
        for start in range(0, len(sources), batch):
            rows = sources[start : start + batch]
            padded = task.tokenizer.pad({"input_ids": rows}, return_tensors="pt")
            parts.append(
                sample_continuations(
                    translator,
                    {name: padded[name] for name in ("input_ids", "attention_mask")},
                    n=size.n_samples,
                    max_new_tokens=limit,
                    seed=run.seeds[0] + start,
                )
            )
            stage.advance(len(rows))
    with run.stage("fit the classifier", size.fit.steps) as stage:
        return fit_length_classifier(
            translator,
            Continuations.joined(parts),
            size.n_classes,
            size.fit,
            seed=run.seeds[0],
            on_step=lambda loss: stage.advance(),
        )


def _same_modes(found: ExactModes, expected: ExactModes) -> bool:
    pairs = zip(found.by_length, expected.by_length, strict=True)
    same = all(
        mine is not None and theirs is not None and abs(mine.log_prob - theirs.log_prob) < _SAME
        for mine, theirs in pairs
    )
    return same and abs(found.best.log_prob - expected.best.log_prob) < _SAME


def _of_length(
    model: MarkovLM, n: int, num_beams: int, posterior: MarkovLengths | None
) -> tuple[Tokens, float]:
    """The best text of n words that the beam finds, and its log-probability."""
    found = conditional_beam_search(
        model, model.prompt, Length(n, posterior), num_beams=num_beams, max_new_tokens=n + 1
    )
    length = int(found.lengths[0])
    return tuple(found.sequences[0, 1:length].tolist()), float(found.log_probs[0])


def _source(task: TranslationTask, text: str) -> torch.Tensor:
    return torch.tensor([task.tokenizer(text)["input_ids"]])


def _length_on_translator(
    translator: MarianMTModel,
    source: torch.Tensor,
    n: int,
    num_beams: int,
    lam: float,
    classifier: PrefixClassifier,
) -> Tokens:
    found = conditional_beam_search(
        translator,
        source,
        Length(n, classifier if lam else None),
        num_beams=num_beams,
        lam=lam,
        max_new_tokens=n + 1,
    )
    return tuple(found.sequences[0, 1 : int(found.lengths[0])].tolist())


def _plain_beam(translator: MarianMTModel, source: torch.Tensor, num_beams: int) -> Tokens:
    rows = translator.generate(
        source,
        num_beams=num_beams,
        do_sample=False,
        length_penalty=0.0,
        max_new_tokens=length_limit(source.shape[1]),
    )
    special = {translator.config.eos_token_id, translator.config.pad_token_id}
    return tuple(token for token in rows[0, 1:].tolist() if token not in special)


def _truncated(scorer: PrefixScorer, tokens: Tokens, n: int) -> Tokens:
    """The first n tokens, or greedily more where there are fewer."""
    text = tokens[:n]
    while len(text) < n:
        log_probs = scorer.next_log_probs([text])[0]
        log_probs[sorted(scorer.eos)] = -torch.inf
        text = (*text, int(log_probs.argmax()))
    return text
