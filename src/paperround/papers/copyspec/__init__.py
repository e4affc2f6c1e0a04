"""CopySpec: decoding that copies what the text has said before, with the same output.

When the last few tokens occurred earlier in the conversation, the text may go on as it did there:
the next tokens are copied as a draft and verified in one forward pass. No second model, no extra
memory, the output unchanged. Use it where answers repeat their context: editing, rewriting with a
change, quoting retrieved passages, refactoring code, self-correction. Where nothing repeats it
gains nothing and costs a little; in batches, and for models with a recurrent state, it is refused.

    from paperround.papers import copyspec

    inputs = tokenizer("Fix the typo and give the whole text again: ...", return_tensors="pt")
    output = copyspec.generate(model, **inputs, gamma=3, max_copy=10, max_new_tokens=200)
    print(tokenizer.decode(output.sequences[0]), output.stats.tau)

`AdaptiveCopy` is a rule of our own for what to copy and how much, faster than the paper's; give
`generate` one as `rule=AdaptiveCopy(measure_pass_cost(model))`. On a command line:
`paperround generate --method copyspec`, and `--method copyspec-adaptive`.

Razvan-Gabriel Dumitru, Minglai Yang, Vikas Yadav, Mihai Surdeanu: CopySpec: Accelerating LLMs with
Speculative Copy-and-Paste Without Compromising Quality. arXiv:2502.08923, 2025.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
