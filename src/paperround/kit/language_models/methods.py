"""Ways to decode, by name: what `paperround generate --method` chooses from.

A paper's room offers its own by a module `generator.py` with a mapping `GENERATORS`:

    GENERATORS = {"mine": GenerationMethod("mine", "what it does", generate, {"beams": 4})}

where `generate(request)` gives a `Generated`. A method that changes the model
itself (leaves out layers, edits weights) does so in `prepare`, whose time is not counted. One that
a `generators.toml` declares (`declarations.py`) stands on the site's page too.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import CardError, UsageError
from paperround.kit.language_models.contract import Prompt
from paperround.kit.language_models.declarations import Declaration, read_declarations
from paperround.kit.language_models.local import LocalModel
from paperround.kit.offers import completed, offered, offering

# What a model's own settings may ask for beside the decoding is switched off: methods compare where
# they choose from the same probabilities.
PLAIN_SETTINGS: Mapping[str, Any] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}


@dataclass(frozen=True)
class Request:
    """One prompt, how many tokens may follow, the randomness, and the method's options."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt: Prompt
    max_new_tokens: int
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def input_ids(self) -> Tensor:
        """(1, tokens): the prompt with its template or special tokens, on the model's device.

        Raises UsageError for a prompt that is empty, or that with `max_new_tokens` exceeds the
        context: most methods hand both to transformers, which would go on into nonsense.
        """
        seam = LocalModel(self.model, self.tokenizer)
        [ids] = seam.check(
            [self.prompt], n=1, max_new_tokens=1, temperature=0.0, top_p=1.0, stop=()
        )
        if seam.context is not None and len(ids) + self.max_new_tokens > seam.context:
            raise UsageError(
                f"the prompt has {len(ids)} tokens and {self.max_new_tokens} new ones are allowed, "
                f"more together than the model's context of {seam.context}"
            )
        return torch.tensor([ids], device=self.model.device)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What `model.generate` takes: the ids, and a mask that shows all of them."""
        return {"input_ids": self.input_ids, "attention_mask": torch.ones_like(self.input_ids)}

    def text(self, new_ids: Tensor) -> str:
        """The new tokens as text, special ones left out."""
        return self.tokenizer.decode(new_ids, skip_special_tokens=True)


@dataclass(frozen=True)
class Candidate:
    """One text; `n_tokens` were generated for it. `log_prob` is the model's own, where known."""

    text: str
    n_tokens: int
    log_prob: float | None = None


@dataclass(frozen=True)
class Generated:
    """What a method gave for a prompt, best candidate first.

    `changed`: one sentence about what the method did differently, with its figures; these stand in
    `figures` too, by name, for programs. `passes`: forward passes of the model, where counted.
    """

    candidates: tuple[Candidate, ...]
    changed: str
    passes: int | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)


def _unchanged(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: Any) -> Any:
    return model


@dataclass(frozen=True)
class GenerationMethod:
    """A way to decode: its name, what it does in half a sentence, its options with their defaults.

    `prepare(model, tokenizer, options)` gives the model that `generate` works with, and leaves the
    given one as it was. `is_greedy` promises the text of greedy decoding with the given model,
    token for token; `paperround generate --compare` holds it to that.
    """

    name: str
    about: str
    generate: Callable[[Request], Generated]
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[
        [PreTrainedModel, PreTrainedTokenizerBase, Mapping[str, Any]], PreTrainedModel
    ] = _unchanged
    is_greedy: bool = False

    def prepared(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        options: Mapping[str, Any],
    ) -> PreTrainedModel:
        """The model that `generate` works with. Raises UsageError where this one does not suit."""
        try:
            return self.prepare(model, tokenizer, options)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from error

    @classmethod
    def declared(
        cls,
        declaration: Declaration,
        generate: Callable[[Request], Generated],
        prepare: Callable[
            [PreTrainedModel, PreTrainedTokenizerBase, Mapping[str, Any]], PreTrainedModel
        ] = _unchanged,
    ) -> Self:
        """The method of a declaration in `generators.toml`, with what puts it to work."""
        return cls(
            declaration.name,
            declaration.about,
            generate,
            declaration.options,
            prepare,
            declaration.is_greedy,
        )

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, the given ones in the place of the defaults; refuses unknown ones."""
        return completed(self.name, self.options, options)


@dataclass(frozen=True)
class Timed:
    """What a method gave, and the seconds from the prompt to the last token."""

    generated: Generated
    seconds: float

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all candidates a second; None where there are none."""
        n_tokens = sum(candidate.n_tokens for candidate in self.generated.candidates)
        return n_tokens / self.seconds if n_tokens and self.seconds else None


def timed(method: GenerationMethod, request: Request) -> Timed:
    """The method at work on a request whose model is prepared and whose options are complete.

    Raises UsageError where the method cannot follow the request or does not suit the model.
    """
    if request.max_new_tokens < 0:
        raise UsageError(f"max_new_tokens is {request.max_new_tokens}; it cannot be negative")
    # Before the clock runs, and so that a bad prompt is refused alike by all methods.
    _ = request.input_ids
    if request.max_new_tokens == 0:
        return Timed(Generated((Candidate("", 0),), "Nothing: no new tokens are allowed.", 0), 0.0)
    started = time.perf_counter()
    try:
        generated = method.generate(request)
    except ValueError as error:
        raise UsageError(f"{method.name}: {error}") from error
    return Timed(generated, time.perf_counter() - started)


def warm_up(method: GenerationMethod, request: Request) -> None:
    """One new token that nothing counts.

    What a process pays once (code that is imported on first use, the pages of the weights, threads)
    would else be the cost of the method that happens to come first. A request that the method
    cannot follow passes in silence: `timed` says what is wrong with it.
    """
    with contextlib.suppress(UsageError):
        timed(method, replace(request, max_new_tokens=min(1, request.max_new_tokens)))


def find_method(name: str) -> GenerationMethod:
    """The method of that name: one of `plain_methods.py`, or one that a paper's room offers.

    Where it is declared, no other room's code is imported. Raises UsageError where there is none of
    that name, CardError where a room declares it and does not offer it.
    """
    for slug, module, folder in offering("generator"):
        try:
            is_declared = name in read_declarations(folder, slug)
        except CardError:
            # Another room may have it; if none has, all are imported below.
            continue
        if is_declared:
            methods: Mapping[str, GenerationMethod] = importlib.import_module(module).GENERATORS
            if name not in methods:
                raise CardError(f"{slug}: generators.toml has '{name}', generator.py does not")
            return methods[name]
    plain = _plain()
    if name in plain:
        return plain[name]
    known = known_methods()
    if name not in known:
        raise UsageError(f"no method '{name}'; there are {', '.join(known)}")
    return known[name]


def known_methods() -> dict[str, GenerationMethod]:
    """Every method there is, by name: the plain ones, then those of the papers' rooms."""
    return {**_plain(), **offered("generator", "GENERATORS")}


def _plain() -> Mapping[str, GenerationMethod]:
    # Not at the top: that module is built on this one.
    plain: Mapping[str, GenerationMethod] = importlib.import_module(
        "paperround.kit.language_models.plain_methods"
    ).PLAIN
    return plain
