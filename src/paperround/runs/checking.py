"""Judges a paper's room, and the results that are kept: complete, documented, and unchanged?"""

import ast
import importlib
import inspect
from collections import defaultdict
from pathlib import Path

from sqlalchemy import Engine

from paperround.db import read
from paperround.errors import CardError
from paperround.kit.assets import declared_assets
from paperround.runs.card import Scale
from paperround.runs.records import changed_records
from paperround.runs.results import Result, read_result
from paperround.runs.rooms import Room
from paperround.runs.skeleton import placeholders

_FILES = ("card.toml", "__init__.py", "reproduction.py", "README.md")
# Fewer say nothing of how much a figure varies.
_MIN_SEEDS = 3


def check_room(room: Room) -> list[str]:
    """Every fault of a room, each a sentence; empty when the room is well.

    Imports the paper's code, and with it perhaps torch: call it from the command line and from
    tests, never from the web process.
    """
    faults = [f"no {name}" for name in _FILES if not (room.folder / name).is_file()]
    if faults:
        return faults
    return [
        *_faults_of_words(room),
        *_faults_of_card(room),
        *_faults_of_names(room),
        *_faults_of_assets(room),
        *_faults_of_reproduction(room),
        *_faults_of_results(room),
    ]


def _faults_of_words(room: Room) -> list[str]:
    faults = []
    for name in _FILES:
        text = (room.folder / name).read_text(encoding="utf-8")
        left = [sentence for sentence in placeholders(name) if sentence in text]
        if left:
            faults.append(f"{name} still says what the skeleton said: “{left[0]}”")
    return faults


def _faults_of_card(room: Room) -> list[str]:
    faults = []
    for scale in (Scale.QUICK, Scale.STANDARD):
        bars = [claim.bars[scale] for claim in room.card.claims]
        if all(bar.not_measured for bar in bars):
            faults.append(f"no claim is measured at {scale}")
        elif len(room.card.scales[scale].seeds) < _MIN_SEEDS:
            faults.append(f"the {scale} scale has fewer than {_MIN_SEEDS} seeds")
    return faults


def check_records(engine: Engine) -> list[str]:
    """Every result that this place keeps and that was changed since, each a sentence."""
    with read(engine) as connection:
        return [
            f"result {result_id[:16]}: its record was changed after it was kept"
            for result_id in changed_records(connection)
        ]


def _faults_of_names(room: Room) -> list[str]:
    package = importlib.import_module(room.package)
    faults = [] if inspect.getdoc(package) else ["the package has no docstring"]
    for name in room.card.names:
        if name not in getattr(package, "__all__", ()):
            faults.append(f"the card names '{name}', which __all__ does not list")
        elif not hasattr(package, name):
            faults.append(f"the card names '{name}', which the package does not have")
        elif not inspect.getdoc(getattr(package, name)):
            faults.append(f"'{name}' has no docstring")
    try:
        compile(room.card.use, "use", "exec")
    except SyntaxError as error:
        faults.append(f"the card's `use` does not parse: {error}")
    return faults


def _faults_of_assets(room: Room) -> list[str]:
    declared = declared_assets()
    return [
        f"the {scale} scale names the asset '{name}', which nothing declares"
        for scale, notes in room.card.scales.items()
        for name in notes.assets
        if name not in declared
    ]


def _faults_of_reproduction(room: Room) -> list[str]:
    try:
        reproduce = room.reproduction()
    # The code of a paper may do anything when it is imported.
    except Exception as error:
        return [f"reproduction.py cannot be imported: {type(error).__name__}: {error}"]
    if not callable(reproduce):
        return ["reproduction.py has no function reproduce(run)"]
    faults = []
    # Syntax and not text: a comment that names run.seeds uses no seed.
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in _modules(room)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    if not any(isinstance(node, ast.Attribute) and node.attr == "seeds" for node in nodes):
        faults.append("the reproduction does not use run.seeds")
    reproduction = ast.parse((room.folder / "reproduction.py").read_text(encoding="utf-8"))
    if any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        for node in ast.walk(reproduction)
    ):
        faults.append("the reproduction prints; say it with run.note, run.table or run.sample")
    return faults


def _modules(room: Room) -> list[Path]:
    return sorted(room.folder.rglob("*.py"))


def _faults_of_results(room: Room) -> list[str]:
    faults = []
    for scale in (Scale.QUICK, Scale.STANDARD):
        path = room.results_dir / f"{scale}.json"
        if not path.is_file():
            faults.append(
                f"no result at {scale}; `paperround run {room.slug} --scale {scale} --ship`"
            )
            continue
        try:
            result = read_result(path)
        except CardError as error:
            faults.append(str(error))
            continue
        faults += [f"the {scale} result {fault}" for fault in _faults_of_result(room, result)]
    return faults


def _faults_of_result(room: Room, result: Result) -> list[str]:
    notes = room.card.scales[result.scale]
    faults = []
    if result.card_sha256 != room.card_sha256:
        faults.append("was measured with another card; run it again")
    if result.status != "finished":
        faults.append(f"ended as {result.status}")
    if result.seconds > notes.time_limit_s:
        faults.append(f"took {result.seconds:.0f} s of {notes.time_limit_s} s")
    if result.seeds != notes.seeds:
        faults.append(f"has the seeds {result.seeds} and the card {notes.seeds}")
    seeds = defaultdict(set)
    for measurement in result.measurements:
        if measurement.seed is not None:
            seeds[measurement.claim].add(measurement.seed)
    faults += [
        f"measures '{claim}' for the seeds {sorted(used)} alone"
        for claim, used in seeds.items()
        if used != set(result.seeds)
    ]
    return faults
