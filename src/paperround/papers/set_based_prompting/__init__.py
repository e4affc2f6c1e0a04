r"""Set-based prompting: a prompt whose parts have no order, for any transformer, by construction.

The options of a question, the documents that a search found, the candidates that a model is to
judge: a language model answers otherwise when they stand in another order. Two edits of a model's
input take the order away, without training and in one pass: the members of a set start at the same
position, and none may attend to another. Use it where the order of candidates must not decide
(judging, re-ranking, multiple choice). It costs accuracy where the model profits from reading the
candidates one after another; with an interface that takes no mask, average over orders instead.

    from paperround.papers.set_based_prompting import SetPrompt, set_generate, set_of

    prompt = SetPrompt(["Which one can fly?", set_of(["\n- a crow", "\n- a cat"]), "\nAnswer:"])
    print(set_generate(model, tokenizer, prompt, max_new_tokens=10).texts)

Reid McIlroy-Young, Katrina Brown, Conlan Olson, Linjun Zhang, Cynthia Dwork: Set-Based Prompting:
Provably Solving the Language Model Order Dependency Problem, arXiv 2406.06581, 2024 (NeurIPS 2024,
as Order-Independence Without Fine Tuning).
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
