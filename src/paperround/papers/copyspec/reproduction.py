"""Measures CopySpec's claims: recorded answers replayed, random models, and SmolLM2-135M.

Replays need no model and are exact for greedy decoding, so they have no seeds. What is timed is
timed in the same run as its baselines, once per seed, in an order that changes with the seed.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from paperround.errors import UsageError
from paperround.kit.language_models import load_language_model, load_tokenizer, use_threads
from paperround.papers.copyspec import timing
from paperround.papers.copyspec.generation import generate
from paperround.papers.copyspec.replays import (
    CopySpec,
    Oracle,
    PromptLookup,
    ReplayMethod,
    replay,
)
from paperround.papers.copyspec.steps import DecodingStats, pool
from paperround.papers.copyspec.workloads import (
    Turn,
    extractive_prompts,
    open_prompts,
    read_conversations,
    read_self_correction,
    turns_of,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

_LLAMA, _QWEN_7B, _QWEN_72B = "Llama-3.1-8B", "Qwen2.5-7B", "Qwen2.5-72B"
_GAMMAS = (2, 3, 4, 5, 8)
# Tokens of context, the last ones before the answer; None is all of it.
_CONTEXT_LENGTHS = (0, 256, 512, 1024, None)

Recorded = Sequence[tuple[Turn, Turn]]


@dataclass(frozen=True)
class _Size:
    redundant: tuple[str, ...]
    mt_bench: tuple[str, ...]
    # Prompt lookup searches the whole text anew in every pass; at quick it replays turn 2 only.
    lookup_turns: tuple[int, ...]
    lookup_ngrams: tuple[int, ...]
    real: timing.Size


_SIZES = {
    Scale.QUICK: _Size(
        redundant=(_LLAMA,),
        mt_bench=(),
        lookup_turns=(2,),
        lookup_ngrams=(3,),
        real=timing.Size(n_redundant=1, n_open=1, passage_tokens=32, max_new_tokens=24),
    ),
    Scale.STANDARD: _Size(
        redundant=(_LLAMA, _QWEN_7B, _QWEN_72B),
        mt_bench=(_QWEN_7B,),
        lookup_turns=(1, 2),
        lookup_ngrams=(3, 2),
        real=timing.Size(n_redundant=10, n_open=4, passage_tokens=48, max_new_tokens=48),
    ),
}


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale not in _SIZES:
        raise UsageError(
            "copyspec's full scale is a configuration nobody has run: Llama-3.1-8B on a GPU; "
            "see the room's README. Use quick or standard"
        )
    size = _SIZES[run.scale]
    use_threads(run.threads)
    conversations_folder = run.asset("copyspec-conversations")
    model_folder = run.asset("smollm2-135m")
    redundant = read_conversations(conversations_folder, "mt-redundant")
    mt_bench = read_conversations(conversations_folder, "mt-bench")

    tokenizer = load_tokenizer(model_folder)
    with run.stage("read recorded answers", len(size.redundant) + len(size.mt_bench)) as stage:
        recorded: dict[str, Recorded] = {}
        for questions, models in ((redundant, size.redundant), (mt_bench, size.mt_bench)):
            for model in models:
                recorded[f"{model}, {questions[0].question_set}"] = [
                    turns_of(conversation, model, tokenizer) for conversation in questions
                ]
                stage.advance()
    # The claims are about MT-Redundant; MT-Bench is there to compare with.
    claimed = [
        turns for name, answers in recorded.items() if "redundant" in name for turns in answers
    ]

    replay_methods(run, recorded, size)
    second_turn_gain(run, claimed)
    categories_of_turn_two(run, claimed)
    choice_of_gamma(run, claimed)
    growing_context(run, claimed)
    self_correction(run, read_self_correction(conversations_folder, tokenizer))
    output_unchanged_on_random_models(run)
    with run.stage("load SmolLM2-135M", 1) as stage:
        model, _ = load_language_model(model_folder)
        stage.advance()
    prompts = [
        *extractive_prompts(
            redundant, _LLAMA, tokenizer, size.real.n_redundant, size.real.passage_tokens
        ),
        *open_prompts(mt_bench, tokenizer, size.real.n_open),
    ]
    if run.scale is Scale.QUICK:
        timing.watch_it_decode(run, model, tokenizer, prompts, size.real)
    else:
        timing.measure_seconds(run, model, tokenizer, prompts, size.real)


def replay_methods(run: Run, recorded: Mapping[str, Recorded], size: _Size) -> None:
    """The table of all methods on all recorded answers; no claim of its own."""
    methods: dict[str, tuple[ReplayMethod, tuple[int, ...]]] = {
        f"CopySpec, gamma {gamma}": (CopySpec(gamma), (1, 2)) for gamma in _GAMMAS
    }
    methods |= {
        "CopySpec, gamma 3, last occurrence": (CopySpec(policy="last"), (1, 2)),
        "CopySpec, gamma 3, longest match": (CopySpec(policy="longest"), (1, 2)),
        "oracle, gamma 3": (Oracle(), (1, 2)),
    }
    for n in size.lookup_ngrams:
        methods[f"prompt lookup, {n} to 1 tokens"] = (PromptLookup(n), size.lookup_turns)
    rows: list[tuple[str | float | None, ...]] = []
    passes: dict[str, float] = {}
    with run.stage("replay recorded answers", len(recorded) * len(methods)) as stage:
        for answers_name, answers in recorded.items():
            for name, (method, numbers) in methods.items():
                by_turn = {number: pool(_replayed(answers, number, method)) for number in numbers}
                second = by_turn[2]
                first = by_turn[1].tau if 1 in by_turn else None
                rows.append(
                    (
                        answers_name,
                        name,
                        first,
                        second.tau,
                        second.copied_share,
                        second.accepted_per_attempt,
                        second.verified_tokens / second.new_tokens,
                    )
                )
                passes.setdefault(name, second.tau)
                stage.advance()
    columns = (
        "answers",
        "method",
        "tokens per pass, turn 1",
        "tokens per pass, turn 2",
        "copied share, turn 2",
        "accepted per attempt, turn 2",
        "tokens computed per token, turn 2",
    )
    run.table(
        "Recorded answers, replayed",
        columns,
        rows,
        note="Exact for greedy decoding; 56 questions a set, tokens of SmolLM2's tokenizer. "
        "Greedy decoding has 1 in the columns of passes and computed tokens.",
    )
    lookup = passes[f"prompt lookup, {size.lookup_ngrams[0]} to 1 tokens"]
    run.note(
        f"Prompt lookup, the strongest simple baseline, needs fewer passes than CopySpec "
        f"({lookup:.2f} against {passes['CopySpec, gamma 3']:.2f} tokens per pass on turn 2), at "
        "the price of more tokens computed: it attempts at nearly every token. CopySpec is ahead "
        "only where a pass over eleven tokens is clearly dearer than one over a single token."
    )


def second_turn_gain(run: Run, answers: Recorded) -> None:
    """Tokens per pass on the second turn against the first."""
    first, second = (pool(_replayed(answers, number, CopySpec())).tau for number in (1, 2))
    run.measure("second-turn-gain", second / first, baseline=first)


def categories_of_turn_two(run: Run, answers: Recorded) -> None:
    """Tokens per pass by category: the second best reaches what two categories reach."""
    by_category: dict[str, list[tuple[Turn, Turn]]] = {}
    for turns in answers:
        by_category.setdefault(turns[0].conversation.category, []).append(turns)
    rows = []
    for category, of_category in by_category.items():
        first, second = (pool(_replayed(of_category, number, CopySpec())) for number in (1, 2))
        rows.append((category, first.tau, second.tau, second.copied_share))
    rows.sort(key=lambda row: row[2], reverse=True)
    run.table(
        "CopySpec by category, gamma 3",
        ("category", "tokens per pass, turn 1", "tokens per pass, turn 2", "copied share, turn 2"),
        rows,
    )
    run.measure("mt-redundant-turn-2", rows[1][2], baseline=1.0)


def choice_of_gamma(run: Run, answers: Recorded) -> None:
    """Tokens per pass against how many tokens have to match."""
    taus: dict[str, list[tuple[int, float]]] = {"turn 1": [], "turn 2": []}
    both = {}
    for gamma in _GAMMAS:
        first, second = (_replayed(answers, number, CopySpec(gamma)) for number in (1, 2))
        taus["turn 1"].append((gamma, pool(first).tau))
        taus["turn 2"].append((gamma, pool(second).tau))
        both[gamma] = pool(first + second).tau
    run.series(
        "Tokens per forward pass by gamma",
        taus,
        x_label="gamma, tokens that have to match",
        y_label="tokens per forward pass",
        note="MT-Redundant, recorded answers replayed; greedy decoding is 1.",
    )
    run.measure("gamma-three", both[3] / both[5], baseline=both[5])


def growing_context(run: Run, answers: Recorded) -> None:
    """Tokens per pass on turn 2 with only the last tokens of the context, and with all."""
    longest = max(len(second.context_ids) for _, second in answers)
    taus: list[float] = []
    with run.stage("replay with less context", len(_CONTEXT_LENGTHS)) as stage:
        for length in _CONTEXT_LENGTHS:
            stats = [
                replay(
                    second.context_ids[len(second.context_ids) - length :]
                    if length is not None and length < len(second.context_ids)
                    else second.context_ids,
                    second.answer_ids,
                    CopySpec(),
                )
                for _, second in answers
            ]
            taus.append(pool(stats).tau)
            stage.advance()
    lengths = [longest if length is None else length for length in _CONTEXT_LENGTHS]
    run.series(
        "Tokens per forward pass as the context grows",
        {"CopySpec, gamma 3, turn 2": list(zip(lengths, taus, strict=True))},
        x_label="tokens of context before the answer",
        y_label="tokens per forward pass",
        note=f"The last point has the whole context, at most {longest} tokens.",
    )
    run.measure("growing-context", taus[-1] / taus[0], baseline=taus[0])
    steps = [longer / shorter for shorter, longer in pairwise(taus)]
    run.measure("growing-context-steps", min(steps), baseline=1.0)


def self_correction(run: Run, problems: Sequence[Sequence[tuple[list[int], list[int]]]]) -> None:
    """Tokens per pass on the three turns of self-correction on GSM8K."""
    rows = []
    with run.stage("replay self-correction", 3) as stage:
        for number, name in enumerate(("program", "critique", "better program")):
            stats = pool([replay(*turns[number], CopySpec()) for turns in problems])
            rows.append((number + 1, name, stats.tau, stats.copied_share))
            stage.advance()
    run.table(
        "Self-correction on GSM8K, gamma 3",
        ("turn", "answer", "tokens per pass", "copied share"),
        rows,
        note=f"{len(problems)} recorded problems, instructions in our own words.",
    )
    run.measure("gsm8k-self-correction", rows[2][2] / rows[0][2], baseline=rows[0][2])


def output_unchanged_on_random_models(run: Run) -> None:
    """Share of texts that equal greedy decoding: random Llamas in float64, also with a draft."""
    n_prompts, n_new = 5, 24
    # Short matches, so that much is copied; each with and without a draft model, in turn.
    settings = ((1, False), (2, True), (3, False))
    # Models this small only lose time by a second thread.
    use_threads(1)
    with run.stage("compare with greedy decoding", len(run.seeds) * n_prompts) as stage:
        for seed in run.seeds:
            model, draft_model = _random_llama(seed, 2), _random_llama(seed + 1, 1)
            rng = random.Random(seed)
            same = tried = 0
            for _ in range(n_prompts):
                prompt = torch.tensor([[rng.randrange(3, 16) for _ in range(24)]])
                mask = torch.ones_like(prompt)
                wanted = model.generate(
                    prompt, attention_mask=mask, max_new_tokens=n_new, do_sample=False
                )
                for gamma, drafted in settings:
                    output = generate(
                        model,
                        prompt,
                        gamma=gamma,
                        draft_model=draft_model if drafted else None,
                        attention_mask=mask,
                        max_new_tokens=n_new,
                    )
                    same += torch.equal(output.sequences, wanted)
                    tried += 1
                stage.advance()
            run.measure("output-unchanged", same / tried, baseline=1.0, seed=seed)
    use_threads(run.threads)


def _random_llama(seed: int, n_layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        # Large enough that the texts wander instead of repeating one token.
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).to(torch.float64).eval()


def _replayed(answers: Recorded, number: int, method: ReplayMethod) -> list[DecodingStats]:
    return [
        replay(turns[number - 1].context_ids, turns[number - 1].answer_ids, method)
        for turns in answers
    ]
