"""What documents say is so: figures come from programs, and what is named is there."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# A migration has one function, whose name and meaning are alembic's.
SOURCES = sorted(
    path for path in (ROOT / "src" / "paperround").rglob("*.py") if path.parent.name != "versions"
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module; tools are not part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_figures_are_those_that_the_programs_wrote() -> None:
    for path, page in load_tool("figures").written().items():
        assert path.read_text(encoding="utf-8") == page, "run tools/figures.py"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_module_that_a_page_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:catalogue|discovery|runs|web|kit)/[a-z_/]+\.py)`", text):
        assert (ROOT / "src" / "paperround" / name).is_file(), name


def test_every_dependency_says_why_it_is_there() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["papers"], *extras["dev"]]
    names = [re.match(r"[A-Za-z0-9-]+", requirement)[0] for requirement in wanted]  # type: ignore[index]
    # Stubs follow what they describe; pytest's plugins stand together.
    left_out = [name for name in names if not name.startswith(("types-", "pytest-"))]
    assert [name for name in left_out if name not in page] == []


def test_every_command_stands_in_the_readme_or_the_docs() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    done = subprocess.run(
        [sys.executable, "-m", "paperround.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    commands = re.findall(r"^  ([a-z]+)  ", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert commands
    assert [name for name in commands if f"paperround {name}" not in text] == []


@pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src" / "paperround").as_posix()
)
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [] if not tree.body or ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                missing.append(node.name)
            if isinstance(node, ast.ClassDef) and not node.bases:
                missing += [
                    f"{node.name}.{method.name}"
                    for method in node.body
                    if isinstance(method, ast.FunctionDef)
                    and not method.name.startswith("_")
                    and not ast.get_docstring(method)
                ]
    assert missing == []
