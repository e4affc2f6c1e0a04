from .caching import CachedModel
from .contract import (
    Capability,
    Completion,
    LanguageModel,
    Message,
    Prompt,
    Score,
)
from .declarations import Declaration, declared_methods
from .endpoint import EndpointModel
from .loading import (
    load_language_model,
    load_tokenizer,
    open_model,
    use_threads,
)
from .local import LocalModel
from .methods import (
    Candidate,
    Generated,
    GenerationMethod,
    Request,
    find_method,
    known_methods,
    timed,
    warm_up,
)
from .reporting import report
from .serving import serve

__all__ = [
    "CachedModel",
    "Candidate",
    "Capability",
    "Completion",
    "Declaration",
    "EndpointModel",
    "Generated",
    "GenerationMethod",
    "LanguageModel",
    "LocalModel",
    "Message",
    "Prompt",
    "Request",
    "Score",
    "declared_methods",
    "find_method",
    "known_methods",
    "load_language_model",
    "load_tokenizer",
    "open_model",
    "report",
    "serve",
    "timed",
    "use_threads",
    "warm_up",
]
