"""Little rooms, as a package of somebody else would bring them, and ways to wait for things."""

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paperround.runs.rooms import Room, find_room
from paperround.settings import Settings

CARD = """
slug = "{slug}"
paper = "2601.00001"
title = "A little paper"
family = "tests"
summary = "Nothing is measured here that matters."
names = ["nothing"]
use = "import math"

[scales.quick]
about = "a moment"
seeds = [0, 1, 2]
time_limit_s = {time_limit_s}
memory_limit_mb = {memory_limit_mb}
assets = [{assets}]

[scales.standard]
about = "a moment longer"
seeds = [0, 1, 2]

[scales.full]
about = "eight GPUs"
runs_here = false

[[claims]]
id = "faster"
says = "It is faster."
metric = "times faster"
reported = 3.1
baseline = "doing nothing"
where = "Table 1"
[claims.bars.quick]
at_least = 1.5
[claims.bars.standard]
at_least = 2.0

[[claims]]
id = "smaller"
says = "It is smaller."
metric = "MB"
baseline = "doing nothing"
where = "Table 2"
higher_is_better = false
[claims.bars.quick]
not_measured = "a moment says nothing of size"
[claims.bars.standard]
at_most = 10
"""

MakeRoom = Callable[..., Room]
WaitFor = Callable[..., Any]


@pytest.fixture
def make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRoom:
    """Makes a room whose `reproduce(run)` has the given body, found by its entry point."""

    def make(
        body: str = "pass",
        *,
        slug: str = "little",
        time_limit_s: int = 60,
        memory_limit_mb: int = 2_000,
        assets: str = "",
        card: str = CARD,
    ) -> Room:
        site = tmp_path / f"site-{slug}"
        package = site / f"room_{slug.replace('-', '_')}"
        package.mkdir(parents=True)
        package.joinpath("__init__.py").touch()
        text = card.format(
            slug=slug, time_limit_s=time_limit_s, memory_limit_mb=memory_limit_mb, assets=assets
        )
        package.joinpath("card.toml").write_text(text, encoding="utf-8")
        code = "import os, sys, time\n\n\ndef reproduce(run):\n"
        code += textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        package.joinpath("reproduction.py").write_text(code, encoding="utf-8")
        info = site / f"{package.name}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: 1.0\n"
        info.joinpath("METADATA").write_text(metadata)
        points = f"[paperround.papers]\n{slug} = {package.name}\n"
        info.joinpath("entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(site)
        inherited = os.environ.get("PYTHONPATH")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), inherited])))
        return find_room(slug)

    return make


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a cache of its own: a chart drawn by an earlier test is not there."""
    return settings.model_copy(update={"cache": tmp_path / "cache"})


@pytest.fixture
def wait_for() -> WaitFor:
    """Waits until a condition is true and returns its value; fails after a while."""

    def wait(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        raise AssertionError(f"did not come true within {timeout_s} s")

    return wait
