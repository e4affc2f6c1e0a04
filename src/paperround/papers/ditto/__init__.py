"""DITTO: a language model that stops repeating its own sentences, by a little more training.

Greedy text of small and fine-tuned models falls into loops, because every repetition of a sentence
makes the next one more probable. `self_reinforcement` measures that on any causal model; the
training takes it away: half of the updates see a sentence repeated until the row is full, and learn
that each copy be only lambda times as probable as the one before it. Use it where a model that you
may train loops under greedy decoding or beam search, and decoding should stay as it is. Where the
weights cannot be changed, set `repetition_penalty` or `no_repeat_ngram_size`: they need no training
and cost little, but forbid repetitions that belong to the text as well. Where text must be copied
over and over (tables, code, transcripts), measure copying before and after.

    from paperround.papers.ditto import DittoTrainer

    trainer = DittoTrainer(model, args, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()

`build_pseudo_repetition` and `ditto_loss` are the same for a training loop of your own.

Xu, Liu, Yan, Cai, Li, Li: Learning to Break the Loop: Analyzing and Mitigating Repetitions for
Neural Text Generation, arXiv 2206.02369, NeurIPS 2022.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
