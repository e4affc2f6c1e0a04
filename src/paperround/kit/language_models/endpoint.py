"""A server that speaks OpenAI's API, behind the seam: chat and completions, asked with patience.

What fails for the moment is asked again, later each time, and a server that says when to come again
is heeded. An answer is believed where it adds up: one that breaks off, takes too long, or claims
more tokens than were allowed is an `EndpointError`.
"""

import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2

from paperround.errors import EndpointError, UnsupportedError, UsageError
from paperround.kit.language_models.contract import (
    Capability,
    Completion,
    Finish,
    Prompt,
    Score,
    check_sampling,
    is_chat,
)
from paperround.log import get_logger

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_FIRST_WAIT_S = 1.0
# A server that wants a longer pause gets none: the caller decides whether to come again.
_LONGEST_WAIT_S = 120.0
_MAX_BYTES = 64 << 20
_SAID = 200


class _TransientError(Exception):
    """What may be over the next time, and how long the server wants one to wait."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _RefusedError(EndpointError):
    """The server does not take the request as it is."""


class EndpointModel:
    """A model behind `base_url`, such as `http://127.0.0.1:8000/v1`.

    kind: "chat" asks /chat/completions, where a text becomes a user's message; "completion" asks
        /completions, which goes on with texts.
    key_variable: the environment variable that holds the key; the key goes to that address alone,
        over https or inside this machine, and stands in no message, log or cache.
    timeout_s: how long one whole answer may take.
    attempts: how often something is asked that fails for the moment.
    concurrency: how many requests run at once.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        kind: Literal["chat", "completion"] = "chat",
        key_variable: str | None = None,
        concurrency: int = 8,
        timeout_s: float = 120.0,
        attempts: int = 4,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"'{base_url}' is no address; write http://HOST:PORT/v1")
        if parts.username or parts.password or parts.query:
            raise UsageError("a model's address has no password and no query; name a variable")
        if kind not in ("chat", "completion"):
            raise UsageError(f"kind is '{kind}'; write chat or completion")
        if concurrency < 1 or attempts < 1 or not timeout_s > 0:
            raise UsageError("concurrency and attempts are at least 1, timeout_s is above 0")
        self._key = ""
        if key_variable is not None:
            self._key = os.environ.get(key_variable, "")
            if not self._key:
                raise UsageError(f"the environment has no {key_variable}, which is to hold the key")
            if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
                raise UsageError(f"{base_url} would get the key in the clear; write https://")
        self._base_url, self._model, self._kind = base_url.rstrip("/"), model, kind
        self._concurrency, self._timeout_s = concurrency, timeout_s
        self._attempts, self._sleep, self._jitter = attempts, sleep, jitter
        # Learnt from the server's answers: whether it gives several texts at once.
        self._takes_n = True

    def __repr__(self) -> str:
        return f"EndpointModel({self._base_url!r}, {self._model!r}, kind={self._kind!r})"

    @property
    def name(self) -> str:
        """The model's name and address."""
        return f"{self._model} at {self._base_url} ({self._kind})"

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        """What the server does; the first time it is asked for one token with its probability."""
        can: set[Capability] = {"generate"}
        if self._kind == "chat":
            can.add("chat")
        try:
            self._ask_one("A", 1, None, max_new_tokens=1, temperature=0, logprobs=True)
            can.add("logprobs")
        except (UnsupportedError, _RefusedError):
            pass
        if self._kind == "completion":
            try:
                self._score("A", " B")
                can.add("score")
            except UnsupportedError:
                pass
        return frozenset(can)

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
        """As `LanguageModel.generate`; whether a seed is heeded is the server's affair."""
        check_sampling(prompts, n, max_new_tokens, temperature, top_p, stop)
        if self._kind == "completion" and any(is_chat(prompt) for prompt in prompts):
            raise UnsupportedError("chat", self.name, "it is of kind completion; give texts")
        if max_new_tokens == 0:
            # Servers disagree about 0: some refuse, some take it for no limit.
            nothing = Completion("", 0, "length", None, () if logprobs else None)
            return [[nothing] * n for _ in prompts]
        options: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "stop": list(stop),
            "logprobs": logprobs,
        }
        return self._at_once(lambda prompt: self._ask(prompt, n, seed, **options), prompts)

    def score(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Score]:
        """As `LanguageModel.score`, where a completion server echoes the prompt's probabilities.

        Raises UnsupportedError where it does not, and where a token of the server's reaches from
        the prompt into the continuation: then nobody can say what is whose.
        """
        return self._at_once(lambda pair: self._score(*pair), pairs)

    def _at_once(self, ask: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        if not items:
            return []
        with ThreadPoolExecutor(min(self._concurrency, len(items))) as pool:
            futures = [pool.submit(ask, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _ask(self, prompt: Prompt, n: int, seed: int | None, **options: Any) -> list[Completion]:
        """`n` texts, by one request where the server gives several, else by one for each."""
        found: list[Completion] = []
        if n == 1 or self._takes_n:
            try:
                found = self._ask_one(prompt, n, seed, **options)[:n]
            except _RefusedError:
                if n == 1:
                    raise
        if len(found) < n:
            self._takes_n = False
        while len(found) < n:
            # With one seed for all of them they would all be the same text.
            own_seed = None if seed is None else seed + len(found)
            found += self._ask_one(prompt, 1, own_seed, **options)[:1]
        return found

    def _ask_one(
        self,
        prompt: Prompt,
        n: int,
        seed: int | None,
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        logprobs: bool,
    ) -> list[Completion]:
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
        }
        # What is not asked for is not sent: small servers refuse what they do not know.
        if n > 1:
            body["n"] = n
        if seed is not None:
            body["seed"] = seed
        if stop:
            body["stop"] = list(stop)
        if self._kind == "chat":
            said = prompt if is_chat(prompt) else [{"role": "user", "content": prompt}]
            body["messages"] = [dict(message) for message in said]
            if logprobs:
                body["logprobs"] = True
            answer = self._post("/chat/completions", body)
        else:
            body["prompt"] = prompt
            if logprobs:
                body["logprobs"] = 1
            answer = self._post("/completions", body)
        choices = _choices(answer, self.name)
        # What all texts took together; only of a single one does it say anything.
        n_tokens = _n_tokens(answer, self.name) if len(choices) == 1 else None
        return [self._completion(choice, n_tokens, max_new_tokens, logprobs) for choice in choices]

    def _completion(
        self, choice: Mapping[str, Any], n_tokens: int | None, allowed: int, logprobs: bool
    ) -> Completion:
        if self._kind == "chat":
            message = choice.get("message")
            text = message.get("content") if isinstance(message, dict) else None
            # Whoever thinks first may have said nothing when the tokens ran out.
            if (
                isinstance(message, dict)
                and text is None
                and choice.get("finish_reason") == "length"
            ):
                text = ""
        else:
            text = choice.get("text")
        if not isinstance(text, str):
            raise EndpointError(f"{self.name} answered a choice without a text")
        token_log_probs = None
        if logprobs:
            token_log_probs = _log_probs(choice.get("logprobs"))
            if token_log_probs is None:
                raise UnsupportedError(
                    "logprobs", self.name, "its answer has no probabilities of the tokens"
                )
            n_tokens = len(token_log_probs)
        if n_tokens is not None and n_tokens > allowed:
            raise EndpointError(
                f"{self.name} says that it generated {n_tokens} tokens where {allowed} were allowed"
            )
        return Completion(text, n_tokens, self._finish(choice), None, token_log_probs)

    def _finish(self, choice: Mapping[str, Any]) -> Finish:
        reason = choice.get("finish_reason")
        if reason in ("stop", "length"):
            return "stop" if reason == "stop" else "length"
        # A filter's text, or the call of a tool, is not what was asked for.
        raise EndpointError(f"{self.name} ended a text for the reason {reason!r}")

    def _score(self, prompt: Prompt, continuation: str) -> Score:
        if self._kind == "chat" or not isinstance(prompt, str):
            raise UnsupportedError("score", self.name, "only completions of texts can be scored")
        if not prompt:
            raise UsageError("the prompt is empty; a continuation follows some text")
        body = {
            "model": self._model,
            "prompt": prompt + continuation,
            "max_tokens": 0,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        try:
            [choice] = _choices(self._post("/completions", body), self.name)
        except _RefusedError as error:
            raise UnsupportedError("score", self.name, f"it does not echo: {error}") from error
        found = choice.get("logprobs")
        offsets = found.get("text_offset") if isinstance(found, dict) else None
        log_probs = found.get("token_logprobs") if isinstance(found, dict) else None
        if (
            choice.get("text") != prompt + continuation
            or not isinstance(offsets, list)
            or not isinstance(log_probs, list)
            or len(offsets) != len(log_probs)
        ):
            raise UnsupportedError(
                "score", self.name, "it does not echo a text with the probabilities of its tokens"
            )
        if continuation and len(prompt) not in offsets:
            raise UnsupportedError(
                "score",
                self.name,
                f"one of its tokens reaches from the prompt into {continuation[:20]!r}; let the "
                "prompt end before a space",
            )
        own = [p for p, at in zip(log_probs, offsets, strict=True) if at >= len(prompt)]
        if not all(isinstance(p, int | float) for p in own):
            raise EndpointError(f"{self.name} gave a probability that is no number")
        return Score(float(sum(own)), tuple(float(p) for p in own))

    def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        for attempt in range(1, self._attempts + 1):
            try:
                return self._post_once(path, body)
            except _TransientError as error:
                backoff = _FIRST_WAIT_S * 2 ** (attempt - 1) * (0.5 + self._jitter())
                wait_s = backoff if error.wait_s is None else error.wait_s
                if attempt == self._attempts or wait_s > _LONGEST_WAIT_S:
                    later = f"; it asks to come again in {wait_s:.0f} s" if error.wait_s else ""
                    raise EndpointError(
                        f"{self.name}: {error} (attempt {attempt}){later}"
                    ) from error
                get_logger().info(
                    "endpoint.again",
                    url=self._base_url,
                    reason=str(error),
                    attempt=attempt,
                    wait_s=round(wait_s, 1),
                )
                self._sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _post_once(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        deadline = time.monotonic() + self._timeout_s
        parts: list[bytes] = []
        size = 0
        try:
            # No proxies or passwords of the environment, and no redirects: the key stays here.
            with (
                httpx2.Client(timeout=self._timeout_s, trust_env=False) as client,
                client.stream(
                    "POST", self._base_url + path, json=body, headers=headers
                ) as response,
            ):
                for part in response.iter_bytes():
                    size += len(part)
                    if size > _MAX_BYTES:
                        raise EndpointError(
                            f"{self.name}: its answer is longer than {_MAX_BYTES >> 20} MiB"
                        )
                    # A byte now and then keeps a connection alive, and nobody served.
                    if time.monotonic() > deadline:
                        raise _TransientError(f"no whole answer within {self._timeout_s:g} s")
                    parts.append(part)
        except httpx2.TimeoutException as error:
            raise _TransientError(f"no whole answer within {self._timeout_s:g} s") from error
        except httpx2.RequestError as error:
            raise _TransientError(
                f"{type(error).__name__}: {self._without_key(str(error))}".rstrip(": ")
            ) from error
        raw = b"".join(parts)
        status = response.status_code
        if status in _TRANSIENT:
            raise _TransientError(
                f"status {status}: {self._said(raw)}", _retry_after(response.headers)
            )
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise EndpointError(f"{self.name}: status {status}: {self._said(raw)}")
        if 400 <= status < 500:
            raise _RefusedError(f"{self.name}: status {status}: {self._said(raw)}")
        if status != HTTPStatus.OK:
            raise EndpointError(f"{self.name}: status {status}; give the final address")
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise _TransientError(
                f"its answer of {len(raw)} bytes breaks off or is no JSON"
            ) from error
        if not isinstance(answer, dict):
            raise EndpointError(f"{self.name} answered no JSON object")
        return answer

    def _said(self, raw: bytes) -> str:
        """What a server says of an error, in short."""
        said = raw.decode(errors="replace")
        try:
            error = json.loads(said)["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, TypeError, LookupError):
            pass
        return " ".join(self._without_key(said).split())[:_SAID] or "no reason given"

    def _without_key(self, text: str) -> str:
        """Servers like to repeat a key that they do not know."""
        return text.replace(self._key, "(the key)") if self._key else text


def _choices(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise EndpointError(f"{name} answered without choices")
    if not all(isinstance(choice, dict) for choice in choices):
        raise EndpointError(f"{name} answered choices that are no objects")
    return choices


def _n_tokens(answer: Mapping[str, Any], name: str) -> int | None:
    usage = answer.get("usage")
    n_tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if n_tokens is not None and (not isinstance(n_tokens, int) or n_tokens < 0):
        raise EndpointError(f"{name} says that it generated {n_tokens!r} tokens")
    return n_tokens


def _log_probs(found: object) -> tuple[float, ...] | None:
    """Each token's log-probability: as chat has it, or as completions do; None where neither is."""
    if not isinstance(found, dict):
        return None
    values = found.get("token_logprobs")
    if isinstance(found.get("content"), list):
        values = [one.get("logprob") for one in found["content"] if isinstance(one, dict)]
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return None
    return tuple(float(value) for value in values)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from a number of them or a date."""
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
