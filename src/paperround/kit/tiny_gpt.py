"""Tiny GPTs that learn a synthetic task within minutes on two processor cores.

They are ordinary transformers models (Qwen2 architecture) with an ordinary tokenizer, so that
`generate`, and every method of the rooms, applies unchanged. Texts are space-separated words.
Training has a budget in tokens, never in seconds: results do not depend on the machine's load.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
_SPECIAL = (PAD, BOS, EOS, UNK)

# Periods of the number features: small ones tell residues apart, large ones magnitudes.
_PERIODS = (2, 3, 4, 5, 7, 10, 13, 20, 33, 50, 100, 200)
_FEATURE_SCALE = 0.15
_IGNORED = -100
# Batches are cut from this many batches' worth of examples, sorted by length.
_BUCKET_BATCHES = 16


@dataclass(frozen=True)
class TinyGptConfig:
    """The size of a tiny GPT. `number_features` starts the embeddings of integers from waves.

    Plain random embeddings have to learn arithmetic as a table; cosines and sines of the number
    let it learn from the structure, about twice as fast (they stay trainable). `initializer_range`
    is that of transformers for large models; tasks of attention alone want about 1 / sqrt(d_model).
    """

    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_ffn: int = 384
    max_positions: int = 512
    number_features: bool = True
    initializer_range: float = 0.02


XS = TinyGptConfig(d_model=96, n_layers=3, n_heads=4, d_ffn=256)
S = TinyGptConfig()
M = TinyGptConfig(d_model=256, n_layers=6, n_heads=8, d_ffn=768)


@dataclass(frozen=True)
class TrainingPlan:
    """How a tiny GPT is trained. The numbers are our own choice, tried on CountDown-3.

    After a million tokens, 1 / 8 / 16 samples solve (percent of 200 test problems, T 0.7):
    28 / 75 / 88 as below, 10 / 48 / 64 with 6,000 tokens in a batch; with a learning rate of 1e-3
    as well and 0.7 million tokens, 1 / 9 / 12.
    """

    token_budget: int
    batch_tokens: int = 3_000
    learning_rate: float = 3e-3
    final_share: float = 0.02
    warmup_steps: int = 50
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0

    @property
    def steps(self) -> int:
        """About how many updates the budget is enough for."""
        return max(1, math.ceil(self.token_budget / self.batch_tokens))


def word_level_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one id per word; texts get a first BOS, batches are padded on the left."""
    if doubled := {word for word in words if words.count(word) > 1}:
        raise ValueError(f"words given twice: {', '.join(sorted(doubled))}")
    vocabulary = {word: place for place, word in enumerate([*_SPECIAL, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
    )


def build_tiny_gpt(
    tokenizer: PreTrainedTokenizerFast, config: TinyGptConfig = S, *, seed: int
) -> Qwen2ForCausalLM:
    """An untrained model for the tokenizer's vocabulary; the caller's random state stays as is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=config.d_model,
                intermediate_size=config.d_ffn,
                num_hidden_layers=config.n_layers,
                num_attention_heads=config.n_heads,
                num_key_value_heads=config.n_heads,
                max_position_embeddings=config.max_positions,
                tie_word_embeddings=True,
                attention_dropout=0.0,
                initializer_range=config.initializer_range,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    if config.number_features:
        _set_number_features(model, tokenizer)
    return model


def train_tiny_gpt(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterator[tuple[str, str]],
    plan: TrainingPlan,
    *,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """The loss of every update, in nats per answer token; the model is trained in place.

    `examples` gives (prompt, answer) texts; the loss counts the answer's tokens and the EOS after
    it. Stops when the budget is spent or the examples end. `on_step(tokens, loss)` is called after
    each update with the number of tokens in it. Raises ValueError for a word that the tokenizer
    does not know.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, betas=plan.betas, weight_decay=plan.weight_decay
    )
    warmup = min(plan.warmup_steps, max(1, plan.steps // 10))
    losses: list[float] = []
    spent = 0
    model.train()
    for input_ids, labels in _batches(tokenizer, examples, plan.batch_tokens, seed):
        if spent >= plan.token_budget:
            break
        progress = spent / plan.token_budget
        cosine = plan.final_share + (1 - plan.final_share) * 0.5 * (
            1 + math.cos(math.pi * progress)
        )
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * min(cosine, (len(losses) + 1) / warmup)
        # (batch, length, vocabulary): position t predicts token t + 1. Padding stands on the right,
        # where a causal model never sees it from a real token.
        logits = model(input_ids).logits[:, :-1]
        loss = nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=_IGNORED
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        spent += input_ids.numel()
        losses.append(loss.item())
        if on_step is not None:
            on_step(input_ids.numel(), losses[-1])
    model.eval()
    return losses


def save_tiny_gpt(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Writes the model in half precision and its tokenizer, in the usual transformers files."""
    halved = Qwen2ForCausalLM(model.config).to(torch.float16)
    halved.load_state_dict(model.state_dict())
    halved.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_tiny_gpt(folder: Path) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """The model, in float32 and evaluation mode, and the tokenizer that `save_tiny_gpt` wrote."""
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def _set_number_features(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Puts waves of each integer n into the first dimensions of its embedding.

    cos(2 pi n / p) and sin(2 pi n / p) for each period p, then n / 100 and log(1 + n) / 5.
    """
    weight = model.get_input_embeddings().weight
    n_features = 2 * len(_PERIODS) + 2
    if weight.shape[1] < n_features:
        raise ValueError(f"number features need d_model >= {n_features}, it is {weight.shape[1]}")
    numbers = {int(w): place for w, place in tokenizer.get_vocab().items() if w.isdigit()}
    if not numbers:
        return
    n = torch.tensor(list(numbers), dtype=torch.float32)
    angles = 2 * math.pi * n[:, None] / torch.tensor(_PERIODS, dtype=torch.float32)
    sizes = torch.stack([n / 100, torch.log1p(n) / 5], dim=1)
    features = torch.cat([angles.cos(), angles.sin(), sizes], dim=1)
    with torch.no_grad():
        weight[list(numbers.values()), :n_features] = _FEATURE_SCALE * features


def _batches(
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterator[tuple[str, str]],
    batch_tokens: int,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (input_ids, labels), both (batch, length), of about `batch_tokens` tokens each."""
    ids_of = tokenizer.get_vocab()
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rng = random.Random(f"batches {seed}")
    ended = False
    while not ended:
        bucket: list[tuple[list[int], list[int]]] = []
        held = 0
        while held < _BUCKET_BATCHES * batch_tokens:
            example = next(examples, None)
            if example is None:
                ended = True
                break
            prompt = [bos, *_word_ids(ids_of, example[0])]
            answer = [*_word_ids(ids_of, example[1]), eos]
            bucket.append((prompt + answer, [_IGNORED] * len(prompt) + answer))
            held += len(prompt) + len(answer)
        # Shuffled before the sort, so that batches of equal lengths still mix.
        rng.shuffle(bucket)
        bucket.sort(key=lambda pair: len(pair[0]))
        cut = list(_cut(bucket, batch_tokens))
        rng.shuffle(cut)
        for batch in cut:
            length = max(len(ids) for ids, _ in batch)
            yield (
                torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in batch]),
                torch.tensor([labels + [_IGNORED] * (length - len(labels)) for _, labels in batch]),
            )


def _cut(
    bucket: list[tuple[list[int], list[int]]], batch_tokens: int
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Runs of the sorted bucket, each of at most `batch_tokens` padded tokens or one example."""
    batch: list[tuple[list[int], list[int]]] = []
    for example in bucket:
        if batch and (len(batch) + 1) * len(example[0]) > batch_tokens:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _word_ids(ids_of: dict[str, int], text: str) -> list[int]:
    try:
        return [ids_of[word] for word in text.split()]
    except KeyError as error:
        raise ValueError(f"the tokenizer has no word {error.args[0]!r} (in {text!r})") from None
