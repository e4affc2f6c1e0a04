"""`paperround user`: accounts from the command line, as an operator's scripts use it."""

import json
from pathlib import Path

import pytest

from paperround import cli
from paperround.settings import Settings

Output = pytest.CaptureFixture[str]


def paperround(*arguments: str) -> int:
    return cli.call(["user", *arguments])


@pytest.fixture(autouse=True)
def _home(settings: Settings) -> None:
    """Each test has a home of its own."""


def names(capsys: Output) -> dict[str, str]:
    capsys.readouterr()
    assert paperround("list", "--json") == 0
    return {row["name"]: row["role"] for row in json.loads(capsys.readouterr().out)}


def test_add_prints_a_link_on_standard_output_and_the_rest_beside_it(capsys: Output) -> None:
    assert paperround("add", "ada", "--role", "admin") == 0
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    assert line.startswith("http://127.0.0.1:8000/password/")
    assert "works once" in said.err
    assert names(capsys) == {"ada": "admin"}


def test_a_link_leads_to_the_public_address(
    capsys: Output, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.home.mkdir(parents=True)
    settings.home.joinpath("paperround.toml").write_text('public_url = "https://papers.example/"\n')
    monkeypatch.setattr("paperround.settings.get_settings", Settings)
    assert paperround("invite") == 0
    assert capsys.readouterr().out.startswith("https://papers.example/join/")


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "a b"),
        ("add", "x"),
        ("add", "ada", "--role", "visitor"),
        ("promote", "nobody", "admin"),
        ("reset", "nobody"),
        ("export", "nobody"),
        ("delete", "nobody", "--yes"),
        ("suspend", "nobody"),
    ],
)
def test_what_cannot_be_is_usage(capsys: Output, arguments: tuple[str, ...]) -> None:
    assert paperround(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("paperround: ")
    assert len(said.err.splitlines()) == 1


def test_roles_are_given_and_the_last_admin_stays(capsys: Output) -> None:
    paperround("add", "ada", "--role", "admin")
    paperround("add", "bo")
    assert paperround("promote", "ada", "reader") == 2
    assert paperround("promote", "bo", "moderator") == 0
    assert names(capsys) == {"ada": "admin", "bo": "moderator"}
    assert paperround("suspend", "ada") == 2
    assert paperround("suspend", "bo") == 0
    assert paperround("suspend", "bo", "--end") == 0


def test_deleting_asks_or_wants_yes(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    paperround("add", "ada")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert paperround("delete", "ada") == 2
    assert "ada" in names(capsys)
    assert paperround("delete", "ADA", "--yes") == 0
    assert names(capsys) == {}


def test_the_export_is_a_document(capsys: Output, tmp_path: Path) -> None:
    paperround("add", "ada")
    capsys.readouterr()
    assert paperround("export", "ada") == 0
    assert json.loads(capsys.readouterr().out)["account"]["name"] == "ada"
    file = tmp_path / "ada.json"
    assert paperround("export", "ada", "-o", str(file)) == 0
    assert json.loads(file.read_text())["account"]["role"] == "reader"
