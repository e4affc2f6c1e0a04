"""How fast somebody may search."""

import threading
from contextlib import suppress

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from paperround.clock import utc_now
from paperround.db import write
from paperround.errors import TooOftenError
from paperround.readers.accounts import add_reader
from paperround.settings import Settings
from paperround.web import buckets
from paperround.web.app import create_app
from paperround.web.buckets import Buckets


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


def test_a_bucket_empties_and_fills_again() -> None:
    clock = Clock()
    held = Buckets(per_minute=60, burst=3, now=clock)
    for _ in range(3):
        held.spend("ada")
    with pytest.raises(TooOftenError) as refused:
        held.spend("ada")
    assert refused.value.wait_s == 1
    held.spend("bo")
    clock.s += 1
    held.spend("ada")
    with pytest.raises(TooOftenError):
        held.spend("ada")
    clock.s += 3_600
    for _ in range(3):
        held.spend("ada")
    with pytest.raises(TooOftenError):
        held.spend("ada")


@given(
    waits=st.lists(st.floats(0, 30), min_size=1, max_size=60),
    per_minute=st.integers(1, 120),
    burst=st.integers(1, 20),
)
def test_no_more_than_the_burst_and_what_time_gives_is_let_through(
    waits: list[float], per_minute: int, burst: int
) -> None:
    clock = Clock()
    held = Buckets(per_minute=per_minute, burst=burst, now=clock)
    passed, begun = 0, clock.s
    for wait in waits:
        clock.s += wait
        with suppress(TooOftenError):
            held.spend("ada")
            passed += 1
    assert passed <= burst + (clock.s - begun) * per_minute / 60 + 1e-6


def test_many_at_once_take_no_more_than_there_is() -> None:
    held = Buckets(per_minute=1, burst=20, now=Clock())
    passed: list[int] = []

    def ask() -> None:
        for _ in range(20):
            with suppress(TooOftenError):
                held.spend("ada")
                passed.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 20


def test_it_remembers_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_MAX_BUCKETS", 5)
    held = Buckets(per_minute=1, burst=1, now=Clock())
    for number in range(100):
        held.spend(f"{number}")
    assert len(held._buckets) == 5


@pytest.fixture
def slow(settings: Settings, catalogue: None, little_room: object) -> FastAPI:
    """A site on the network with few searches a minute."""
    few = settings.model_copy(update={"searches_per_minute": 1})
    app = create_app(few, local_only=False, worker=False)
    # However slow the machine is, no time passes.
    app.state.site.searches.now = Clock()
    return app


@pytest.mark.parametrize("path", ["/search", "/search.atom", "/api/v1/search"])
def test_search_has_a_limit_and_says_when_again(slow: FastAPI, path: str) -> None:
    with TestClient(slow, base_url="http://papers.example", client=("192.0.2.1", 1)) as client:
        answers = [client.get(path, params={"q": "counting"}) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [200] * 10 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        # What costs little goes on.
        assert client.get("/").status_code == 200
    with TestClient(slow, base_url="http://papers.example", client=("192.0.2.2", 1)) as other:
        assert other.get(path, params={"q": "counting"}).status_code == 200


def test_titles_while_one_types_cost_less(slow: FastAPI) -> None:
    with TestClient(slow, base_url="http://papers.example", client=("192.0.2.1", 1)) as client:
        answers = [client.get("/search/titles?q=counting").status_code for _ in range(81)]
    assert answers == [200] * 80 + [429]


def test_who_sits_at_the_machine_searches_as_they_like(
    settings: Settings, catalogue: None, little_room: object
) -> None:
    few = settings.model_copy(update={"searches_per_minute": 1})
    app = create_app(few, local_only=True, worker=False)
    app.state.site.searches.now = Clock()
    with TestClient(app, base_url="http://localhost:8000", client=("127.0.0.1", 1)) as client:
        assert {client.get("/search?q=counting").status_code for _ in range(15)} == {200}
        # From the first account on there are others, and all have the same limit.
        with write(app.state.site.engine) as connection:
            add_reader(connection, "ada", utc_now())
        codes = [client.get("/search?q=counting").status_code for _ in range(11)]
        assert codes == [200] * 10 + [429]
