"""LLM-Drop: leave out the attentions, MLPs or blocks of a language model that change least.

Scores every block, attention and MLP of a decoder by how little it turns the residual stream, in
one pass over some calibration text, and deletes the most similar ones, without training. Attentions
are the most redundant: they can go in number, and the cache of keys and values goes with them. Use
it to make a model smaller and faster in a minute where some quality may be paid, on its own or
before quantisation or a short repair. Small models have little to spare: on 135 million parameters
eight of thirty attentions nearly double the perplexity. Where a smaller distilled model is at hand,
compare with that first.

    from paperround.papers import llm_drop

    scores = llm_drop.score_sublayers(model, windows)          # (1, tokens) each
    plan = llm_drop.plan_drop(scores, 8, kind="attention")
    removed = llm_drop.drop(model, plan)                        # removed.restore() undoes it
    llm_drop.save_dropped(model, "smaller", form="code", tokenizer=tokenizer)

Works on models of transformers whose layers are attention and then MLP, each with its norm: Llama,
Mistral, Qwen2, Qwen3, Gemma 2 and 3, GPT-2 and what is built like them; others are refused. What a
saved folder needs to be loaded, and what it saves, is said in `saving`. `decoding_speedup` measures
the speed-up beside the one that the removed work allows.

He, Sun, Shen, Li: What Matters in Transformers? Not All Attention is Needed, arXiv 2406.15786, 2024
(TMLR 2026 as: Uncovering the Redundancy in Transformers via a Unified Study of Layer Dropping).
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
