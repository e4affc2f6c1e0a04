"""Writes the skeleton of a paper's room: complete in shape, and failing until it is written."""

import importlib.util
import json
import keyword
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from paperround.errors import UsageError
from paperround.runs.rooms import find_rooms

_ROOM = ("card.toml", "__init__.py", "__init__.pyi", "method.py", "reproduction.py", "README.md")
_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_OUR_ROOMS = Path("src", "paperround", "papers")


@dataclass(frozen=True)
class Skeleton:
    """What was written: the room's folder, every file, and how it is brought to run."""

    folder: Path
    files: tuple[Path, ...]
    install: str


def write_skeleton(
    slug: str, into: Path, *, paper: str = "", title: str = "", family: str = "other"
) -> Skeleton:
    """The skeleton of a room for `slug`, written below `into`.

    In a checkout of Paperround it is a room among the others, with its folder of tests; anywhere
    else a package of its own, `into/slug`, ready for `pip install`. Raises UsageError for a slug
    that is taken or cannot be one, and where anything would be overwritten.
    """
    package = _package(slug)
    is_ours = (into / _OUR_ROOMS).is_dir()
    if is_ours:
        root, room = into, _OUR_ROOMS / package
        tests, qualified = Path("tests", "papers", package), f"paperround.papers.{package}"
        install = "make install"
    else:
        root, room = into / slug, Path("src", package)
        tests, qualified = Path("tests"), package
        install = f"pip install {root}"
        if root.exists():
            raise UsageError(f"{root} is there already; nothing was written")
    if (root / room).exists():
        raise UsageError(f"{root / room} is there already; nothing was written")
    title = _one_line(title) or "The title of the paper"
    words = {
        "slug": slug,
        "package": qualified,
        # Inside quotes of TOML; JSON's escapes are a part of TOML's.
        "paper": json.dumps(_one_line(paper) or "0000.00000", ensure_ascii=False)[1:-1],
        "title": json.dumps(title, ensure_ascii=False)[1:-1],
        "title_in_docstring": title.replace("\\", "").replace('"""', "'''"),
        "family": family,
    }
    targets = {name: room / name for name in _ROOM} | {"test_room.py": tests / "test_room.py"}
    if not is_ours:
        targets["pyproject.toml"] = Path("pyproject.toml")
    templates = files("paperround.runs") / "skeleton"
    for name, target in targets.items():
        text = (templates / f"{name}.in").read_text(encoding="utf-8")
        if name == "README.md":
            text = text.replace("$title", title.replace("$", "$$"))
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / target).write_text(Template(text).substitute(words), encoding="utf-8")
    written = tuple(sorted(root / target for target in targets.values()))
    return Skeleton(folder=root / room, files=written, install=install)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _package(slug: str) -> str:
    """The name of the package, checked to be free."""
    if not _SLUG.fullmatch(slug) or len(slug) > 60:
        raise UsageError(f"'{slug[:80]}' is no slug: small letters, digits and single hyphens")
    rooms, broken = find_rooms()
    if slug in rooms or slug in broken:
        raise UsageError(f"there is a runnable paper '{slug}' already; see `paperround papers`")
    package = slug.replace("-", "_")
    if package in sys.stdlib_module_names or importlib.util.find_spec(package) is not None:
        raise UsageError(f"a Python module is called '{package}' already; choose another slug")
    if not package.isidentifier() or keyword.iskeyword(package):
        raise UsageError(f"'{package}' cannot be a module's name; choose another slug")
    return package


def placeholders(name: str) -> list[str]:
    """The sentences of a file of the skeleton that a finished room has replaced by its own."""
    text = (files("paperround.runs") / "skeleton" / f"{name}.in").read_text(encoding="utf-8")
    return [sentence for sentence in _PLACEHOLDERS if sentence in text]


# Some of the skeleton's words, such as its headings, are meant to stay.
_PLACEHOLDERS = (
    "One sentence: what the method does for whoever uses it.",
    "What is measured, on what;",
    "What the paper says, in one sentence",
    "What the method does, for whoever uses it, in one sentence.",
    "What is measured, in which order, and how long it takes at each scale.",
    "What is done otherwise than in the paper, and why.",
    "What was tried for a claim that falls short, with figures.",
)
