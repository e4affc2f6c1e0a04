"""Small translation models: pairs of texts, joint byte pairs, and a Transformer trained on a CPU.

    pairs = read_multi30k(folder, "train")
    tokenizer = learn_tokenizer(pairs, 6_000)
    model = train_translator(pairs, tokenizer, TrainingPlan(steps=2_000), seed=0)
    translate(model, tokenizer, ["a man is sleeping ."])

The model is a MarianMTModel of transformers with random weights at first, so `generate`, caches and
beam search are transformers' own. `texts.py` has the pairs and the tokenizer, `batches.py` what
one update sees, `training.py` the model, `decoding.py` translations and distilled pairs,
`quality.py` BLEU and chrF.
"""

import lazy_loader

# Lazy, so that reading pairs imports no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
