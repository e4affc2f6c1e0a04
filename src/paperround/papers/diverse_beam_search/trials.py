"""What the reproduction decodes, for each seed: CountDown solutions and continuations of texts."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from paperround.kit.language_models import load_language_model
from paperround.kit.tasks import countdown
from paperround.kit.tiny_gpt import load_tiny_gpt
from paperround.papers.diverse_beam_search.checkpoint import (
    DIFFICULTY,
    train_countdown_model,
)
from paperround.papers.diverse_beam_search.decoders import (
    Decoded,
    Decoder,
    Language,
    antilm,
    beam_search_of_transformers,
    decode,
    diverse,
    samplers,
    sibling_rank,
)
from paperround.papers.diverse_beam_search.metrics import oracle_at_k
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run, Stage

# A solution of CountDown-3 has 12 words, then EOS; one more leaves room for a wrong one.
COUNTDOWN_TOKENS = 14
# The default of the authors' program; used on text, where nothing is chosen.
TEXT_PENALTY = 0.5
# Sibling rank gets the paper's range too; on text the same fixed value.
TEXT_GAMMA = 0.5
PROMPTS = Path(__file__).with_name("data") / "prompts.txt"


@dataclass(frozen=True)
class Plan:
    """The sizes of a scale. Without `token_budget` the shipped model is used for every seed.

    `num_beams`: the first is the one that the claims are about. `penalties` and `gammas` are tried
    on validation problems, the best one is used on the test problems.
    """

    token_budget: int | None
    n_validation: int
    n_test: int
    num_beams: tuple[int, ...]
    penalties: tuple[float, ...]
    gammas: tuple[float, ...]
    vary_groups: bool
    prompts_per_seed: int
    text_beams: int
    text_tokens: int
    text_penalties: tuple[float, ...]
    prompts_per_batch: int
    # Sampling at every temperature and sibling rank; else sampling once.
    every_baseline_on_text: bool
    with_antilm: bool
    timed: bool


PLANS = {
    Scale.QUICK: Plan(
        token_budget=None,
        n_validation=10,
        n_test=20,
        num_beams=(8,),
        penalties=(0.5, 1.0, 2.0),
        gammas=(0.5, 1.0, 2.0),
        vary_groups=False,
        prompts_per_seed=1,
        text_beams=4,
        text_tokens=12,
        text_penalties=(TEXT_PENALTY,),
        prompts_per_batch=2,
        every_baseline_on_text=False,
        with_antilm=False,
        timed=False,
    ),
    Scale.STANDARD: Plan(
        token_budget=1_000_000,
        n_validation=60,
        n_test=120,
        num_beams=(8, 4),
        penalties=(0.2, 0.4, 0.6, 0.8, 1.5, 3.0),
        gammas=(0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
        vary_groups=True,
        prompts_per_seed=3,
        text_beams=8,
        text_tokens=20,
        text_penalties=(TEXT_PENALTY, 1.5),
        prompts_per_batch=8,
        every_baseline_on_text=True,
        with_antilm=True,
        timed=True,
    ),
}


@dataclass(frozen=True)
class CountdownTrial:
    """Everything decoded for one seed, on test problems with what was chosen on validation ones.

    `decoded` by the method's name. `by_penalty`: diverse lists at G = B for each lambda, the lists
    at 0 among them. `by_groups`: (B, G) to the penalty chosen for it and its lists.
    `validation_gain`: oracle@B above beam search in points for each lambda, on validation problems.
    """

    seed: int
    num_beams: int
    problems: list[countdown.Problem]
    penalty: float
    gamma: float
    decoded: dict[str, Decoded]
    by_penalty: dict[float, Decoded]
    by_groups: dict[tuple[int, int], tuple[float, Decoded]]
    validation_gain: dict[float, float]
    transformers_seconds: float | None

    @property
    def beam(self) -> Decoded:
        """Plain beam search."""
        return self.decoded["beam search"]

    @property
    def diverse(self) -> Decoded:
        """Diverse beam search with the chosen penalty."""
        return self.by_penalty[self.penalty]

    def solved(self, decoded: Decoded, k: int | None = None) -> list[bool]:
        """For each problem whether one of the first k candidates (all without k) is a solution."""
        return [
            bool(oracle_at_k([countdown.grade(problem, c.text).ok for c in found], k or len(found)))
            for problem, found in zip(self.problems, decoded.lists, strict=True)
        ]

    def oracle(self, decoded: Decoded, k: int | None = None) -> float:
        """The percentage of problems with a solution among the first k candidates."""
        return 100 * fmean(self.solved(decoded, k))

    def n_solutions(self, decoded: Decoded) -> float:
        """The mean number of different right expressions in a list."""
        return fmean(
            len({g.answer for c in found if (g := countdown.grade(problem, c.text)).ok})
            for problem, found in zip(self.problems, decoded.lists, strict=True)
        )


def countdown_trial(run: Run, plan: Plan, seed: int) -> CountdownTrial:
    """Trains or loads the model of a seed, chooses lambda and gamma, decodes the test problems."""
    if plan.token_budget is None:
        model, tokenizer = load_tiny_gpt(run.asset("countdown-3-gpt"))
    else:
        with run.stage(f"train the CountDown model, seed {seed}", plan.token_budget) as stage:
            model, tokenizer, _ = train_countdown_model(
                plan.token_budget, seed, lambda n_tokens, loss: stage.advance(n_tokens)
            )
    language = Language(model, tokenizer, COUNTDOWN_TOKENS, prompts_per_batch=100)
    validation = countdown.generate("validation", plan.n_validation, seed, DIFFICULTY)
    problems = countdown.generate("test", plan.n_test, seed, DIFFICULTY)
    prompts = [problem.prompt for problem in problems]
    n_beams = plan.num_beams[0]

    pairs = [(b, g) for b in plan.num_beams for g in _group_counts(plan, b)]
    n_on_validation = 1 + len(pairs) * len(plan.penalties) + len(plan.gammas)
    # Three samplers, sibling rank, lambda 0 and the grid, one group for each B, the other pairs.
    n_on_test = 4 + 1 + len(plan.penalties) + len(plan.num_beams) + len(pairs) - 1
    with run.stage(
        f"search CountDown solutions, seed {seed}", n_on_validation + n_on_test
    ) as stage:

        def on_test(decoder: Decoder) -> Decoded:
            return _counted(stage, decode(language, prompts, decoder))

        def tried(decoder: Decoder) -> float:
            found = _counted(stage, decode(language, [p.prompt for p in validation], decoder))
            return 100 * fmean(
                any(countdown.grade(problem, candidate.text).ok for candidate in candidates)
                for problem, candidates in zip(validation, found.lists, strict=True)
            )

        chosen: dict[tuple[int, int], float] = {}
        gains: dict[float, float] = {}
        plain = tried(diverse(n_beams, 1, 0.0))
        for b, g in pairs:
            oracles = {penalty: tried(diverse(b, g, penalty)) for penalty in plan.penalties}
            chosen[b, g] = max(oracles, key=lambda penalty: oracles[penalty])
            if (b, g) == (n_beams, n_beams):
                gains = {penalty: oracle - plain for penalty, oracle in oracles.items()}
        by_gamma = {gamma: tried(sibling_rank(n_beams, gamma)) for gamma in plan.gammas}
        gamma = max(by_gamma, key=lambda gamma: by_gamma[gamma])

        decoded = {name: on_test(sampler) for name, sampler in samplers(n_beams, seed).items()}
        by_penalty = {
            penalty: on_test(diverse(n_beams, n_beams, penalty))
            for penalty in (0.0, *plan.penalties)
        }
        by_groups = {(b, 1): (0.0, on_test(diverse(b, 1, 0.0))) for b in plan.num_beams}
        for (b, g), penalty in chosen.items():
            if (b, g) == (n_beams, n_beams):
                by_groups[b, g] = (penalty, by_penalty[penalty])
            else:
                by_groups[b, g] = (penalty, on_test(diverse(b, g, penalty)))
        decoded["beam search"] = by_groups[n_beams, 1][1]
        decoded["sibling rank"] = on_test(sibling_rank(n_beams, gamma))
    transformers_seconds = None
    if plan.timed:
        transformers_seconds = decode(
            language, prompts, beam_search_of_transformers(n_beams)
        ).seconds
    return CountdownTrial(
        seed=seed,
        num_beams=n_beams,
        problems=problems,
        penalty=chosen[n_beams, n_beams],
        gamma=gamma,
        decoded=decoded,
        by_penalty=by_penalty,
        by_groups=by_groups,
        validation_gain=gains,
        transformers_seconds=transformers_seconds,
    )


def _group_counts(plan: Plan, num_beams: int) -> list[int]:
    """The numbers of groups above one that a number of beams is tried with."""
    return sorted({2, num_beams // 2, num_beams}) if plan.vary_groups else [num_beams]


def _counted(stage: Stage, decoded: Decoded) -> Decoded:
    stage.advance()
    return decoded


@dataclass(frozen=True)
class TextTrial:
    """The lists that every method gave for the prompts of one seed, by the method's name."""

    seed: int
    prompts: list[str]
    decoded: dict[str, Decoded]
    transformers_seconds: float | None

    @property
    def beam(self) -> Decoded:
        """Plain beam search."""
        return self.decoded["beam search"]

    @property
    def diverse(self) -> Decoded:
        """Diverse beam search with the authors' default penalty."""
        return self.decoded[text_name(TEXT_PENALTY)]


def text_trials(run: Run, plan: Plan) -> list[TextTrial]:
    """What every method writes after the prompts with SmolLM2-135M, a trial per seed."""
    model, tokenizer = load_language_model(run.asset("smollm2-135m"))
    language = Language(model, tokenizer, plan.text_tokens, plan.prompts_per_batch)
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()
    beams = plan.text_beams
    trials = []
    for place, seed in enumerate(run.seeds):
        start = place * plan.prompts_per_seed
        chosen = [prompts[i % len(prompts)] for i in range(start, start + plan.prompts_per_seed)]
        sampled = samplers(beams, seed)
        if not plan.every_baseline_on_text:
            sampled = dict(list(sampled.items())[:1])
        methods = {
            **sampled,
            "beam search": diverse(beams, 1, 0.0),
            **{text_name(p): diverse(beams, beams, p) for p in plan.text_penalties},
        }
        if plan.every_baseline_on_text:
            methods["sibling rank"] = sibling_rank(beams, TEXT_GAMMA)
        if plan.with_antilm:
            methods["anti-LM"] = antilm(beams)
        if plan.timed:
            methods["transformers"] = beam_search_of_transformers(beams)
        decoded = {}
        with run.stage(f"continue {len(chosen)} texts, seed {seed}", len(methods)) as stage:
            for name, method in methods.items():
                decoded[name] = decode(language, chosen, method)
                stage.advance()
        of_transformers = decoded.pop("transformers", None)
        seconds = of_transformers.seconds if of_transformers is not None else None
        trials.append(TextTrial(seed, chosen, decoded, seconds))
    return trials


def text_name(penalty: float) -> str:
    """How tables and charts call diverse beam search at that penalty."""
    return f"diverse beam search, λ {penalty:g}"
