"""A language model as a server on this machine that speaks OpenAI's API.

`/v1/models`, `/v1/completions` and `/v1/chat/completions`, as a whole or as server-sent events; so
that other programs can use a small model, and the way through `EndpointModel` is tested over HTTP.
Loopback only: it knows no keys, and one text is made at a time.
"""

import asyncio
import json
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from paperround.errors import PaperroundError, UsageError
from paperround.kit.language_models.contract import Completion, Message, Prompt
from paperround.kit.language_models.local import LocalModel

_HOST = "127.0.0.1"
_START_S = 30.0
# A letter of several tokens; nothing of it is sent before it is whole.
_UNFINISHED = "\ufffd"


class _Sampling(BaseModel):
    # Programs send more than these; what they do not mean for us is refused only where it matters.
    model_config = ConfigDict(extra="ignore")

    model: str = ""
    max_tokens: int | None = Field(default=None, ge=0)
    max_completion_tokens: int | None = Field(default=None, ge=0)
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=128)
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool = False

    def options(self) -> dict[str, Any]:
        """As `LocalModel.generate` takes them."""
        limits = (self.max_tokens, self.max_completion_tokens, 16)
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return {
            "n": self.n,
            "max_new_tokens": next(limit for limit in limits if limit is not None),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": stop,
            "seed": self.seed,
        }


class _CompletionRequest(_Sampling):
    prompt: str | list[str]
    logprobs: int | None = Field(default=None, ge=0)
    echo: bool = False


class _ChatRequest(_Sampling):
    messages: list[dict[str, str]] = Field(min_length=1)
    logprobs: bool = False


@contextmanager
def serve(model: LocalModel, port: int = 0) -> Iterator[str]:
    """The address to give as `base_url` while the server runs; port 0 takes a free one."""
    with socket.create_server((_HOST, port)) as listener:
        config = uvicorn.Config(application(model), log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="language model", daemon=True
        )
        thread.start()
        try:
            deadline = time.monotonic() + _START_S
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise UsageError(f"no server could be started on {_HOST}")
                time.sleep(0.01)
            yield f"http://{_HOST}:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join()


def application(model: LocalModel) -> FastAPI:
    """The server's application."""
    app = FastAPI(title="Paperround's language model", docs_url=None, redoc_url=None)
    # One model, one cache of its kernels: texts are made one after the other.
    turn = threading.Lock()
    name = model.name

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return _refusal(f"{where or 'the body'}: {first['msg']}")

    @app.exception_handler(PaperroundError)
    async def refused(request: Request, error: PaperroundError) -> Response:
        return _refusal(str(error), error.http_status)

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "owned_by": "paperround"}],
        }

    @app.post("/v1/completions")
    def completions(asked: _CompletionRequest) -> Response:
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        if asked.echo:
            with turn:
                return _answer("text_completion", name, [_echo(model, p, asked) for p in prompts])
        if asked.stream:
            return _streamed("text", model, turn, prompts, asked, name)
        with turn:
            found = model.generate(prompts, **asked.options(), logprobs=asked.logprobs is not None)
        texts = [one for completions in found for one in completions]
        choices = [_text_choice(place, one, model) for place, one in enumerate(texts)]
        return _answer("text_completion", name, choices, texts)

    @app.post("/v1/chat/completions")
    def chat(asked: _ChatRequest) -> Response:
        prompt: list[Message] = [*asked.messages]
        if asked.stream:
            return _streamed("chat", model, turn, [prompt], asked, name)
        with turn:
            [texts] = model.generate([prompt], **asked.options(), logprobs=asked.logprobs)
        choices = [_chat_choice(place, one, model) for place, one in enumerate(texts)]
        return _answer("chat.completion", name, choices, texts)

    return app


def _refusal(message: str, status: int = 400) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind}}, status)


def _answer(
    kind: str, name: str, choices: list[dict[str, Any]], texts: list[Completion] | None = None
) -> Response:
    body: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "object": kind,
        "created": int(time.time()),
        "model": name,
        "choices": choices,
    }
    if texts is not None:
        body["usage"] = {"completion_tokens": sum(one.n_tokens or 0 for one in texts)}
    return JSONResponse(body)


def _reason(completion: Completion) -> str:
    return "length" if completion.finish == "length" else "stop"


def _text_choice(index: int, completion: Completion, model: LocalModel) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "text": completion.text,
        "finish_reason": _reason(completion),
        "logprobs": None,
    }
    if completion.token_log_probs is not None:
        choice["logprobs"] = {
            "tokens": _tokens(completion, model),
            "token_logprobs": completion.token_log_probs,
        }
    return choice


def _chat_choice(index: int, completion: Completion, model: LocalModel) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "message": {"role": "assistant", "content": completion.text},
        "finish_reason": _reason(completion),
        "logprobs": None,
    }
    if completion.token_log_probs is not None:
        pairs = zip(_tokens(completion, model), completion.token_log_probs, strict=True)
        choice["logprobs"] = {
            "content": [{"token": token, "logprob": log_prob} for token, log_prob in pairs]
        }
    return choice


def _tokens(completion: Completion, model: LocalModel) -> list[str]:
    return [model.tokenizer.decode([token]) for token in completion.token_ids or ()]


def _echo(model: LocalModel, text: str, asked: _CompletionRequest) -> dict[str, Any]:
    """The text itself with its tokens' log-probabilities; nothing is generated."""
    if asked.options()["max_new_tokens"] or asked.logprobs is None:
        raise UsageError("echo comes with max_tokens 0 and logprobs here")
    ids = model.encode(text)

    def decode(tokens: list[int]) -> str:
        return model.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    if decode(ids) != text:
        raise UsageError("the tokenizer does not give this text back, so it cannot be echoed")
    # Where each token begins: the offsets of tokenizers leave out the space before a word.
    places = [len(decode(ids[:n])) for n in range(len(ids))]
    log_probs = model.score_ids([(ids[:1], ids[1:])])[0].token_log_probs if ids else ()
    return {
        "index": 0,
        "text": text,
        "finish_reason": "length",
        "logprobs": {
            "tokens": [model.tokenizer.decode([token]) for token in ids],
            # Nothing stands before the first token, so it has no probability.
            "token_logprobs": [None, *log_probs][: len(ids)],
            "text_offset": places,
        },
    }


def _streamed(
    kind: Literal["text", "chat"],
    model: LocalModel,
    turn: threading.Lock,
    prompts: Sequence[Prompt],
    asked: _Sampling,
    name: str,
) -> Response:
    """Server-sent events: pieces of each text as they come, why it ended, and `[DONE]`."""
    options = asked.options()
    # Before the answer has begun, so that a prompt that cannot be taken still gets a status.
    model.check(prompts, **options)
    gone = threading.Event()
    return _Stream(_events(kind, model, turn, prompts, options, name, gone), gone)


class _Stream(StreamingResponse):
    """Server-sent events that say when nobody listens any more."""

    def __init__(self, events: AsyncIterator[str], gone: threading.Event) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Here, as an iterator that is left before its end is closed at some later time.
            self._gone.set()


async def _events(
    kind: Literal["text", "chat"],
    model: LocalModel,
    turn: threading.Lock,
    prompts: Sequence[Prompt],
    options: dict[str, Any],
    name: str,
    gone: threading.Event,
) -> AsyncIterator[str]:
    # (index of the choice, text so far), then what `generate` gave, or its error.
    news: asyncio.Queue[tuple[int, str] | list[list[Completion]] | Exception] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(new: tuple[int, str] | list[list[Completion]] | Exception) -> None:
        if not gone.is_set():
            loop.call_soon_threadsafe(news.put_nowait, new)

    def on_text(number: int, sample: int, text: str) -> None:
        if gone.is_set():
            raise _GoneError
        tell((number * options["n"] + sample, text))

    def work() -> None:
        try:
            with turn:
                tell(model.generate(prompts, **options, on_text=on_text))
        except Exception as error:
            tell(error)

    threading.Thread(target=work, name="streamed text", daemon=True).start()
    sent: dict[int, int] = {}
    while isinstance(new := await news.get(), tuple):
        index, text = new
        whole = len(_settled(text, options["stop"]))
        if whole > sent.get(index, 0):
            yield _event(kind, name, index, text[sent.get(index, 0) : whole])
            sent[index] = whole
    if isinstance(new, Exception):
        message = str(new) if isinstance(new, PaperroundError) else type(new).__name__
        yield f"data: {json.dumps({'error': {'message': message}})}\n\n"
        return
    for index, completion in enumerate(one for found in new for one in found):
        rest = completion.text[sent.get(index, 0) :]
        yield _event(kind, name, index, rest, _reason(completion))
    yield "data: [DONE]\n\n"


class _GoneError(Exception):
    """Nobody listens any more."""


def _settled(text: str, stop: list[str]) -> str:
    """As much of a growing text as nothing that follows can take back."""
    for string in stop:
        if (place := text.find(string)) >= 0:
            text = text[:place]
    longest = max(
        (n for string in stop for n in range(1, len(string)) if text.endswith(string[:n])),
        default=0,
    )
    return text[: len(text) - longest].rstrip(_UNFINISHED)


def _event(
    kind: Literal["text", "chat"], name: str, index: int, piece: str, reason: str | None = None
) -> str:
    said = {"delta": {"content": piece}} if kind == "chat" else {"text": piece}
    body = {
        "object": "chat.completion.chunk" if kind == "chat" else "text_completion",
        "model": name,
        "choices": [{"index": index, **said, "finish_reason": reason}],
    }
    return f"data: {json.dumps(body)}\n\n"
