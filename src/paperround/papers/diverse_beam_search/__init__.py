"""Diverse beam search: a list of candidates that differ, at the cost of one beam search.

Beam search returns near-copies of its favourite. Diverse beam search splits the B beams into G
groups that advance one after another; a group pays lambda for every token that an earlier group
chose at the same time step. Use it where several candidates are wanted and something picks among
them afterwards (a verifier, a re-ranker, a person), or where the same candidates must come back
every time. For one answer, plain beam search or greedy decoding is enough; with hundreds of
candidates per prompt, sampling covers more. transformers removed its own group beam search
in version 5; code that called it keeps working with `custom_generate=group_beam_search`.

    from paperround.papers.diverse_beam_search import generate_diverse

    prompts = tokenizer(["Once upon a time"], return_tensors="pt")
    found = generate_diverse(model, prompts, num_beams=6, num_beam_groups=6, max_new_tokens=20)
    texts = tokenizer.batch_decode(found.sequences, skip_special_tokens=True)

`diverse_beam_search` is the same for any step function, without a model library.

Vijayakumar, Cogswell, Selvaraju, Sun, Lee, Crandall, Batra: Diverse Beam Search: Decoding Diverse
Solutions from Neural Sequence Models, arXiv 1610.02424, 2016 (AAAI 2018).
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
