"""The run's page and its stream, with the little room really run."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from paperround.runs.worker import Worker
from paperround.settings import Settings

RUN = "/papers/2601.00001/runs"


@pytest.fixture
def work(app: FastAPI, settings: Settings) -> Worker:
    """A worker over the site's database."""
    return Worker(app.state.site.engine, settings)


@pytest.mark.usefixtures("whole_strip")
def test_a_finished_run_shows_verdicts_charts_tables_and_samples(
    client: TestClient, work: Worker
) -> None:
    run_page = client.post(RUN).headers["location"]
    assert work.run_one()
    page = client.get(run_page).text
    for words in (
        "finished",
        "1 of 2 claims hold, 1 not measured",
        "falls short",
        "min; 2 to 2.2 over 3 seeds",
        "mean; the same over 3 seeds",
        "Speed by length",
        "Where the time goes",
        "Counting was done by heart.",
        "1 2 3 4",
    ):
        assert words in page, words
    assert page.count("<svg") > 3
    assert "&lt;b&gt;twos&lt;/b&gt;" in page
    assert "2 &lt;i&gt;4&lt;/i&gt;" in page
    assert 'http-equiv="refresh"' not in page
    assert "style=" not in page

    paper = client.get("/papers/2601.00001").text
    assert "Measured on this machine" in paper
    assert "1 of 2 claims hold, 1 not measured" in paper
    assert "1 of 2 claims hold" in client.get("/").text
    assert "quick scale, measured here" in client.get("/runnable").text
    assert "A little paper that runs" in client.get("/runs").text

    run = client.get(f"/api/v1{run_page}").json()
    assert [claim["verdict"] for claim in run["result"]["claims"]] == [
        "holds",
        "falls short",
        "not measured",
    ]


def test_a_failed_run_says_why_and_shows_the_end_of_its_log(
    client: TestClient, work: Worker, little_room: Path
) -> None:
    little_room.joinpath("reproduction.py").write_text(
        "def reproduce(run):\n    raise RuntimeError('no <b>luck</b> today')\n"
    )
    run_page = client.post(RUN).headers["location"]
    assert work.run_one()
    page = client.get(run_page).text
    assert "failed" in page
    assert "no &lt;b&gt;luck&lt;/b&gt; today" in page
    assert "The end of its log" in page
    assert "claims hold" not in page


def test_a_waiting_run_can_be_cancelled_and_reloads_without_javascript(client: TestClient) -> None:
    run_page = client.post(RUN).headers["location"]
    page = client.get(run_page).text
    assert '<noscript><meta http-equiv="refresh"' in page
    assert f'action="{run_page}/cancel"' in page
    assert client.post(f"{run_page}/cancel").status_code == 303
    assert "cancelled" in client.get(run_page).text


def test_the_stream_sends_progress_until_the_run_ends(
    client: TestClient, work: Worker, little_room: Path
) -> None:
    little_room.joinpath("step_s.txt").write_text("0.3")
    run_page = client.post(RUN).headers["location"]
    thread = threading.Thread(target=work.run_one)
    thread.start()
    with client.stream("GET", f"{run_page}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        sent = list(events(stream.iter_lines()))
    thread.join()
    assert [name for name, _ in sent][-1] == "end"
    assert sent[-1][1] == "finished"
    shown = "".join(body for name, body in sent if name == "progress")
    assert "Under way: count." in shown
    assert "Counting by twos is faster" in shown
    assert "<h1" not in shown


def test_charts_tables_and_samples_come_while_the_run_goes_on(
    client: TestClient, work: Worker, little_room: Path
) -> None:
    gate = little_room / "go_on"
    little_room.joinpath("reproduction.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "def reproduce(run):\n"
        "    points = {'ones': [(1, 1.0), (2, 2.0)]}\n"
        "    run.series('Early chart', points, x_label='x', y_label='y')\n"
        "    run.table('Early table', ['what'], [['one']])\n"
        "    run.sample('Early sample', {'before': 'a b c', 'after': 'a d c'})\n"
        f"    while not Path({str(gate)!r}).exists(): time.sleep(0.05)\n"
        "    run.measure('faster', 2.0, seed=run.seeds[0])\n"
    )
    run_page = client.post(RUN).headers["location"]
    thread = threading.Thread(target=work.run_one)
    thread.start()
    shown = ""
    with client.stream("GET", f"{run_page}/events") as stream:
        for name, body in events(stream.iter_lines()):
            if name == "shown":
                shown = body
            if "Early sample" in shown and not gate.exists():
                # The same without JavaScript, where the page reloads itself.
                assert "Early table" in client.get(run_page).text
                gate.touch()
    thread.join()
    assert "<svg" in shown
    assert "Early table" in shown
    assert "<mark>b</mark>" in shown
    assert "<h1" not in shown


def test_what_earlier_runs_took_tells_what_is_left(
    client: TestClient, work: Worker, little_room: Path
) -> None:
    little_room.joinpath("step_s.txt").write_text("0.1")
    client.post(RUN)
    assert work.run_one()
    little_room.joinpath("step_s.txt").write_text("0.3")
    run_page = client.post(RUN).headers["location"]
    thread = threading.Thread(target=work.run_one)
    thread.start()
    with client.stream("GET", f"{run_page}/events") as stream:
        sent = [body for name, body in events(stream.iter_lines()) if name == "progress"]
    thread.join()
    assert any('aria-label="The whole run"' in body for body in sent)
    assert any(" left</span>" in body for body in sent)


def test_the_stream_of_an_ended_run_ends_at_once(client: TestClient, work: Worker) -> None:
    run_page = client.post(RUN).headers["location"]
    client.post(f"{run_page}/cancel")
    with client.stream("GET", f"{run_page}/events") as stream:
        assert list(events(stream.iter_lines())) == [("end", "cancelled")]


def events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """The events of a stream: name and data."""
    name, data = "", []
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and name:
            yield name, "\n".join(data)
            name, data = "", []
