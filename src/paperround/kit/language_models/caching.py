"""A model with a memory: what was asked before is answered from a file, in SQLite."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paperround.errors import UsageError
from paperround.kit.language_models.contract import (
    Capability,
    Completion,
    LanguageModel,
    Prompt,
    Score,
    check_sampling,
    is_chat,
)

# Another process may be writing.
_WAIT_S = 60.0


class CachedModel:
    """`inner`, asked only for what the file at `path` does not hold.

    What is kept is known by the model's name, the prompt, every value of the sampling and the
    number of the sample; keys of servers are no part of it. Without a seed, too, a sample stays
    what it was the first time. Several processes may share a file.
    """

    def __init__(self, inner: LanguageModel, path: Path) -> None:
        self._inner, self._path = inner, path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute(
                "create table if not exists answer (key text primary key, value text not null)"
            )

    @property
    def name(self) -> str:
        """The inner model's."""
        return self._inner.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The inner model's."""
        return self._inner.capabilities

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        logprobs: bool = False,
    ) -> list[list[Completion]]:
        """As `LanguageModel.generate`."""
        check_sampling(prompts, n, max_new_tokens, temperature, top_p, stop)
        sampling: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "temperature": float(temperature),
            "top_p": float(top_p),
            "stop": list(stop),
            "seed": seed,
            "logprobs": logprobs,
        }
        name = self.name
        keys = [
            [_key("generate", name, _plain(prompt), sampling, sample) for sample in range(n)]
            for prompt in prompts
        ]
        known = self._read([key for row in keys for key in row])
        # By their keys, so that equal prompts are asked for once.
        missing = {row[0]: place for place, row in enumerate(keys) if not known.keys() >= {*row}}
        if missing:
            places = list(missing.values())
            found = self._inner.generate([prompts[place] for place in places], n=n, **sampling)
            self._write(
                {
                    key: asdict(completion)
                    for place, completions in zip(places, found, strict=True)
                    for key, completion in zip(keys[place], completions, strict=True)
                }
            )
            # Read again: where another process was first, its answers are the ones that stay.
            known = self._read([key for row in keys for key in row])
        return [[_completion(known[key]) for key in row] for row in keys]

    def score(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Score]:
        """As `LanguageModel.score`."""
        name = self.name
        keys = [_key("score", name, _plain(prompt), text) for prompt, text in pairs]
        known = self._read(keys)
        missing = {key: place for place, key in enumerate(keys) if key not in known}
        if missing:
            found = self._inner.score([pairs[place] for place in missing.values()])
            self._write({key: asdict(score) for key, score in zip(missing, found, strict=True)})
            known = self._read(keys)
        return [Score(known[key]["log_prob"], tuple(known[key]["token_log_probs"])) for key in keys]

    def _read(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        with self._connection() as connection:
            rows = connection.execute(
                "select key, value from answer where key in (select value from json_each(?))",
                [json.dumps(list(keys))],
            ).fetchall()
        return {key: json.loads(value) for key, value in rows}

    def _write(self, answers: dict[str, dict[str, Any]]) -> None:
        rows = [(key, json.dumps(value)) for key, value in answers.items()]
        with self._connection() as connection:
            connection.executemany("insert or ignore into answer values (?, ?)", rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for every use, so that threads and processes may share a file."""
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{self._path} cannot hold a model's answers: {error}; name another file"
            ) from error


def _plain(prompt: Prompt) -> Any:
    return [dict(message) for message in prompt] if is_chat(prompt) else prompt


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _completion(kept: dict[str, Any]) -> Completion:
    for name in ("token_ids", "token_log_probs"):
        if kept[name] is not None:
            kept[name] = tuple(kept[name])
    return Completion(**kept)
