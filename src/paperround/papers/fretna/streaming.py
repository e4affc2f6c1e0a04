"""Re-translation: at every new source word the translation is made again, and shown.

`Retranslator` is what a program holds for one stream. `stream_all` runs a whole corpus through one
in batches, with the same outputs; only times are not those of single updates there.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein
from transformers import MarianMTModel, PreTrainedModel, PreTrainedTokenizerFast

from paperround.errors import UsageError
from paperround.kit.translation import (
    check_sources,
    length_limit,
    source_ids,
    translate_ids,
)
from paperround.papers.fretna.autoregressive import expected_passes, greedy_decode
from paperround.papers.fretna.levt import LevenshteinTransformer
from paperround.papers.fretna.metrics import common_prefix
from paperround.papers.fretna.refinement import refine

Kind = Literal["levt", "ar", "speculative"]
# How many updates `stream_all` makes at once.
_ROWS = 128


@dataclass(frozen=True)
class Edit:
    """One change of the shown words: `before` from `start` on became `after`."""

    start: int
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """What is shown after one source word, what that changed, and what it took."""

    words: tuple[str, ...]
    edits: tuple[Edit, ...]
    passes: int
    seconds: float

    @property
    def text(self) -> str:
        """The words as a line."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Stream:
    """All that was shown of one sentence: words and decoder passes after each source word."""

    outputs: tuple[tuple[str, ...], ...]
    passes: tuple[int, ...]
    # Of each update, where they were made one by one.
    seconds: tuple[float, ...] = ()

    @property
    def final(self) -> str:
        """The last translation as a line."""
        return " ".join(self.outputs[-1]) if self.outputs else ""


class Retranslator:
    """Translates a growing source anew at each update.

    `kind` is "levt" (a LevenshteinTransformer edits what it said before: the paper's method), "ar"
    (a MarianMTModel decodes greedily from the start) or "speculative" (the same tokens, the former
    translation being the draft). With `from_previous=False` the first kind starts from nothing each
    time. `mask_k` hides the last words as long as the source is not finished.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        kind: Kind = "levt",
        *,
        refinements: int = 2,
        append_bias: float = 0.0,
        mask_k: int = 0,
        from_previous: bool = True,
    ) -> None:
        wanted = LevenshteinTransformer if kind == "levt" else MarianMTModel
        if not isinstance(model, wanted):
            raise UsageError(
                f"kind '{kind}' needs a {wanted.__name__}, this is a {type(model).__name__}"
            )
        if refinements < 1 or mask_k < 0 or append_bias < 0:
            raise UsageError(
                f"refinements is {refinements}, mask_k {mask_k}, append_bias {append_bias}; give "
                "at least 1, 0 and 0"
            )
        self.model, self.tokenizer, self.kind = model.eval(), tokenizer, kind
        self.refinements, self.append_bias = refinements, append_bias
        self.mask_k, self.from_previous = mask_k, from_previous
        self.reset()

    def reset(self) -> None:
        """Forgets the stream; the next update begins another."""
        self._tokens: list[int] = []
        self._words: tuple[str, ...] = ()

    def update(self, source_prefix: str, *, finished: bool = False) -> Shown:
        """What is shown now that the source has come to `source_prefix`.

        `finished` says that no more will come. A prefix without words shows nothing new. Raises
        UsageError for one that is longer than the model's positions; what is shown stays then.
        """
        started = time.perf_counter()
        source = source_ids(self.tokenizer, source_prefix, finished=finished)
        passes = 0
        if source_prefix.split():
            self._tokens, passes = self._translate(source)
        words = self._visible(self._tokens, finished)
        edits = edits_between(self._words, words)
        self._words = words
        return Shown(words, edits, passes, time.perf_counter() - started)

    def stream(self, words: Iterable[str]) -> Iterator[Shown]:
        """What is shown after each word of a new stream; the last is known to be the last."""
        self.reset()
        prefix: list[str] = []
        coming = iter(words)
        word = next(coming, None)
        while word is not None:
            prefix.append(word)
            word = next(coming, None)
            yield self.update(" ".join(prefix), finished=word is None)

    def _translate(self, source: Sequence[int]) -> tuple[list[int], int]:
        if self.kind == "levt":
            return self._refined([source], [self._tokens])[0]
        draft = self._tokens if self.kind == "speculative" else []
        decoded = greedy_decode(self.model, source, draft)
        return decoded.tokens, decoded.passes

    def _refined(
        self, sources: Sequence[Sequence[int]], previous: Sequence[Sequence[int]]
    ) -> list[tuple[list[int], int]]:
        rows = refine(
            self.model,
            sources,
            previous if self.from_previous else None,
            max_refinements=self.refinements,
            append_bias=self.append_bias,
        )
        return [(row.tokens, row.passes) for row in rows]

    def _visible(self, tokens: Sequence[int], finished: bool) -> tuple[str, ...]:
        words = tuple(self.tokenizer.decode(tokens, skip_special_tokens=True).split())
        return words if finished or not self.mask_k else words[: max(0, len(words) - self.mask_k)]


def stream_all(
    retranslator: Retranslator,
    sources: Sequence[str],
    translations: Sequence[Sequence[list[int]]] | None = None,
) -> list[Stream]:
    """Every source through the retranslator word by word, as `stream` does it one by one.

    `translations` are what `translate_prefixes` gave for the same model and sources; without them
    the autoregressive kinds translate all prefixes first. Raises UsageError for a source without
    words, or longer than the model's positions.
    """
    if empty := [i for i, source in enumerate(sources) if not source.split()]:
        raise UsageError(f"source {empty[0]} has no words; leave it out")
    prefixes = _prefixes(retranslator.tokenizer, sources)
    # Now, and not after all the shorter prefixes.
    check_sources(retranslator.model, [row[-1] for row in prefixes])
    if retranslator.kind == "levt":
        made = _all_refined(retranslator, prefixes)
    else:
        if translations is None:
            translations = translate_prefixes(retranslator.model, retranslator.tokenizer, sources)
        made = _all_decoded(retranslator, prefixes, translations)
    return [
        Stream(
            tuple(
                retranslator._visible(tokens, n == len(row))
                for n, (tokens, _) in enumerate(row, start=1)
            ),
            tuple(passes for _, passes in row),
        )
        for row in made
    ]


def translate_prefixes(
    model: MarianMTModel, tokenizer: PreTrainedTokenizerFast, sources: Sequence[str]
) -> list[list[list[int]]]:
    """The greedy translation of every source after each of its words, as ids.

    All at once, since none depends on another.
    """
    prefixes = _prefixes(tokenizer, sources)
    flat = iter(translate_ids(model, [ids for row in prefixes for ids in row]))
    return [[next(flat) for _ in row] for row in prefixes]


def edits_between(before: Sequence[str], after: Sequence[str]) -> tuple[Edit, ...]:
    """The spans of words that changed, in order; what was appended is the last of them."""
    return tuple(
        Edit(
            code.src_start,
            tuple(before[code.src_start : code.src_end]),
            tuple(after[code.dest_start : code.dest_end]),
        )
        for code in Levenshtein.opcodes(before, after)
        if code.tag != "equal"
    )


def _all_refined(
    retranslator: Retranslator, prefixes: Sequence[Sequence[list[int]]]
) -> list[list[tuple[list[int], int]]]:
    made: list[list[tuple[list[int], int]]] = [[] for _ in prefixes]
    for n in range(max(map(len, prefixes), default=0)):
        going = [i for i, row in enumerate(prefixes) if n < len(row)]
        for start in range(0, len(going), _ROWS):
            rows = going[start : start + _ROWS]
            before = [made[i][-1][0] if n else [] for i in rows]
            found = retranslator._refined([prefixes[i][n] for i in rows], before)
            for i, update in zip(rows, found, strict=True):
                made[i].append(update)
    return made


def _prefixes(tokenizer: PreTrainedTokenizerFast, sources: Sequence[str]) -> list[list[list[int]]]:
    """Each source after each of its words, as ids."""
    return [
        [
            source_ids(tokenizer, " ".join(words[:n]), finished=n == len(words))
            for n in range(1, len(words) + 1)
        ]
        for words in (source.split() for source in sources)
    ]


def _all_decoded(
    retranslator: Retranslator,
    prefixes: Sequence[Sequence[list[int]]],
    translations: Sequence[Sequence[list[int]]],
) -> list[list[tuple[list[int], int]]]:
    """The translations with the passes that each would have taken alone."""
    model = retranslator.model
    made: list[list[tuple[list[int], int]]] = []
    for row, translated in zip(prefixes, translations, strict=True):
        before: list[int] = []
        updates = []
        for ids, tokens in zip(row, translated, strict=True):
            limit = min(length_limit(len(ids)), model.config.max_position_embeddings - 1)
            draft = before if retranslator.kind == "speculative" else []
            accepted = common_prefix(draft, tokens)
            passes = expected_passes(tokens, accepted, limit)
            updates.append((tokens, passes))
            before = tokens
        made.append(updates)
    return made
