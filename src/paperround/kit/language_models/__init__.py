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

from importlib import import_module
from typing import Any

_HOMES = {
    "CachedModel": "caching",
    "Candidate": "methods",
    "Capability": "contract",
    "Completion": "contract",
    "EndpointModel": "endpoint",
    "Generated": "methods",
    "GenerationMethod": "methods",
    "LanguageModel": "contract",
    "LocalModel": "local",
    "Message": "contract",
    "Prompt": "contract",
    "Request": "methods",
    "Score": "contract",
    "find_method": "methods",
    "known_methods": "methods",
    "load_language_model": "loading",
    "load_tokenizer": "loading",
    "open_model": "loading",
    "serve": "serving",
    "timed": "methods",
    "use_threads": "loading",
}

__all__ = list(_HOMES)


# Lazy, so that whoever talks to a server alone imports no torch.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
