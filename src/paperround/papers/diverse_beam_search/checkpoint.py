"""The tiny CountDown model of this room: how it is trained, and the copy that ships with it.

`python -m paperround.papers.diverse_beam_search.checkpoint FOLDER` trains the shipped copy again,
with the seed and the budget below, and writes it into the folder.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from paperround.kit.language_models import use_threads
from paperround.kit.tasks import countdown
from paperround.kit.tiny_gpt import (
    TrainingPlan,
    build_tiny_gpt,
    load_tiny_gpt,
    save_tiny_gpt,
    train_tiny_gpt,
    word_level_tokenizer,
)

SHIPPED = Path(__file__).with_name("data") / "countdown-3"
SHIPPED_SEED = 0
SHIPPED_TOKENS = 1_000_000

DIFFICULTY = countdown.Difficulty(k=3, max_number=20, targets=(10, 60))


def train_countdown_model(
    token_budget: int,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, list[float]]:
    """A model trained on solutions of CountDown-3 problems, its tokenizer, the loss of each step.

    `on_step(tokens, loss)` after every update. The seed decides the initial weights, the problems
    and their order.
    """
    tokenizer = word_level_tokenizer(DIFFICULTY.words)
    model = build_tiny_gpt(tokenizer, seed=seed)
    examples = countdown.training_examples(seed, DIFFICULTY)
    plan = TrainingPlan(token_budget)
    losses = train_tiny_gpt(model, tokenizer, examples, plan, seed=seed, on_step=on_step)
    return model, tokenizer, losses


def shipped_countdown_model() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The shipped model and its tokenizer."""
    return load_tiny_gpt(SHIPPED)


def main(folder: Path) -> None:
    """Trains the shipped model again into `folder`."""
    # One thread adds up in one order, so that two machines come closer to the same weights.
    use_threads(1)
    model, tokenizer, losses = train_countdown_model(SHIPPED_TOKENS, SHIPPED_SEED)
    save_tiny_gpt(model, tokenizer, folder)
    last = sum(losses[-20:]) / len(losses[-20:])
    sys.stdout.write(f"{folder}: {len(losses)} updates, last losses {last:.3f} nats per token\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
