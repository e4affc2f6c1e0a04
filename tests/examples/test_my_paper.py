"""A package of somebody else, from `pip install` to `pip uninstall`, with a server that goes on."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "my-paper"
PAGE = "/papers/1407.1121"


class Place:
    """A virtual environment that has Paperround, and a home of its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "env", with_pip=False, symlinks=True)
        self.python = folder / "env" / "bin" / "python"
        scheme = {"base": str(folder / "env"), "platbase": str(folder / "env")}
        site = Path(sysconfig.get_path("purelib", "venv", scheme))
        # Paperround and what it needs are those that the tests run with; the example is not.
        paths = [path for path in sys.path if path.endswith("-packages")]
        lines = [f"import site; site.addsitedir({path!r})" for path in paths]
        (site / "borrowed.pth").write_text("\n".join(lines) + "\n")
        self.environment = {**os.environ, "PAPERROUND_HOME": str(folder / "home"), "COLUMNS": "120"}

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def paperround(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-m", "paperround.cli", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=200,
            check=False,
        )

    def slugs(self) -> list[str]:
        return [paper["slug"] for paper in json.loads(self.paperround("papers", "--json").stdout)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def site(place: Place) -> Iterator[httpx.Client]:
    """A client of a server in that place, which stays while packages come and go."""
    command = [place.python, "-m", "paperround.cli", "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=place.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        said = ""
        assert process.stderr is not None
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
            line = process.stderr.readline()
            assert line, f"the server did not start: {said}"
            said += line
        with httpx.Client(base_url=found[0], timeout=30, follow_redirects=True) as client:
            yield client
        process.terminate()


def wait_for(condition: Callable[[], Any], timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f"did not come true within {timeout_s:g} s")


def test_a_package_comes_runs_and_goes(place: Place, site: httpx.Client) -> None:
    assert site.get(PAGE).status_code == 404
    assert "my-paper" not in place.slugs()

    place.pip("install", "--no-deps", "--no-build-isolation", "--no-index", str(EXAMPLE))
    assert "my-paper" in place.slugs()
    page = wait_for(lambda: (answer := site.get(PAGE)).status_code == 200 and answer.text)
    assert "Frugal Streaming for Estimating Quantiles" in page
    assert "With two units of memory it converges significantly faster" in page
    assert f'action="{PAGE}/runs"' in page

    started = site.post(
        f"{PAGE}/runs", data={"scale": "quick"}, headers={"origin": str(site.base_url).rstrip("/")}
    )
    run_id = started.url.path.rpartition("/")[2]
    run = wait_for(
        lambda: (
            (found := site.get(f"/api/v1/runs/{run_id}").json())["state"]
            not in ("queued", "running")
            and found
        ),
        timeout_s=150,
    )
    assert run["state"] == "finished", run["reason"]
    verdicts = {claim["id"]: claim["verdict"] for claim in run["result"]["claims"]}
    assert verdicts == {"stays-close": "holds", "two-are-faster": "falls short"}

    place.pip("uninstall", "-y", "my-paper")
    assert "my-paper" not in place.slugs()
    wait_for(lambda: site.get(PAGE).status_code == 404)
    # What was measured stays.
    assert site.get(f"/runs/{run_id}").status_code == 200


def test_the_example_would_pass_as_a_room(place: Place) -> None:
    place.pip("install", "--no-deps", "--no-build-isolation", "--no-index", str(EXAMPLE))
    done = place.paperround("check", "my-paper")
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_the_examples_own_tests_pass(place: Place) -> None:
    place.pip("install", "--no-deps", "--no-build-isolation", "--no-index", str(EXAMPLE))
    done = subprocess.run(
        [place.python, "-m", "pytest", "-q", "-p", "no:randomly", "-n", "0", "tests"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
