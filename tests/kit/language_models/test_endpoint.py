"""A model behind an address: the real protocol over real HTTP, and servers that misbehave."""

import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from paperround.errors import EndpointError, UnsupportedError, UsageError
from paperround.kit.language_models import EndpointModel, LocalModel, serve
from paperround.kit.language_models.families import byte_tokenizer, random_model
from paperround.kit.language_models.timing import counted_passes

KEY = "sk-very-secret-0123456789"


class Server:
    """A server whose every answer a test writes; remembers what it was asked."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, dict[str, Any], int], None]):
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append({"path": self.path, **body})
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                answer(self, body, len(server.asked))

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@contextmanager
def a_server(answer: Callable[..., None]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, body: Any, status: int = 200, **headers: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"content_length": str(len(raw)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(raw)


def chat(*texts: str, reason: str = "stop", usage: Any = None, logprobs: Any = None) -> Any:
    choices = [
        {
            "index": place,
            "message": {"role": "assistant", "content": text},
            "finish_reason": reason,
            "logprobs": logprobs,
        }
        for place, text in enumerate(texts)
    ]
    return {"choices": choices, **({"usage": {"completion_tokens": usage}} if usage else {})}


def a_model(url: str, **options: Any) -> EndpointModel:
    """With no waiting between attempts; what it would have waited is in `waited`."""
    waited: list[float] = []
    model = EndpointModel(url, "m", **{"sleep": waited.append, "jitter": lambda: 0.5, **options})
    model.waited = waited  # type: ignore[attr-defined]
    return model


# A local model served to itself: every answer is known.


@pytest.fixture(scope="module")
def local() -> LocalModel:
    return LocalModel(random_model("llama"), byte_tokenizer())


@pytest.fixture(scope="module")
def address(local: LocalModel) -> Iterator[str]:
    with serve(local) as url:
        yield url


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_texts_over_http_are_those_of_the_model_itself(
    local: LocalModel, address: str, temperature: float
) -> None:
    remote = a_model(address, kind="completion")
    options: dict[str, Any] = {
        "n": 2, "max_new_tokens": 9, "temperature": temperature, "seed": 4, "logprobs": True,
    }  # fmt: skip
    prompts = ["abc", "Grüße"]
    expected, found = local.generate(prompts, **options), remote.generate(prompts, **options)
    for theirs, ours in zip(found, expected, strict=True):
        for a, b in zip(theirs, ours, strict=True):
            assert (a.text, a.n_tokens, a.finish) == (b.text, b.n_tokens, b.finish)
            assert a.token_log_probs == pytest.approx(b.token_log_probs)


def test_conversations_over_http_are_those_of_the_model_itself(
    local: LocalModel, address: str
) -> None:
    said = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 0, "logprobs": True}
    [[expected]] = local.generate([said], **options)
    [[found]] = a_model(address).generate([said], **options)
    assert found.text == expected.text
    assert found.token_log_probs == pytest.approx(expected.token_log_probs)
    # A text is a user's message to a chat.
    [[as_text]] = a_model(address).generate(["hello"], max_new_tokens=8, temperature=0)
    [[as_said]] = local.generate([said[1:]], max_new_tokens=8, temperature=0)
    assert as_text.text == as_said.text


def test_scores_over_http_are_those_of_the_model_itself(local: LocalModel, address: str) -> None:
    pairs = [("The sky is", " blue"), ("The sky is", " a plate of ravioli"), ("a", "")]
    remote = a_model(address, kind="completion")
    assert remote.capabilities == {"generate", "logprobs", "score"}
    for ours, theirs in zip(local.score(pairs), remote.score(pairs), strict=True):
        assert theirs.log_prob == pytest.approx(ours.log_prob)
        assert theirs.token_log_probs == pytest.approx(ours.token_log_probs)


def test_a_chat_cannot_score(address: str) -> None:
    remote = a_model(address)
    assert remote.capabilities == {"generate", "chat", "logprobs"}
    with pytest.raises(UnsupportedError, match="score") as caught:
        remote.score([("a", "b")])
    assert caught.value.capability == "score"


def test_the_server_refuses_with_a_reason(address: str) -> None:
    with pytest.raises(EndpointError, match=r"status 400.*leaves no room"):
        a_model(address, kind="completion").generate(["x" * 600])
    with pytest.raises(EndpointError, match=r"status 404"):
        a_model(address + "/nowhere").generate(["x"])
    for path, body in (
        ("/completions", {"prompt": "a", "temperature": -1}),
        ("/completions", {"prompt": 7}),
        ("/chat/completions", {"messages": []}),
        ("/completions", {"prompt": "a", "echo": True, "max_tokens": 3, "logprobs": 1}),
    ):
        answer = httpx2.post(address + path, json=body, trust_env=False)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_the_server_names_its_model(local: LocalModel, address: str) -> None:
    [only] = httpx2.get(address + "/models", trust_env=False).json()["data"]
    assert only["id"] == local.name


def events(address: str, path: str, body: dict[str, Any]) -> list[Any]:
    found = []
    with httpx2.stream("POST", address + path, json=body, trust_env=False) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line:
                assert line.startswith("data: ")
                found.append(line.removeprefix("data: "))
    assert found[-1] == "[DONE]"
    return [json.loads(event) for event in found[:-1]]


def test_streamed_pieces_make_up_the_text(local: LocalModel, address: str) -> None:
    [texts] = local.generate(["Grüße"], n=2, max_new_tokens=20, seed=2)
    body = {"prompt": "Grüße", "n": 2, "max_tokens": 20, "seed": 2, "stream": True}
    pieces = events(address, "/completions", body)
    assert len(pieces) > 4
    for index, text in enumerate(texts):
        own = [p["choices"][0] for p in pieces if p["choices"][0]["index"] == index]
        assert "".join(choice["text"] for choice in own) == text.text
        assert [choice["finish_reason"] for choice in own][-1] == "length"


def test_a_streamed_text_never_shows_a_stop_string(local: LocalModel, address: str) -> None:
    said = [{"role": "user", "content": "hello"}]
    [[whole]] = local.generate([said], max_new_tokens=30, temperature=0)
    stop = whole.text[10:14]
    body = {
        "messages": said, "max_tokens": 30, "temperature": 0, "stop": stop, "stream": True,
    }  # fmt: skip
    pieces = [event["choices"][0] for event in events(address, "/chat/completions", body)]
    shown = "".join(piece["delta"]["content"] for piece in pieces)
    assert shown == whole.text[: whole.text.index(stop)]
    assert pieces[-1]["finish_reason"] == "stop"


@pytest.fixture
def endless(local: LocalModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No text of the model ends by itself, and a pass takes longer than a client needs to leave."""
    monkeypatch.setattr(local.model.generation_config, "eos_token_id", [300])
    slowed = local.model.register_forward_hook(lambda *_: time.sleep(0.01))
    # That somebody has left is to be seen at once, not when an iterator is collected.
    gc.disable()
    yield
    gc.enable()
    slowed.remove()


@pytest.mark.usefixtures("endless")
def test_who_leaves_a_stream_stops_its_text(local: LocalModel, address: str) -> None:
    body = {"prompt": "a", "max_tokens": 500, "stream": True}
    with counted_passes(local.model) as count:
        with httpx2.stream("POST", address + "/completions", json=body, trust_env=False) as answer:
            next(answer.iter_lines())
        # One text is made at a time: this one has its turn only when the other has ended.
        [[next_one]] = a_model(address, kind="completion").generate(["b"], max_new_tokens=1)
    assert next_one.n_tokens == 1
    assert count.passes < 500


# Servers that misbehave.


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    def answer(handler: BaseHTTPRequestHandler, body: Any, number: int) -> None:
        if number == 1:
            reply(handler, {"error": {"message": "slow down"}}, 429, retry_after="7")
        elif number == 2:
            reply(handler, b"down", 503)
        else:
            reply(handler, chat("here"))

    with a_server(answer) as server:
        model = a_model(server.url)
        [[found]] = model.generate(["x"])
    assert found.text == "here"
    # What it asked for, then our own patience: the second wait of a doubling second.
    assert model.waited == [7.0, 2.0]  # type: ignore[attr-defined]


def test_a_server_that_stays_busy_is_left_alone() -> None:
    with a_server(lambda handler, *_: reply(handler, b"busy", 500)) as server:
        with pytest.raises(EndpointError, match=r"status 500: busy \(attempt 4\)"):
            a_model(server.url).generate(["x"])
        assert len(server.asked) == 4
    with a_server(lambda handler, *_: reply(handler, b"", 429, retry_after="9999")) as server:
        with pytest.raises(EndpointError, match="come again in 9999 s"):
            a_model(server.url).generate(["x"])
        assert len(server.asked) == 1


def test_a_server_that_hangs_is_given_up() -> None:
    over = threading.Event()
    with a_server(lambda *_: over.wait(10)) as server:
        started = time.monotonic()
        with pytest.raises(EndpointError, match=r"no whole answer within 0.2 s"):
            a_model(server.url, timeout_s=0.2, attempts=2).generate(["x"])
        # Far less than the server would have taken.
        assert time.monotonic() - started < 8
        over.set()
        assert len(server.asked) == 2


def test_a_server_that_drips_is_given_up() -> None:
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, *_: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        try:
            while not over.wait(0.02):
                handler.wfile.write(b" ")
        except OSError:
            handler.close_connection = True

    with a_server(answer) as server:
        with pytest.raises(EndpointError, match=r"no whole answer within 0.3 s"):
            a_model(server.url, timeout_s=0.3, attempts=1).generate(["x"])
        over.set()


@pytest.mark.parametrize("claimed", [10, 5_000])
def test_a_server_that_lies_about_its_length_is_not_believed(claimed: int) -> None:
    def answer(handler: BaseHTTPRequestHandler, *_: Any) -> None:
        reply(handler, chat("a text that is longer than ten bytes"), content_length=str(claimed))
        handler.close_connection = True

    with a_server(answer) as server:
        with pytest.raises(EndpointError, match=r"breaks off|RemoteProtocolError"):
            a_model(server.url, attempts=2).generate(["x"])
        assert len(server.asked) == 2


def test_half_a_line_is_no_answer_and_a_whole_one_after_it_is() -> None:
    whole = json.dumps(chat("whole")).encode()

    def answer(handler: BaseHTTPRequestHandler, body: Any, number: int) -> None:
        reply(handler, whole[: len(whole) // 2] if number == 1 else whole)

    with a_server(answer) as server:
        [[found]] = a_model(server.url).generate(["x"])
    assert found.text == "whole"


def test_half_a_status_line_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 20")
                connection.shutdown(socket.SHUT_WR)
                # What is closed with a part of the request unread is a reset instead.
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match="RemoteProtocolError"):
            a_model(url, attempts=1).generate(["x"])
        thread.join()


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EndpointError, match=f"127.0.0.1:{port}.*ConnectError"):
        a_model(f"http://127.0.0.1:{port}/v1", attempts=1).generate(["x"])


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([], "no JSON object"),
        ({}, "without choices"),
        ({"choices": []}, "without choices"),
        ({"choices": ["a"]}, "no objects"),
        ({"choices": [{"finish_reason": "stop"}]}, "without a text"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, "without a text"),
        (chat("a", reason="content_filter"), "content_filter"),
        (chat("a", usage="many"), "generated 'many' tokens"),
        (chat("a", usage=9_999), "9999 tokens where 128 were allowed"),
    ],
)
def test_an_answer_that_does_not_add_up_is_not_believed(answer: Any, complaint: str) -> None:
    with (
        a_server(lambda handler, *_: reply(handler, answer)) as server,
        pytest.raises(EndpointError, match=complaint),
    ):
        a_model(server.url).generate(["x"])


def test_a_server_that_ignores_n_is_asked_n_times() -> None:
    def answer(handler: BaseHTTPRequestHandler, body: Any, number: int) -> None:
        reply(handler, chat(f"text {number}"))

    with a_server(answer) as server:
        model = a_model(server.url, concurrency=1)
        [found] = model.generate(["x"], n=3, seed=10)
        assert [completion.text for completion in found] == ["text 1", "text 2", "text 3"]
        # One seed for all would have given one text three times.
        assert [asked["seed"] for asked in server.asked] == [10, 11, 12]
        model.generate(["x"], n=2)
        assert [asked.get("n") for asked in server.asked] == [3, None, None, None, None]


def test_a_server_that_refuses_n_is_asked_n_times() -> None:
    def answer(handler: BaseHTTPRequestHandler, body: Any, number: int) -> None:
        if "n" in body:
            reply(handler, {"error": "unknown field n"}, 422)
        else:
            reply(handler, chat("one"))

    with a_server(answer) as server:
        [found] = a_model(server.url).generate(["x"], n=2)
    assert [completion.text for completion in found] == ["one", "one"]


def test_a_server_without_probabilities_says_so() -> None:
    with a_server(lambda handler, *_: reply(handler, chat("a"))) as server:
        model = a_model(server.url)
        assert model.capabilities == {"generate", "chat"}
        with pytest.raises(UnsupportedError) as caught:
            model.generate(["x"], logprobs=True)
    assert caught.value.capability == "logprobs"
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "choice",
    [
        {"text": " B", "logprobs": None},
        {"text": "A B", "logprobs": None},
        {"text": "A B", "logprobs": {"token_logprobs": [None, -1.0]}},
        {"text": "A B", "logprobs": {"token_logprobs": [None], "text_offset": [0, 1]}},
        # One token for all of it.
        {"text": "A B", "logprobs": {"token_logprobs": [None], "text_offset": [0]}},
    ],
)
def test_a_server_that_does_not_echo_cannot_score(choice: Any) -> None:
    answer = {"choices": [{**choice, "finish_reason": "length"}]}
    with a_server(lambda handler, *_: reply(handler, answer)) as server:
        model = a_model(server.url, kind="completion")
        assert "score" not in model.capabilities
        with pytest.raises(UnsupportedError) as caught:
            model.score([("A", " B")])
    assert caught.value.capability == "score"


def test_prompts_keep_their_order_whoever_is_first() -> None:
    def answer(handler: BaseHTTPRequestHandler, body: Any, number: int) -> None:
        text = body["messages"][0]["content"]
        time.sleep(0.02 if text == "0" else 0)
        reply(handler, chat(text * 2))

    with a_server(answer) as server:
        found = a_model(server.url).generate([str(n) for n in range(9)])
    assert [one.text for [one] in found] == [str(n) * 2 for n in range(9)]


def test_the_key_goes_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("A_SERVERS_KEY", KEY)

    def answer(handler: BaseHTTPRequestHandler, body: Any, number: int) -> None:
        said = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
        reply(handler, said, 503 if number == 1 else 401)

    with a_server(answer) as server:
        model = a_model(server.url, key_variable="A_SERVERS_KEY")
        with pytest.raises(EndpointError, match="401: Incorrect API key") as caught:
            model.generate(["x"])
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    printed = "".join(capfd.readouterr())
    assert not any(KEY in text for text in (str(caught.value), repr(model), model.name, printed))


def test_a_key_never_follows_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SERVERS_KEY", KEY)
    with a_server(lambda handler, *_: reply(handler, chat("caught"))) as elsewhere:

        def answer(handler: BaseHTTPRequestHandler, *_: Any) -> None:
            reply(handler, b"", 307, location=elsewhere.url)

        with a_server(answer) as server, pytest.raises(EndpointError, match="status 307"):
            a_model(server.url, key_variable="A_SERVERS_KEY").generate(["x"])
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("url", "options", "complaint"),
    [
        ("127.0.0.1:8000", {}, "no address"),
        ("ftp://host/v1", {}, "no address"),
        ("http://user:word@host/v1", {}, "has no password"),
        ("http://host/v1", {"kind": "text"}, "chat or completion"),
        ("http://host/v1", {"timeout_s": 0}, "timeout_s is above 0"),
        ("https://host/v1", {"key_variable": "ABSENT_KEY"}, "has no ABSENT_KEY"),
        ("http://host/v1", {"key_variable": "A_SERVERS_KEY"}, "in the clear"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    url: str, options: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SERVERS_KEY", KEY)
    with pytest.raises(UsageError, match=complaint) as caught:
        EndpointModel(url, "m", **options)
    assert KEY not in str(caught.value)


def test_prompts_are_checked_before_anything_is_sent() -> None:
    with a_server(lambda handler, *_: reply(handler, chat("a"))) as server:
        for prompts in ([""], [[]]):
            with pytest.raises(UsageError, match="prompt 1 is empty"):
                a_model(server.url).generate(prompts)
        with pytest.raises(UnsupportedError, match="chat"):
            a_model(server.url, kind="completion").generate([[{"role": "user", "content": "a"}]])
        [[none]] = a_model(server.url).generate(["x"], max_new_tokens=0)
        assert (none.text, none.finish) == ("", "length")
        assert a_model(server.url).generate([]) == []
        assert server.asked == []
