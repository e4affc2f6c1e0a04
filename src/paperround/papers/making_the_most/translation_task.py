"""What parts C and D translate: Multi30k from German to English, or two invented languages.

The invented ones are for the quick scale, which downloads nothing: a text is a walk over 60 words
where each is followed by one of a few, and its translation has another word for each, in pairs that
have changed places.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import MarianMTModel, PreTrainedTokenizerFast

from paperround.kit.translation import (
    Pair,
    TrainingPlan,
    TranslatorSize,
    encode_pairs,
    learn_tokenizer,
    read_multi30k,
    train_translator,
)
from paperround.kit.translation.texts import Split
from paperround.papers.making_the_most.sundae import SpecialTokens
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

N_WORDS = 60
_FOLLOWERS = 4
_MIN_WORDS, _MAX_WORDS = 3, 9
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class TranslationTask:
    """Pairs of texts in three disjoint parts, and the vocabulary learnt from the first."""

    name: str
    train: Sequence[Pair]
    validation: Sequence[Pair]
    test: Sequence[Pair]
    tokenizer: PreTrainedTokenizerFast

    @property
    def special(self) -> SpecialTokens:
        """Texts stand between <s> and </s>; the placeholder is the mask."""
        return SpecialTokens.of(self.tokenizer)

    def ids(self, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
        """The pairs as ids without a frame."""
        return [(self.words(pair.source), self.words(pair.target)) for pair in pairs]

    def words(self, text: str) -> list[int]:
        """The ids of a text, without those that frame it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


@dataclass(frozen=True)
class TaskSize:
    """How many pieces the vocabulary has, how many texts are measured on, and the translator.

    Pairs with a side of more than `longest` pieces are left out of all parts.
    """

    n_pieces: int
    longest: int
    n_validation: int
    n_test: int
    translator: TranslatorSize
    training: TrainingPlan


STANDARD = TaskSize(
    n_pieces=4_000,
    # Some two pairs in five: short texts are cheap, and learnt within minutes.
    longest=14,
    n_validation=150,
    n_test=120,
    translator=TranslatorSize(d_model=192, n_encoder_layers=2, n_decoder_layers=2, d_ffn=768),
    training=TrainingPlan(steps=200, batch_tokens=2_500),
)


def translation(run: Run) -> tuple[TranslationTask, MarianMTModel | None]:
    """What C and D translate at this scale, and at standard a translator from left to right."""
    if run.scale is Scale.QUICK:
        return invented_task(n_train=3_000, n_validation=80, n_test=20), None
    with run.stage("read the pairs and learn the vocabulary", 1) as stage:
        task = multi30k_task(run.asset("multi30k"), STANDARD)
        stage.advance()
    return task, train_autoregressive(run, task, STANDARD, run.seeds[0])


def multi30k_task(folder: Path, size: TaskSize) -> TranslationTask:
    """Captions of photographs, German to English; the first short ones of validation and test.

    The vocabulary is learnt from all training pairs.
    """
    train, validation, test = (
        read_multi30k(folder, split, source="de", target="en") for split in _SPLITS
    )
    tokenizer = learn_tokenizer(train, size.n_pieces)

    def short(pairs: list[Pair]) -> list[Pair]:
        encoded = encode_pairs(tokenizer, pairs)
        # Ids come with the end.
        return [
            pair
            for pair, ids in zip(pairs, encoded, strict=True)
            if max(map(len, ids)) <= size.longest + 1
        ]

    return TranslationTask(
        name=f"Multi30k, German to English, at most {size.longest} pieces",
        train=short(train),
        validation=short(validation)[: size.n_validation],
        test=short(test)[: size.n_test],
        tokenizer=tokenizer,
    )


def invented_task(n_train: int, n_validation: int, n_test: int, seed: int = 0) -> TranslationTask:
    """Two invented languages; the parts share no text."""
    rng = random.Random(f"invented languages {seed}")
    theirs, ours = _lexicon(rng, "aou", "drgz"), _lexicon(rng, "ei", "ltns")
    following = [rng.sample(range(N_WORDS), _FOLLOWERS) for _ in range(N_WORDS)]
    pairs: dict[str, Pair] = {}
    while len(pairs) < n_train + n_validation + n_test:
        walk = [rng.randrange(N_WORDS)]
        for _ in range(rng.randint(_MIN_WORDS, _MAX_WORDS) - 1):
            # The first ones more often, so that the language has something to guess.
            walk.append(following[walk[-1]][min(rng.randrange(5), rng.randrange(_FOLLOWERS))])
        turned = [word for i in range(0, len(walk), 2) for word in walk[i : i + 2][::-1]]
        source = " ".join(theirs[word] for word in turned)
        pairs[source] = Pair(source, " ".join(ours[word] for word in walk))
    found = list(pairs.values())
    train, rest = found[:n_train], found[n_train:]
    return TranslationTask(
        name="two invented languages",
        train=train,
        validation=rest[:n_validation],
        test=rest[n_validation:],
        # Enough pieces for every word to be one.
        tokenizer=learn_tokenizer(train, 600),
    )


def train_autoregressive(
    run: Run, task: TranslationTask, size: TaskSize, seed: int
) -> MarianMTModel:
    """A Transformer that translates from left to right, trained in the run."""
    with run.stage("train a translator from left to right", size.training.steps) as stage:
        return train_translator(
            task.train,
            task.tokenizer,
            size.training,
            size.translator,
            seed=seed,
            on_progress=lambda step, loss: stage.advance(),
        )


def _lexicon(rng: random.Random, vowels: str, consonants: str) -> list[str]:
    words: set[str] = set()
    while len(words) < N_WORDS:
        words.add(
            "".join(rng.choice(consonants) + rng.choice(vowels) for _ in range(rng.randint(2, 3)))
        )
    return sorted(words)
