"""DITTO in the real Trainer of transformers, on tiny models of every family."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from paperround.papers.ditto import DittoDataCollator, DittoMixin, DittoTrainer
from paperround.papers.ditto.method import ditto_loss
from paperround.papers.ditto.trainer import split_pseudo

FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2")


def arguments(folder, **more):
    return TrainingArguments(
        output_dir=str(folder),
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **{
            "save_strategy": "no",
            "per_device_train_batch_size": 2,
            "max_steps": 4,
            "learning_rate": 1e-2,
            "logging_steps": 2,
            "seed": 0,
        }
        | more,
    )


def examples(a_text, n=12, sentences=6):
    return [{"input_ids": a_text(sentences, seed)} for seed in range(n)]


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_a_rate_of_zero_gives_the_plain_trainers_weights_bit_for_bit(
    a_model, tokenizer, a_text, tmp_path
):
    collator = DittoDataCollator(tokenizer)

    def plain_batch(rows):
        return split_pseudo(collator(rows))[0]

    found = []
    for make in ("plain", "ditto"):
        # Dropout shows a draw from the global random state.
        how = {
            "model": a_model("gpt2-dropout"),
            "args": arguments(tmp_path, gradient_accumulation_steps=2),
            "train_dataset": examples(a_text),
        }
        if make == "plain":
            trainer = Trainer(**how, data_collator=plain_batch)
        else:
            trainer = DittoTrainer(**how, data_collator=collator, ditto_rate=0.0)
        trainer.train()
        found.append(weights(trainer))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_probability_of_repeating(family, a_model, tokenizer, a_text, tmp_path):
    model = a_model(family)
    rows = examples(a_text, 2)
    trainer = DittoTrainer(
        model,
        arguments(tmp_path, max_steps=12, per_device_train_batch_size=2),
        train_dataset=rows,
        processing_class=tokenizer,
        ditto_rate=1.0,
    )
    batch = split_pseudo(trainer.data_collator(rows))[1]

    def loss():
        with torch.no_grad():
            logits = model.eval()(batch.input_ids).logits
        return ditto_loss(logits, batch.labels, batch.prev_index, batch.mask).item()

    before = loss()
    trainer.train()
    assert loss() < before
    assert trainer.ditto_counts == {"ditto": 12, "plain": 0, "fallback": 0}


def test_about_the_asked_share_of_updates_uses_the_loss_and_it_is_logged(
    a_model, tokenizer, a_text, tmp_path
):
    trainer = DittoTrainer(
        a_model(),
        arguments(tmp_path, max_steps=60, per_device_train_batch_size=1, logging_steps=30),
        train_dataset=examples(a_text),
        processing_class=tokenizer,
    )
    trainer.train()
    assert 20 <= trainer.ditto_counts["ditto"] <= 40
    assert sum(trainer.ditto_counts.values()) == 60
    logged = [entry["ditto_share"] for entry in trainer.state.log_history if "ditto_share" in entry]
    assert logged[-1] == trainer.ditto_counts["ditto"] / 60


def test_batches_without_sentences_fall_back_and_are_counted(a_model, tokenizer, tmp_path):
    rows = [{"input_ids": [8, 9, 10, 11, 12, 13]} for _ in range(8)]
    trainer = DittoTrainer(
        a_model(),
        arguments(tmp_path),
        train_dataset=rows,
        processing_class=tokenizer,
        ditto_rate=1.0,
    )
    trainer.train()
    assert trainer.ditto_counts == {"ditto": 0, "plain": 4, "fallback": 4}


def test_accumulated_batches_weigh_as_one_batch_of_all(a_model, tokenizer, a_text, tmp_path):
    # One example again and again, with one sentence to choose: all pseudo-batches are equal.
    rows = [{"input_ids": a_text(3)} for _ in range(8)]
    found = []
    for size, steps in ((4, 1), (1, 4)):
        trainer = DittoTrainer(
            a_model(),
            arguments(
                tmp_path,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=steps,
                max_steps=2,
                max_grad_norm=0.0,
                optim="sgd",
            ),
            train_dataset=rows,
            data_collator=DittoDataCollator(tokenizer, pseudo_length=24),
            ditto_rate=1.0,
        )
        trainer.train()
        assert trainer.ditto_counts["ditto"] == 2 * steps
        found.append(weights(trainer))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-6)


def test_evaluation_is_that_of_plain_text(a_model, tokenizer, a_text, tmp_path):
    rows = examples(a_text, 4)
    collator = DittoDataCollator(tokenizer)
    ours = DittoTrainer(a_model(), arguments(tmp_path), collator, eval_dataset=rows, ditto_rate=1.0)
    plain = Trainer(
        a_model(),
        arguments(tmp_path),
        lambda batch: split_pseudo(collator(batch))[0],
        eval_dataset=rows,
    )
    assert ours.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]


def test_a_model_with_encoder_and_decoder_repeats_its_labels(a_model, tokenizer, a_text, tmp_path):
    rows = [{"input_ids": a_text(1, seed), "labels": a_text(4, seed + 50)} for seed in range(6)]
    trainer = DittoTrainer(
        a_model("t5"),
        arguments(tmp_path, max_steps=6),
        train_dataset=rows,
        processing_class=tokenizer,
        ditto_rate=1.0,
    )
    before = weights(trainer)
    trainer.train()
    assert trainer.ditto_counts["ditto"] == 6
    assert any(not torch.equal(before[name], value) for name, value in weights(trainer).items())


def test_a_resumed_run_goes_on_as_the_whole_one_would(a_model, tokenizer, a_text, tmp_path):
    def train(folder, steps, resume=None):
        # The collator's own choices are fixed by giving each row one sentence to choose.
        trainer = DittoTrainer(
            a_model(),
            arguments(
                folder,
                max_steps=steps,
                save_strategy="steps",
                save_steps=3,
                lr_scheduler_type="constant",
            ),
            train_dataset=[{"input_ids": a_text(3, seed)} for seed in range(12)],
            data_collator=DittoDataCollator(tokenizer, pseudo_length=24),
        )
        trainer.train(resume_from_checkpoint=resume)
        return weights(trainer)

    whole = train(tmp_path / "whole", 6)
    train(tmp_path / "parts", 3)
    resumed = train(tmp_path / "parts", 6, resume=str(tmp_path / "parts" / "checkpoint-3"))
    for name in whole:
        torch.testing.assert_close(resumed[name], whole[name])


def test_the_mixin_goes_before_another_trainer(a_model, tokenizer, a_text, tmp_path):
    class Doubled(Trainer):
        def compute_loss(self, *args, **kwargs):
            return 2 * super().compute_loss(*args, **kwargs)

    class Mine(DittoMixin, Doubled):
        pass

    trainer = Mine(
        a_model(),
        arguments(tmp_path),
        DittoDataCollator(tokenizer),
        train_dataset=examples(a_text),
        ditto_rate=0.5,
    )
    trainer.train()
    assert trainer.ditto_counts["ditto"] + trainer.ditto_counts["plain"] == 4


def test_batches_of_another_collator_are_refused(a_model, a_text, tmp_path):
    def other(rows):
        ids = torch.tensor([row["input_ids"] for row in rows])
        return {"input_ids": ids, "labels": ids}

    trainer = DittoTrainer(a_model(), arguments(tmp_path), other, train_dataset=examples(a_text))
    with pytest.raises(ValueError, match="DittoDataCollator"):
        trainer.train()


def test_a_trainer_without_tokenizer_or_with_an_impossible_rate_is_refused(
    a_model, tokenizer, tmp_path
):
    with pytest.raises(ValueError, match="processing_class"):
        DittoTrainer(a_model(), arguments(tmp_path))
    with pytest.raises(ValueError, match="ditto_rate"):
        DittoTrainer(a_model(), arguments(tmp_path), processing_class=tokenizer, ditto_rate=1.2)


# The collator.


def test_batches_are_padded_on_the_right_and_labels_ignore_the_padding(tokenizer):
    batch = DittoDataCollator(tokenizer)([{"input_ids": [8, 9, 10]}, {"input_ids": [8]}])
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[8, 9, 10], [8, -100, -100]]


def test_the_same_seed_gives_the_same_repetitions_and_leaves_the_random_state(tokenizer, a_text):
    rows = examples(a_text, 6, sentences=9)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = DittoDataCollator(tokenizer, seed=4)(rows)
    again = DittoDataCollator(tokenizer, seed=4)(rows)
    other = DittoDataCollator(tokenizer, seed=5)(rows)
    assert torch.equal(first["ditto_labels"], again["ditto_labels"])
    assert not torch.equal(first["ditto_labels"], other["ditto_labels"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_long_examples_are_cut_and_padding_needs_no_token_of_its_own(tokenizer, a_text):
    import copy

    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    batch = DittoDataCollator(bare, max_length=7)([{"input_ids": a_text(5)}, {"input_ids": [8]}])
    assert batch["input_ids"].shape == (2, 7)


@pytest.mark.parametrize("row", [{"input_ids": []}, {"input_ids": [1, 2], "labels": []}])
def test_an_example_without_tokens_is_refused(tokenizer, row):
    with pytest.raises(ValueError, match="no tokens"):
        DittoDataCollator(tokenizer)([row])


def test_labels_of_another_length_need_an_encoder(tokenizer):
    with pytest.raises(ValueError, match="encoder_decoder"):
        DittoDataCollator(tokenizer)([{"input_ids": [8, 9], "labels": [8, 9, 10]}])
