"""DITTO in the Trainer of transformers: a collator that builds the repetitions, and the trainer.

    trainer = DittoTrainer(model, args, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()

A share of the updates, `ditto_rate`, uses the DITTO loss on the re-organised batch, the others the
Trainer's own loss on the batch as it is. With `ditto_rate=0` the weights are those of the plain
Trainer, bit for bit. `DittoMixin` brings the same to another subclass of Trainer.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info
from transformers import PreTrainedTokenizerBase, Trainer

from paperround.papers.ditto.method import (
    END_TOKENS,
    LAMBDA,
    Kind,
    PseudoBatch,
    build_pseudo_repetition,
    ditto_loss,
    end_token_ids,
)

# The share of updates that use the DITTO loss: sequence-level-train-rate in the published command.
DITTO_RATE = 0.5
_PREFIX = "ditto_"
_FIELDS = tuple(field.name for field in fields(PseudoBatch))


class DittoDataCollator:
    """Batches with `input_ids`, `attention_mask`, `labels`, and the fields of a `PseudoBatch`.

    Examples need `input_ids`; `labels` are those unless given, and then -100 marks a prompt that
    becomes the prefix. Batches are padded on the right. `max_length` cuts longer examples; rows of
    the pseudo-repetition have `pseudo_length` tokens, by default as many as the batch is wide. For
    a model with encoder and decoder (`encoder_decoder=True`) the labels are what is repeated.

    Its randomness is its own: batches are the same for the same seed, and the global random state
    stays as it was.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: Collection[str] = END_TOKENS,
        *,
        end_ids: Collection[int] | None = None,
        max_length: int | None = None,
        pseudo_length: int | None = None,
        min_len: int = 3,
        max_len: int | None = None,
        encoder_decoder: bool = False,
        seed: int = 0,
    ) -> None:
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length is {max_length}; it must be at least 2")
        self.end_ids = frozenset(
            end_token_ids(tokenizer, end_tokens) if end_ids is None else end_ids
        )
        # A tokenizer may have no token for padding. What stands there is never seen: the mask is 0
        # and the label -100.
        self._pad_id = next(
            (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0
        )
        self._max_length, self._pseudo_length = max_length, pseudo_length
        self._min_len, self._max_len = min_len, max_len
        self._encoder_decoder, self._seed = encoder_decoder, seed
        self._generator: torch.Generator | None = None

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of some examples. Raises ValueError for one without tokens."""
        rows = [self._cut(example["input_ids"]) for example in examples]
        targets = [
            self._cut(example["labels"]) if example.get("labels") is not None else row
            for example, row in zip(examples, rows, strict=True)
        ]
        if not all(rows) or not all(targets):
            raise ValueError("an example has no tokens; leave it out of the data set")
        input_ids, attention_mask = (
            _padded(rows, self._pad_id),
            _padded([[1] * len(r) for r in rows], 0),
        )
        labels = _padded(targets, -100)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if self._encoder_decoder:
            pseudo = self._build(_padded(targets, self._pad_id), labels != -100, None)
        else:
            if labels.shape != input_ids.shape:
                raise ValueError(
                    "labels and input_ids of an example differ in length; "
                    "for a model with encoder and decoder give encoder_decoder=True"
                )
            pseudo = self._build(input_ids, attention_mask, labels)
        return batch | {_PREFIX + name: getattr(pseudo, name) for name in _FIELDS}

    def _build(self, ids: Tensor, attention_mask: Tensor, labels: Tensor | None) -> PseudoBatch:
        # Workers of a data loader are copies of this process; each gets its own stream, and another
        # one in each epoch.
        worker = get_worker_info()
        seed = self._seed if worker is None else self._seed ^ worker.seed
        if self._generator is None or self._generator.initial_seed() != seed:
            self._generator = torch.Generator().manual_seed(seed)
        return build_pseudo_repetition(
            ids,
            self.end_ids,
            generator=self._generator,
            attention_mask=attention_mask,
            labels=labels,
            length=self._pseudo_length,
            min_len=self._min_len,
            max_len=self._max_len,
        )

    def _cut(self, ids: Any) -> list[int]:
        ids = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return ids[: self._max_length]


if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    # At run time the Trainer is whichever class comes after the mixin.
    _Base = object


class DittoMixin(_Base):
    """Puts the DITTO loss into a subclass of Trainer: `class Mine(DittoMixin, MyTrainer)`.

    Batches must come from a `DittoDataCollator`. `ditto_counts` says how many batches so far used
    which loss; `fallback` are those of the plain ones in which no row held a sentence to repeat,
    although it was DITTO's turn. The share of batches that really used the DITTO loss is logged
    beside the training loss, as `ditto_share`.
    """

    def __init__(
        self,
        *args: Any,
        ditto_rate: float = DITTO_RATE,
        lam: float = LAMBDA,
        ditto_kind: Kind = "nl",
        **kwargs: Any,
    ) -> None:
        if not 0.0 <= ditto_rate <= 1.0:
            raise ValueError(f"ditto_rate is {ditto_rate}; it must be within 0 and 1")
        self.ditto_rate, self.lam, self.ditto_kind = ditto_rate, lam, ditto_kind
        self.ditto_counts = {"ditto": 0, "plain": 0, "fallback": 0}
        super().__init__(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of one batch, and the outputs where they are asked for."""
        inputs, pseudo = split_pseudo(inputs)
        if model.training:
            if pseudo is None:
                raise ValueError(
                    "the batch holds no pseudo-repetition; its collator is no DittoDataCollator"
                )
            if self._is_ditto_update():
                if len(pseudo):
                    self.ditto_counts["ditto"] += 1
                    outputs = self._pseudo_outputs(model, inputs, pseudo)
                    loss = ditto_loss(
                        outputs.logits,
                        pseudo.labels,
                        pseudo.prev_index,
                        pseudo.mask,
                        self.lam,
                        self.ditto_kind,
                    )
                    loss = self._scaled(loss, num_items_in_batch)
                    return (loss, outputs) if return_outputs else loss
                self.ditto_counts["fallback"] += 1
            self.ditto_counts["plain"] += 1
        return super().compute_loss(
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """As the Trainer's: evaluation knows nothing of repetitions."""
        return super().prediction_step(model, split_pseudo(inputs)[0], *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Logs the share of batches that used the DITTO loss, beside the training loss."""
        n_batches = self.ditto_counts["ditto"] + self.ditto_counts["plain"]
        if "loss" in logs and n_batches:
            logs = logs | {"ditto_share": self.ditto_counts["ditto"] / n_batches}
        super().log(logs, *args, **kwargs)

    def _is_ditto_update(self) -> bool:
        # Of the seed and the update's number alone: all batches of an update and all processes
        # agree, a run that is resumed goes on as it would have, and no random state is touched.
        rng = random.Random(f"ditto {self.args.seed} {self.state.global_step}")
        return rng.random() < self.ditto_rate

    def _pseudo_outputs(self, model: nn.Module, inputs: dict[str, Any], pseudo: PseudoBatch) -> Any:
        if not self.model.config.is_encoder_decoder:
            return model(input_ids=pseudo.input_ids, use_cache=False)
        shift = self.model.prepare_decoder_input_ids_from_labels
        return model(
            input_ids=inputs["input_ids"][pseudo.row_index],
            attention_mask=inputs["attention_mask"][pseudo.row_index],
            decoder_input_ids=shift(labels=pseudo.labels),
            use_cache=False,
        )

    def _scaled(self, loss: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        # The Trainer divides a mean by the number of accumulated batches, unless it believes that
        # the model has already divided its sum by all their tokens, as it does for the plain loss.
        already = self.compute_loss_func is not None or (
            self.model_accepts_loss_kwargs and num_items_in_batch is not None
        )
        return loss / self.current_gradient_accumulation_steps if already else loss


class DittoTrainer(DittoMixin, Trainer):
    """A Trainer whose updates use the DITTO loss half of the time.

    `ditto_rate`, `lam` and `ditto_kind` as in the paper; everything else as the Trainer of
    transformers. Without `data_collator` it makes a `DittoDataCollator` of the tokenizer that is
    given as `processing_class`.
    """

    def __init__(
        self, model: Any = None, args: Any = None, data_collator: Any = None, **kwargs: Any
    ):
        if data_collator is None:
            tokenizer = kwargs.get("processing_class")
            if tokenizer is None:
                raise ValueError("give data_collator, or the tokenizer as processing_class")
            data_collator = DittoDataCollator(
                tokenizer, encoder_decoder=bool(model.config.is_encoder_decoder)
            )
        super().__init__(model, args, data_collator, **kwargs)


def split_pseudo(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], PseudoBatch | None]:
    """The batch without the pseudo-repetition's fields, and those, where it has them."""
    plain = {name: value for name, value in inputs.items() if not name.startswith(_PREFIX)}
    if len(plain) == len(inputs):
        return plain, None
    return plain, PseudoBatch(**{name: inputs[_PREFIX + name] for name in _FIELDS})


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(
        [torch.tensor(row, dtype=torch.long) for row in rows],
        batch_first=True,
        padding_value=value,
    )
