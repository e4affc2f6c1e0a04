"""Language models behind one seam: local ones of transformers, and servers that speak OpenAI's API.

`LanguageModel` (`contract.py`) is what a room asks of a model: text for a prompt, probabilities of
a continuation. `LocalModel` is any causal model of transformers, `EndpointModel` a server,
`CachedModel` either of them with a memory, and `serve` makes a server of a local one. A method that
needs logits, gradients or the cache takes `model, tokenizer` as transformers has them, and no seam.

    from paperround.kit.language_models import LocalModel, open_model

    model = LocalModel(*open_model("path/to/model"))
    [[answer]] = model.generate(["Once upon a time"], max_new_tokens=20, temperature=0)
    print(answer.text)

`methods.py` is how a room offers its way to decode to `paperround generate`.
"""

import lazy_loader

# Imported when somebody asks, so that what needs no torch imports none.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
