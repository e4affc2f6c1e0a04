"""Four ways to get more out of a pretrained transformer than it was trained for.

`WindowRecurrence` gives a decoder that reads in short windows a small memory from one window to
the next: use it where the computation or the memory for a longer context is not to be had, and some
text to train the memory on is. `HiddenStateOptimizer` takes gradient steps on the cached states of
what was read, and leaves the weights alone: use it on long texts unlike those that the model was
trained on, where twice the computation buys a little loss; `DynamicEvaluation`, its peer, moves
weights instead. A modern model with a context of thousands of tokens needs neither below that
length. `SundaeSeq2Seq` makes a translator that writes all words at once out of masked language
models: where a decoder from left to right is too slow, or there is none for a language.
`conditional_beam_search` finds the likeliest output that has an attribute, as a length or not being
degenerate, where beam search returns empty or looping texts; `exact_mode` finds the likeliest
output there is, for short outputs of small models, to see what a model really prefers.

    from paperround.papers.making_the_most import HiddenStateOptimizer

    losses = HiddenStateOptimizer(model, lr=3e-3).score(ids)    # nats, (rows, tokens - 1)

Yoshida: Making the Most of your Model: Methods for Finetuning and Applying Pretrained Transformers,
arXiv 2408.16241, 2024 (thesis, 2023); its parts are arXiv 2008.07027, 2112.08653 and 2311.08817.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
