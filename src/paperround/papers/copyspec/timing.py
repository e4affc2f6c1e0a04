"""The real model at work: texts, passes and seconds of SmolLM2-135M under every method."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.kit.language_models.timing import counted_passes, pass_timer
from paperround.papers.copyspec.baselines import greedy, layer_dropped, top_two_gap
from paperround.papers.copyspec.cost import CostModel, fit_cost
from paperround.papers.copyspec.generation import GenerateOutput, generate
from paperround.papers.copyspec.steps import DecodingStats, pool
from paperround.papers.copyspec.workloads import Prompt
from paperround.runs.reproduction import Run

# In float32 a pass over several tokens adds in another order than a pass over one, so that two
# logits closer than this may change places. Texts may part there and nowhere else.
_TIE = 1e-4
_N_BOOTSTRAP = 2_000
_VERIFY_LENGTHS = tuple(range(1, 12))
_N_CALIBRATION = 2
_N_DRAFTED = 2
# Of SmolLM2's 30 layers, those left out of the draft model. Without training afterwards, dropping
# as many as nine leaves a draft of which nothing is accepted.
_DROPPED_LAYERS = (14, 17, 20, 23, 25)
_N_DRAFT_TOKENS = 3

Same = Literal["same", "tie", "different"]


@dataclass(frozen=True)
class Size:
    """How much is decoded."""

    n_redundant: int
    n_open: int
    passage_tokens: int
    max_new_tokens: int


@dataclass(frozen=True)
class _Decoded:
    """One text: its ids with the prompt, the seconds and what it took."""

    sequence: list[int]
    seconds: float
    passes: int
    verified_tokens: int
    stats: DecodingStats | None = None


_Method = Callable[[Prompt], _Decoded]


def watch_it_decode(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    size: Size,
) -> None:
    """A few short prompts under greedy decoding, CopySpec and prompt lookup; shows the texts."""
    methods = _methods(model, size.max_new_tokens)
    methods = {name: methods[name] for name in ("greedy", "CopySpec", "prompt lookup")}
    decoded: dict[str, dict[str, _Decoded]] = {name: {} for name in methods}
    _warm_up(model)
    with run.stage("decode with SmolLM2-135M", len(prompts) * len(methods)) as stage:
        for prompt in prompts:
            for name, method in methods.items():
                decoded[name][prompt.name] = method(prompt)
                stage.advance()
            _show(run, tokenizer, prompt, decoded)
    output_unchanged(run, model, prompts, decoded)
    fewer_passes(run, prompts, decoded)
    _table_of_texts(run, prompts, decoded)
    _chart_of_passes(run, prompts[0], decoded)


def measure_seconds(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    size: Size,
) -> None:
    """Every prompt under every method, once per seed, with the orders mixed."""
    methods = _methods(model, size.max_new_tokens)
    _warm_up(model)
    baseline = _faster_greedy(run, methods, prompts[:_N_CALIBRATION])
    names = ("CopySpec", "prompt lookup")
    timed = {name: methods[name] for name in (baseline, *names)}
    seconds: dict[int, dict[str, dict[str, _Decoded]]] = {}
    with run.stage("time SmolLM2-135M", len(run.seeds) * len(prompts) * len(timed)) as stage:
        for seed in run.seeds:
            rng = np.random.default_rng(seed)
            decoded: dict[str, dict[str, _Decoded]] = {name: {} for name in timed}
            for prompt in prompts:
                for name in rng.permutation(list(timed)):
                    decoded[name][prompt.name] = timed[name](prompt)
                    stage.advance()
            seconds[seed] = decoded
    last = seconds[run.seeds[-1]]
    as_greedy = {
        seed: {"greedy": of_seed[baseline], **{name: of_seed[name] for name in names}}
        for seed, of_seed in seconds.items()
    }
    for seed, of_seed in as_greedy.items():
        output_unchanged(run, model, prompts, of_seed, seed)
    renamed = as_greedy[run.seeds[-1]]
    for prompt in (*prompts[:2], prompts[-1]):
        _show(run, tokenizer, prompt, renamed)
    fewer_passes(run, prompts, renamed)
    wall_clock(run, prompts, as_greedy)
    no_slow_down(run, prompts, as_greedy)
    _table_of_texts(run, prompts, renamed)
    _chart_of_passes(run, prompts[0], renamed)
    cost_model(run, model, prompts, last["CopySpec"], as_greedy)
    on_top_of_drafting(run, model, methods, prompts, size.max_new_tokens)


def output_unchanged(
    run: Run,
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    decoded: dict[str, dict[str, _Decoded]],
    seed: int | None = None,
) -> None:
    """Share of the methods' texts that are the greedy ones, ties in float32 allowed."""
    verdicts: list[Same] = [
        _compare(model, decoded["greedy"][prompt.name].sequence, texts[prompt.name].sequence)
        for name, texts in decoded.items()
        if name != "greedy"
        for prompt in prompts
    ]
    if ties := verdicts.count("tie"):
        run.note(f"{ties} of {len(verdicts)} texts part from the greedy one at a tie in float32.")
    share = 1 - verdicts.count("different") / len(verdicts)
    run.measure("output-unchanged", share, baseline=1.0, seed=seed)


def fewer_passes(
    run: Run, prompts: Sequence[Prompt], decoded: dict[str, dict[str, _Decoded]]
) -> None:
    """Forward passes of greedy decoding over CopySpec's on the redundant prompts."""
    redundant = [prompt.name for prompt in prompts if prompt.redundant]
    plain, copying = (
        sum(decoded[method][name].passes for name in redundant) for method in ("greedy", "CopySpec")
    )
    run.measure("fewer-passes", plain / copying, baseline=plain)


def wall_clock(
    run: Run,
    prompts: Sequence[Prompt],
    by_seed: dict[int, dict[str, dict[str, _Decoded]]],
) -> None:
    """The speed-up on redundant prompts, with its bootstrap interval over prompts, per repeat."""
    rows = []
    for redundant in (True, False):
        names = [prompt.name for prompt in prompts if prompt.redundant == redundant]
        for method in ("CopySpec", "prompt lookup"):
            for seed, decoded in by_seed.items():
                plain = np.array([decoded["greedy"][name].seconds for name in names])
                faster = np.array([decoded[method][name].seconds for name in names])
                low, high = bootstrap_ratio(plain, faster, seed)
                ratio = float(plain.sum() / faster.sum())
                kind = "repeat a passage" if redundant else "open"
                rows.append((kind, method, seed, ratio, low, high))
                if redundant and method == "CopySpec":
                    run.measure("wall-clock", low, baseline=1.0, seed=seed)
    run.table(
        "Speed-up over greedy decoding, in tokens per second",
        ("prompts", "method", "repeat", "speed-up", "95 % interval from", "to"),
        rows,
        note="Bootstrap over prompts, pairs kept; texts are equal, so seconds compare.",
    )


def no_slow_down(
    run: Run,
    prompts: Sequence[Prompt],
    by_seed: dict[int, dict[str, dict[str, _Decoded]]],
) -> None:
    """The speed-up where the answer does not repeat the prompt."""
    names = [prompt.name for prompt in prompts if not prompt.redundant]
    for seed, decoded in by_seed.items():
        plain, copying = (
            sum(decoded[method][name].seconds for name in names)
            for method in ("greedy", "CopySpec")
        )
        run.measure("no-slow-down", plain / copying, baseline=1.0, seed=seed)


def cost_model(
    run: Run,
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    copied: dict[str, _Decoded],
    by_seed: dict[int, dict[str, dict[str, _Decoded]]],
) -> None:
    """Latency by how many tokens a pass verifies, and what it predicts of the speed-up."""
    n_context, n_repeats = 256, 15
    lengths, seconds = [], []
    time_pass = pass_timer(model, n_context, max(_VERIFY_LENGTHS))
    with run.stage("latency by tokens per pass", n_repeats) as stage:
        for _ in range(n_repeats):
            for length in _VERIFY_LENGTHS:
                lengths.append(length)
                seconds.append(time_pass(length))
            stage.advance()
    # The fastest of the repeats: what else the machine did only adds.
    best = {
        length: min(s for n, s in zip(lengths, seconds, strict=True) if n == length)
        for length in _VERIFY_LENGTHS
    }
    fit = fit_cost(list(best), list(best.values()))
    run.series(
        "Latency of a forward pass",
        {
            f"measured, best of {n_repeats}": [(n, 1_000 * s) for n, s in best.items()],
            "fit": [(n, 1_000 * (fit.t0 + n * fit.t1)) for n in _VERIFY_LENGTHS],
        },
        x_label="tokens in the pass",
        y_label="milliseconds",
        note=f"SmolLM2-135M, {n_context} tokens in the cache, {run.threads} threads.",
    )
    _table_of_costs(run, fit, prompts, copied, by_seed)


def _table_of_costs(
    run: Run,
    fit: CostModel,
    prompts: Sequence[Prompt],
    copied: dict[str, _Decoded],
    by_seed: dict[int, dict[str, dict[str, _Decoded]]],
) -> None:
    rows: list[tuple[str, float]] = [
        ("t0, milliseconds per pass", 1_000 * fit.t0),
        ("t1, milliseconds per token", 1_000 * fit.t1),
        ("R² of the fit", fit.r_squared),
        ("accepted tokens at which copying 10 breaks even", fit.break_even(10)),
    ]
    for redundant, kind in ((True, "passages repeated"), (False, "open prompts")):
        names = [prompt.name for prompt in prompts if prompt.redundant == redundant]
        stats = pool([s for name in names if (s := copied[name].stats) is not None])
        measured = [
            sum(decoded["greedy"][name].seconds for name in names)
            / sum(decoded["CopySpec"][name].seconds for name in names)
            for decoded in by_seed.values()
        ]
        rows += [
            (f"accepted per attempt, {kind}", stats.accepted_per_attempt),
            (f"speed-up predicted, {kind}", fit.speed_up(stats)),
            (f"speed-up measured, {kind}", float(np.mean(measured))),
        ]
    run.table(
        "Cost model: seconds = passes · t0 + computed tokens · t1",
        ("figure", "value"),
        rows,
        note="Predictions leave out the pass over the prompt, measurements have it on both sides.",
    )


def on_top_of_drafting(
    run: Run,
    model: PreTrainedModel,
    methods: dict[str, _Method],
    prompts: Sequence[Prompt],
    max_new_tokens: int,
) -> None:
    """Draft model alone, by our loop and by transformers', against copying on top of it."""
    draft_model = layer_dropped(model, _DROPPED_LAYERS)
    chosen = [prompt for prompt in prompts if prompt.redundant][:_N_DRAFTED]
    timed = {
        "draft model": _own(model, max_new_tokens, max_copy=0, draft_model=draft_model),
        "draft model, transformers": _assisted(model, draft_model, max_new_tokens),
        "CopySpec and draft model": _own(model, max_new_tokens, draft_model=draft_model),
    }
    rows = []
    with run.stage("on top of a draft model", len(run.seeds) * len(chosen) * len(timed)) as stage:
        for seed in run.seeds:
            rng = np.random.default_rng(seed)
            totals = dict.fromkeys(timed, 0.0)
            passes = dict.fromkeys(timed, 0)
            wrong = 0
            for prompt in chosen:
                texts = {}
                for name in rng.permutation(list(timed)):
                    texts[name] = timed[name](prompt)
                    totals[name] += texts[name].seconds
                    passes[name] += texts[name].passes
                    stage.advance()
                plain = methods["greedy"](prompt).sequence if seed == run.seeds[0] else None
                for text in texts.values():
                    reference = plain or texts["draft model"].sequence
                    wrong += _compare(model, reference, text.sequence) == "different"
            alone = min(totals["draft model"], totals["draft model, transformers"])
            run.measure(
                "on-top-of-drafting",
                alone / totals["CopySpec and draft model"],
                baseline=1.0,
                seed=seed,
            )
            run.measure(
                "output-unchanged", 1 - wrong / (len(timed) * len(chosen)), baseline=1.0, seed=seed
            )
            rows += [(seed, name, totals[name], passes[name]) for name in timed]
    run.table(
        "With a draft model",
        ("repeat", "method", "seconds", "passes of the model"),
        rows,
        note=f"The draft model is SmolLM2-135M without {len(_DROPPED_LAYERS)} of its 30 layers, "
        f"untrained; it drafts {_N_DRAFT_TOKENS} tokens in our loop, transformers chooses itself.",
    )


def bootstrap_ratio(
    numerator: np.ndarray, denominator: np.ndarray, seed: int
) -> tuple[float, float]:
    """The 95 % interval of sum(numerator) / sum(denominator), pairs drawn with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(numerator), size=(_N_BOOTSTRAP, len(numerator)))
    ratios = numerator[drawn].sum(axis=1) / denominator[drawn].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def marked_copies(
    tokens: Sequence[int], stats: DecodingStats, tokenizer: PreTrainedTokenizerBase
) -> str:
    """The generated text with what was copied between ⟦ and ⟧, a pair for each copy."""
    shown, n = "", 0
    for step in stats.steps:
        copied = step.accepted if step.kind == "copy" else 0
        if copied:
            shown += f"⟦{tokenizer.decode(tokens[n : n + copied])}⟧"
        shown += tokenizer.decode(tokens[n + copied : n + step.emitted])
        n += step.emitted
    return shown


def _methods(model: PreTrainedModel, max_new_tokens: int) -> dict[str, _Method]:
    return {
        "greedy": _transformers(model, max_new_tokens),
        "greedy, minimal loop": _minimal(model, max_new_tokens),
        "CopySpec": _own(model, max_new_tokens),
        "prompt lookup": _transformers(
            model, max_new_tokens, prompt_lookup_num_tokens=10, max_matching_ngram_size=3
        ),
    }


def _own(model: PreTrainedModel, max_new_tokens: int, **options: Any) -> _Method:
    if "draft_model" in options:
        options["draft_tokens"] = _N_DRAFT_TOKENS

    def decode(prompt: Prompt) -> _Decoded:
        ids = torch.tensor([prompt.ids])
        started = time.perf_counter()
        output: GenerateOutput = generate(
            model,
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            **options,
        )
        seconds = time.perf_counter() - started
        stats = output.stats
        return _Decoded(
            output.sequences[0].tolist(), seconds, stats.passes, stats.verified_tokens, stats
        )

    return decode


def _transformers(model: PreTrainedModel, max_new_tokens: int, **options: Any) -> _Method:
    def decode(prompt: Prompt) -> _Decoded:
        ids = torch.tensor([prompt.ids])
        return _counted(
            model,
            ids,
            lambda: model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                **options,
            ),
        )

    return decode


def _assisted(model: PreTrainedModel, draft_model: PreTrainedModel, max_new_tokens: int) -> _Method:
    return _transformers(model, max_new_tokens, assistant_model=draft_model)


def _minimal(model: PreTrainedModel, max_new_tokens: int) -> _Method:
    eos = model.generation_config.eos_token_id
    ends = eos if isinstance(eos, list) else [eos]

    def decode(prompt: Prompt) -> _Decoded:
        ids = torch.tensor([prompt.ids])
        return _counted(model, ids, lambda: greedy(model, ids, max_new_tokens, ends))

    return decode


def _counted(model: PreTrainedModel, ids: Tensor, decode: Callable[[], Tensor]) -> _Decoded:
    with counted_passes(model) as count:
        started = time.perf_counter()
        sequence = decode()
        seconds = time.perf_counter() - started
    # Of the prompt's tokens only the last is counted, as in `DecodingStats`.
    verified = sum(count.lengths) - (ids.shape[1] - 1)
    return _Decoded(sequence[0].tolist(), seconds, count.passes, verified)


def _faster_greedy(run: Run, methods: dict[str, _Method], prompts: Sequence[Prompt]) -> str:
    """The name of the greedy loop that takes less time; the claims are measured against it."""
    names = ("greedy", "greedy, minimal loop")
    totals = dict.fromkeys(names, 0.0)
    with run.stage("choose the faster greedy loop", len(run.seeds) * len(prompts)) as stage:
        for turn in range(len(run.seeds)):
            for prompt in prompts:
                texts = {}
                for name in names if turn % 2 == 0 else names[::-1]:
                    texts[name] = methods[name](prompt)
                    totals[name] += texts[name].seconds
                if texts[names[0]].sequence != texts[names[1]].sequence:
                    run.note(f"The two greedy loops give different texts for {prompt.name}.")
                stage.advance()
    run.table(
        "Two greedy loops",
        ("loop", "seconds"),
        [("transformers' generate", totals[names[0]]), ("minimal loop", totals[names[1]])],
        note=f"{len(prompts)} prompts, {len(run.seeds)} interleaved repeats.",
    )
    return min(names, key=lambda name: totals[name])


def _warm_up(model: PreTrainedModel) -> None:
    """The first passes of a process are slow, and slow for whoever comes first."""
    time_pass = pass_timer(model, 64, max(_VERIFY_LENGTHS))
    for length in (11, 1, 1):
        time_pass(length)


def _compare(model: PreTrainedModel, plain: Sequence[int], other: Sequence[int]) -> Same:
    if list(plain) == list(other):
        return "same"
    n = next(
        (i for i, pair in enumerate(zip(plain, other, strict=False)) if pair[0] != pair[1]),
        min(len(plain), len(other)),
    )
    return "tie" if top_two_gap(model, plain[:n]) < _TIE else "different"


def _show(
    run: Run,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    decoded: dict[str, dict[str, _Decoded]],
) -> None:
    plain, copying = decoded["greedy"][prompt.name], decoded["CopySpec"][prompt.name]
    assert copying.stats is not None
    n = len(prompt.ids)
    title = "Asked for a passage again" if prompt.redundant else "An open question"
    run.sample(
        f"{title}: {prompt.name}",
        {
            "prompt": prompt.text,
            f"greedy decoding, {plain.passes} passes": tokenizer.decode(plain.sequence[n:]),
            f"CopySpec, {copying.passes} passes": marked_copies(
                copying.sequence[n:], copying.stats, tokenizer
            ),
        },
        note="⟦…⟧ was copied from earlier in the text, a pair for each copy, and verified in one "
        "forward pass.",
    )


def _table_of_texts(
    run: Run, prompts: Sequence[Prompt], decoded: dict[str, dict[str, _Decoded]]
) -> None:
    rows = []
    for redundant, kind in ((True, "repeat a passage"), (False, "open")):
        chosen = [prompt for prompt in prompts if prompt.redundant == redundant]
        for name, texts in decoded.items():
            some = [texts[prompt.name] for prompt in chosen]
            n_new = sum(
                len(text.sequence) - len(prompt.ids)
                for text, prompt in zip(some, chosen, strict=True)
            )
            passes, seconds = sum(t.passes for t in some), sum(t.seconds for t in some)
            verified = sum(t.verified_tokens for t in some)
            rows.append(
                (kind, name, len(chosen), n_new, passes, n_new / passes, verified, n_new / seconds)
            )
    columns = (
        "prompts",
        "method",
        "texts",
        "tokens",
        "passes",
        "tokens per pass",
        "tokens computed",
        "tokens per second",
    )
    run.table(
        "SmolLM2-135M",
        columns,
        rows,
        note="Prompt lookup is transformers' own, matching 3 to 1 tokens. Seconds include the pass "
        "over the prompt.",
    )


def _chart_of_passes(run: Run, prompt: Prompt, decoded: dict[str, dict[str, _Decoded]]) -> None:
    """How the text grows, pass by pass; a line stands where each method stood."""
    copying = decoded["CopySpec"][prompt.name]
    assert copying.stats is not None
    grown = [(0, 0)]
    for step in copying.stats.steps:
        grown.append((grown[-1][0] + 1, grown[-1][1] + step.emitted))
    n_new = copying.stats.new_tokens
    lookup = decoded["prompt lookup"][prompt.name]
    run.series(
        f"Tokens by forward pass: {prompt.name}",
        {
            "greedy decoding": [(0, 0), (n_new, n_new)],
            "CopySpec": grown,
            "prompt lookup (ends only)": [(0, 0), (lookup.passes, n_new)],
        },
        x_label="forward passes",
        y_label="tokens generated",
    )
