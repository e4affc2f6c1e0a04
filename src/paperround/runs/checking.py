"""Judges a paper's room, and the results that are kept: complete, documented, and unchanged?"""

import importlib
import inspect

from sqlalchemy import Engine

from paperround.db import read
from paperround.errors import CardError
from paperround.kit.assets import declared_assets
from paperround.runs.card import Scale
from paperround.runs.records import changed_records
from paperround.runs.results import read_result
from paperround.runs.rooms import Room

_FILES = ("card.toml", "__init__.py", "reproduction.py", "README.md")


def check_room(room: Room) -> list[str]:
    """Every fault of a room, each a sentence; empty when the room is well.

    Imports the paper's code, and with it perhaps torch: call it from the command line and from
    tests, never from the web process.
    """
    faults = [f"no {name}" for name in _FILES if not (room.folder / name).is_file()]
    if faults:
        return faults
    return [
        *_faults_of_names(room),
        *_faults_of_assets(room),
        *_faults_of_reproduction(room),
        *_faults_of_results(room),
    ]


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
    reproduce = room.reproduction()
    module = inspect.getsource(inspect.getmodule(reproduce) or reproduce)
    faults = []
    if "run.seeds" not in module:
        faults.append("the reproduction does not use run.seeds")
    if "print(" in module:
        faults.append("the reproduction prints; say it with run.note, run.table or run.sample")
    return faults


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
        if result.card_sha256 != room.card_sha256:
            faults.append(f"the {scale} result was measured with another card; run it again")
        if result.status != "finished":
            faults.append(f"the {scale} result ended as {result.status}")
        limit_s = room.card.scales[scale].time_limit_s
        if result.seconds > limit_s:
            faults.append(f"the {scale} scale took {result.seconds:.0f} s of {limit_s} s")
    return faults
