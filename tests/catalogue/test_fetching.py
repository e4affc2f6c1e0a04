"""The client against real sockets: servers that answer well, and some that misbehave."""

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from paperround.catalogue.fetching import Fetcher, _TransientError
from paperround.errors import SourceError


@dataclass
class Sleeper:
    """Sleeps in no time, and remembers for how long."""

    slept: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def fetcher(tmp_path: Path, sleeper: Sleeper) -> Fetcher:
    return Fetcher(
        turns=tmp_path / "turns",
        contact="mailto:somebody@example.org",
        pause_s=0.0,
        sleep=sleeper,
        jitter=lambda: 0.5,
    )


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these bytes and hangs up, one answer a connection; what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(65_536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", asked
        thread.join(timeout=10)


def http(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def test_an_answer_comes_whole_and_the_asker_says_who_it_is(fetcher: Fetcher) -> None:
    body = b"papers " * 1_000
    with answering(http(gzip.compress(body), "Content-Encoding: gzip")) as (url, asked):
        answer = fetcher.get(url)
    assert answer is not None
    assert (answer.status, answer.body) == (200, body)
    assert b"mailto:somebody@example.org" in asked[0]
    assert b"Paperround/" in asked[0]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        http(b"half of it", length=20),
        http(gzip.compress(b"papers " * 1_000)[:-20], "Content-Encoding: gzip"),
        http(b"no gzip at all", "Content-Encoding: gzip"),
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slowly\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["hangs up", "half a head", "half a body", "half a gzip", "no gzip", "503", "429"],
)
def test_what_breaks_off_is_asked_for_again(
    fetcher: Fetcher, sleeper: Sleeper, broken: bytes
) -> None:
    with answering(broken, broken, http(b"whole")) as (url, _):
        answer = fetcher.get(url)
    assert answer is not None
    assert answer.body == b"whole"
    # Later each time, and not all at the same moment: half a second to one and a half, doubled.
    assert sleeper.slept == [2.0, 4.0]


def test_a_server_that_stays_away_is_given_up_with_its_address(
    fetcher: Fetcher, sleeper: Sleeper
) -> None:
    with answering(*[b""] * 6) as (url, asked), pytest.raises(SourceError, match=url):
        fetcher.get(url)
    assert (len(asked), len(sleeper.slept)) == (6, 5)


@pytest.mark.parametrize(
    ("after", "waited"),
    [("7", 7.0), ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0), ("soon", 2.0)],
)
def test_a_server_says_when_to_come_again(
    fetcher: Fetcher, sleeper: Sleeper, after: str, waited: float
) -> None:
    fetcher.now = lambda: datetime(2026, 11, 22, 12, tzinfo=UTC)
    busy = f"HTTP/1.1 503 Busy\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n".encode()
    with answering(busy, http(b"whole")) as (url, _):
        assert fetcher.get(url) is not None
    assert sleeper.slept == [waited]


def test_a_server_that_wants_a_day_gets_it(fetcher: Fetcher, sleeper: Sleeper) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n"
    with answering(busy) as (url, _), pytest.raises(SourceError, match="in 86400 s"):
        fetcher.get(url)
    assert sleeper.slept == []


def test_a_bomb_is_not_unpacked(fetcher: Fetcher) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    zeros = b"0" * (1 << 20)
    bomb = b"".join([*(packer.compress(zeros) for _ in range(100)), packer.flush()])
    assert len(bomb) < 200_000
    fetcher.max_bytes = 8 << 20
    with (
        answering(http(bomb, "Content-Encoding: gzip")) as (url, _),
        pytest.raises(SourceError, match="longer than 8 MiB"),
    ):
        fetcher.get(url)


def test_an_endless_answer_is_left(fetcher: Fetcher) -> None:
    fetcher.max_bytes = 1 << 20
    body = b"x" * (2 << 20)
    with (
        answering(b"HTTP/1.1 200 OK\r\n\r\n" + body) as (url, _),
        pytest.raises(SourceError, match="longer than 1 MiB"),
    ):
        fetcher.get(url)


def redirecting(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    "to",
    [
        "http://localhost:{port}/",
        "http://127.0.0.2:{port}/",
        "http://[::1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706433/",
    ],
)
def test_a_redirect_to_an_address_inside_is_refused(fetcher: Fetcher, to: str) -> None:
    with answering(http(b"a secret")) as (inside, asked):
        target = to.format(port=inside.rsplit(":")[-1].strip("/"))
        with (
            answering(redirecting(target)) as (url, _),
            pytest.raises(SourceError, match=r"not on the internet|cannot be found"),
        ):
            fetcher.get(url)
        assert asked == []
        # So that the server that was never asked can end.
        fetcher.get(inside)


def test_a_name_that_leads_inside_a_moment_later_is_not_looked_up_again(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[str] = []
    connected: list[str] = []
    really = socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host != "rebinding.example":
            return really(host, port, *args, **options)
        lookups.append(host)
        address = "1.1.1.1" if len(lookups) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connecting(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        if address[0] == "127.0.0.1":
            return connect(address, *args, **options)
        connected.append(address[0])
        raise ConnectionRefusedError

    connect = socket.create_connection
    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", connecting)
    with answering(redirecting("http://rebinding.example/secret")) as (url, _):
        answer, to = fetcher._once(url, {}, url)
    assert (answer, to) == (None, "http://rebinding.example/secret")
    with pytest.raises(_TransientError):
        fetcher._once("http://rebinding.example/secret", {}, url)
    assert connected == ["1.1.1.1"]
    assert lookups == ["rebinding.example"]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "gopher://example.org/"])
def test_a_redirect_to_what_is_no_web_address_is_refused(fetcher: Fetcher, to: str) -> None:
    with (
        answering(redirecting(to)) as (url, _),
        pytest.raises(SourceError, match="no web address"),
    ):
        fetcher.get(url)


def test_a_redirect_on_the_same_server_is_followed_and_a_circle_is_not(
    fetcher: Fetcher, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/old").respond_with_response(
        Response(status=301, headers={"location": "/new"})
    )
    httpserver.expect_request("/new").respond_with_data("here")
    answer = fetcher.get(httpserver.url_for("/old"))
    assert answer is not None
    assert answer.body == b"here"
    httpserver.expect_request("/round").respond_with_response(
        Response(status=302, headers={"location": "/round"})
    )
    with pytest.raises(SourceError, match="more than 5 times"):
        fetcher.get(httpserver.url_for("/round"))


def test_what_has_not_changed_is_not_sent_again(fetcher: Fetcher, httpserver: HTTPServer) -> None:
    def listing(request: Request) -> Response:
        if request.headers.get("if-none-match") == '"today"':
            return Response(status=304)
        return Response("papers", headers={"etag": '"today"'})

    httpserver.expect_request("/").respond_with_handler(listing)
    first = fetcher.get(httpserver.url_for("/"))
    assert first is not None
    assert first.etag == '"today"'
    assert fetcher.get(httpserver.url_for("/"), etag=first.etag) is None


def test_a_host_gets_its_pause_from_all_processes_together(
    tmp_path: Path, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data("papers")
    url = httpserver.url_for("/").replace("localhost", "127.0.0.1")

    def ask(sleep: Callable[[float], object]) -> None:
        # Each has its own fetcher, as each process has; the folder is what they share.
        Fetcher(turns=tmp_path, pauses_s={"127.0.0.1": 3.0}, sleep=sleep).get(url)

    slept: list[float] = []
    ask(slept.append)
    assert slept == []
    ask(slept.append)
    assert len(slept) == 1
    assert 2.0 < slept[0] <= 3.0


def test_two_at_once_wait_in_line(tmp_path: Path, httpserver: HTTPServer) -> None:
    times: list[float] = []

    def note(_: Request) -> Response:
        times.append(time.monotonic())
        return Response("papers")

    httpserver.expect_request("/").respond_with_handler(note)
    url = httpserver.url_for("/")
    host = url.split("//")[1].split(":")[0]

    def ask() -> None:
        Fetcher(turns=tmp_path, pauses_s={host: 0.3}).get(url)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 2
    assert min(gaps) >= 0.25
