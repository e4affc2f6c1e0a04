"""Other people's servers, asked with manners: seldom, patiently, and believing little.

One request at a time and host, with the pause that the host wants, across all processes of this
installation. What fails for the moment is tried again, later each time; what a server says of when
to come again is heeded. An answer is read up to a limit, packed and unpacked; one that breaks off
is no answer. A redirect never leads from outside to an address inside.
"""

import ipaddress
import os
import random
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
from filelock import FileLock

from paperround import __version__
from paperround.clock import utc_now
from paperround.errors import SourceError
from paperround.log import get_logger

# What arXiv's terms of use ask for, of all machines together; others get a second.
PAUSES_S: Mapping[str, float] = {"arxiv.org": 3.0}
_PAUSE_S = 1.0
_TIMEOUT_S = 60.0
_MAX_BYTES = 64 << 20
_MAX_REDIRECTS = 5
_ATTEMPTS = 6
_FIRST_WAIT_S = 2.0
# A server that wants a longer pause gets it: the import ends, and goes on there the next time.
_LONGEST_WAIT_S = 600.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """What a server answered: its status, its body unpacked, and how to ask for news later."""

    url: str
    status: int
    body: bytes
    etag: str | None = None
    last_modified: str | None = None


class _TransientError(Exception):
    """What may be over the next time, and how long the server wants one to wait."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass
class Fetcher:
    """Asks for addresses, one after the other. `turns` is a folder that all processes share."""

    turns: Path
    contact: str = ""
    pauses_s: Mapping[str, float] = field(default_factory=lambda: PAUSES_S)
    pause_s: float = _PAUSE_S
    max_bytes: int = _MAX_BYTES
    sleep: Callable[[float], object] = time.sleep
    now: Callable[[], datetime] = utc_now
    jitter: Callable[[], float] = random.random

    def get(
        self, url: str, *, etag: str | None = None, last_modified: str | None = None
    ) -> Answer | None:
        """The answer; None where it is what it was (`etag`, `last_modified` of the last one).

        Raises SourceError when the server refuses, or nothing comes after several attempts.
        """
        headers = {"if-none-match": etag, "if-modified-since": last_modified}
        asked = {name: value for name, value in headers.items() if value}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._get(url, asked)
            except _TransientError as error:
                backoff = _FIRST_WAIT_S * 2 ** (attempt - 1) * (0.5 + self.jitter())
                wait_s = backoff if error.wait_s is None else error.wait_s
                if attempt == _ATTEMPTS or wait_s > _LONGEST_WAIT_S:
                    later = f"; it asks to come again in {wait_s:.0f} s" if error.wait_s else ""
                    raise SourceError(f"{url}: {error}{later}") from error
                get_logger().info(
                    "fetch.again", url=url, reason=str(error), attempt=attempt, wait_s=wait_s
                )
                self.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _get(self, url: str, headers: Mapping[str, str]) -> Answer | None:
        origin = url
        for _ in range(_MAX_REDIRECTS + 1):
            host = _host(url)
            with self._turn(host):
                answer, to = self._once(url, headers, origin)
            if to is None:
                return answer
            target = urljoin(url, to)
            if urlsplit(target).scheme not in ("http", "https"):
                raise SourceError(f"{url}: it redirects to {target[:200]}, which is no web address")
            url = target
        raise SourceError(f"{origin}: it redirects more than {_MAX_REDIRECTS} times")

    def _once(
        self, url: str, headers: Mapping[str, str], origin: str
    ) -> tuple[Answer | None, str | None]:
        """The answer to one request, or where it redirects to."""
        sent = {
            "user-agent": f"Paperround/{__version__}"
            + (f" ({self.contact})" if self.contact else ""),
            "accept-encoding": "gzip",
            **headers,
        }
        is_elsewhere = _origin(url) != _origin(origin)
        try:
            asked = httpx2.URL(url)
            extensions: dict[str, str] = {}
            if is_elsewhere:
                # Looked up once: what was checked is what is connected to, whatever the name
                # leads to a moment later. Its certificate is still held against the name.
                sent["host"] = asked.netloc.decode("ascii")
                extensions = {"sni_hostname": asked.host}
                asked = asked.copy_with(host=_address_outside(url))
            with (
                httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client,
                client.stream("GET", asked, headers=sent, extensions=extensions) as response,
            ):
                if is_elsewhere:
                    _check_peer(response, url)
                if response.status_code == 304:
                    return None, None
                if response.status_code in _REDIRECTS:
                    return None, response.headers.get("location", "")
                if response.status_code in _TRANSIENT:
                    wait_s = self._retry_after(response.headers.get("retry-after"))
                    raise _TransientError(f"status {response.status_code}", wait_s)
                answer = Answer(
                    url=url,
                    status=response.status_code,
                    body=self._body(response, url),
                    etag=response.headers.get("etag"),
                    last_modified=response.headers.get("last-modified"),
                )
                return answer, None
        except httpx2.TransportError as error:
            raise _TransientError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        except httpx2.InvalidURL as error:
            raise SourceError(f"{url[:200]}: {error}") from error

    def _body(self, response: httpx2.Response, url: str) -> bytes:
        """The whole body, unpacked here: a packed one that breaks off must not pass for whole."""
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise SourceError(f"{url}: it answers in {encoding[:40]}, which was not asked for")
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding != "identity" else None
        parts: list[bytes] = []
        size = 0
        for raw in response.iter_raw(1 << 16):
            while raw:
                if unpack is None:
                    part, raw = raw, b""
                else:
                    try:
                        part = unpack.decompress(raw, 1 << 20)
                    except zlib.error as error:
                        raise _TransientError(f"its gzip is broken ({error})") from error
                    raw = unpack.unconsumed_tail
                size += len(part)
                if size > self.max_bytes:
                    limit = f"{self.max_bytes >> 20} MiB"
                    raise SourceError(f"{url}: its answer is longer than {limit}")
                parts.append(part)
        if unpack is not None and not unpack.eof:
            raise _TransientError("its gzip breaks off")
        return b"".join(parts)

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds to wait, from a number of them or a date."""
        if value is None:
            return None
        if value.strip().isdecimal():
            return float(value)
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - self.now()).total_seconds())

    @contextmanager
    def _turn(self, host: str) -> Iterator[None]:
        """Waits until the host may be asked again; others of this installation wait in line."""
        name = next((n for n in self.pauses_s if host == n or host.endswith(f".{n}")), None)
        pause_s = self.pause_s if name is None else self.pauses_s[name]
        self.turns.mkdir(parents=True, exist_ok=True)
        last = self.turns / f"{(name or host).replace(':', '_')}.last"
        with FileLock(last.with_suffix(".lock")):
            if last.exists():
                since_s = time.time() - last.stat().st_mtime
                # A clock that was set back must not make one wait for a year.
                if 0 <= since_s < pause_s:
                    self.sleep(pause_s - since_s)
            try:
                yield
            finally:
                last.touch()
                os.utime(last)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


def _address_outside(url: str) -> str:
    """The address that a name leads to. Raises SourceError where any of its is inside."""
    try:
        found = socket.getaddrinfo(_host(url), urlsplit(url).port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise SourceError(f"{url[:200]}: a redirect to a host that cannot be found") from error
    for *_, address in found:
        _check_address(str(address[0]), url)
    return str(found[0][4][0])


def _check_peer(response: httpx2.Response, url: str) -> None:
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is None:
        raise SourceError(f"{url[:200]}: nobody can say where this redirect led")
    _check_address(str(peer[0]), url)


def _check_address(address: str, url: str) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    if not (mapped or ip).is_global:
        raise SourceError(f"{url[:200]}: a redirect to {address}, which is not on the internet")
