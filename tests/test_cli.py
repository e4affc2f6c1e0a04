"""The command line as scripts rely on it: what is printed where, and the exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paperround.settings import Settings

COMMANDS = (
    ["serve"],
    ["migrate"],
    ["import"],
    ["search"],
    ["papers"],
    ["run"],
    ["worker"],
    ["check"],
    ["new"],
    ["asset", "list"],
    ["asset", "get"],
    ["result", "list"],
    ["result", "export"],
    ["result", "import"],
    ["result", "compare"],
    ["generate"],
    ["recommend", "fit"],
    ["recommend", "evaluate"],
    ["recommend", "recommend"],
    ["user", "add"],
    ["user", "invite"],
    ["user", "list"],
    ["user", "promote"],
    ["user", "suspend"],
    ["user", "reset"],
    ["user", "export"],
    ["user", "delete"],
)


def paperround(
    *arguments: str, home: Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A real process, as a script would start it."""
    return subprocess.run(
        [sys.executable, "-m", "paperround.cli", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        env={**os.environ, "PAPERROUND_HOME": str(home), "COLUMNS": "100"},
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the starter catalogue; commands of this module only read it."""
    home = tmp_path_factory.mktemp("home")
    done = paperround("search", "anything", "-n", "1", home=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_one_example_that_names_the_command(command: list[str], tmp_path: Path) -> None:
    done = paperround(*command, "--help", home=tmp_path)
    assert done.returncode == 0
    assert f"Example: paperround {' '.join(command)}" in " ".join(done.stdout.split())


def test_help_imports_no_room() -> None:
    code = (
        "import sys, paperround.cli\n"
        "heavy = ('sqlalchemy', 'fastapi', 'numpy', 'torch', 'pydantic', 'onnxruntime')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["run"], "name the papers to run, or say --all"),
        (["run", "copyspek"], "did you mean copyspec"),
        (["run", "copyspec", "--scale", "huge"], "no scale 'huge'"),
        (["run", "copyspec", "--seed", "x"], "--seed"),
        (["search", "x", "--mode", "smell"], "smell"),
        (["search", "x", "-n", "0"], "-n"),
        (["import", "carrier-pigeon"], "no source 'carrier-pigeon'; there are"),
        (["import", "jsonl"], "files, or - for standard input"),
        (["import", "jsonl", "/no/such/file"], "/no/such/file: there is no such file"),
        (["asset", "get", "nothing"], "no asset 'nothing'"),
        (["asset", "get"], "name an asset"),
        (["check", "nothing"], "no runnable paper 'nothing'"),
        (["serve", "--port", "99999"], "--port"),
        (["result", "export", "abc"], "'abc' is no result's id"),
        (["result", "export", "0" * 64], "no result '0000"),
        (["result", "export", "0" * 64, "--format", "clay"], "no format 'clay'; there are"),
        (["result", "import", "/no/such/file"], "/no/such/file: No such file"),
        (["result", "compare", "0" * 64, "1" * 64], "no result '0000"),
        (["result", "list", "nothing"], "no runnable paper 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_usage_error_is_status_2_and_one_plain_sentence(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = paperround(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_search_prints_json_best_first(home: Path) -> None:
    done = paperround("search", "sequential redundancy", "-n", "5", "--json", home=home)
    assert done.returncode == 0
    hits = json.loads(done.stdout)
    assert len(hits) == 5
    assert all(hit["id"] and hit["title"] and hit["url"] for hit in hits)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_search_finds_a_paper_by_its_arxiv_address(home: Path) -> None:
    done = paperround("search", "https://arxiv.org/abs/2502.08923v2", "--json", home=home)
    assert json.loads(done.stdout)[0]["id"] == "2502.08923"


def test_a_search_without_an_answer_is_no_error(home: Path) -> None:
    done = paperround("search", "zqxjkvbw", "--mode", "words", "--json", home=home)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_papers_lists_the_runnable_ones_with_their_latest_verdicts(home: Path) -> None:
    done = paperround("papers", "--json", home=home)
    assert done.returncode == 0
    papers = {paper["slug"]: paper for paper in json.loads(done.stdout)}
    assert {"copyspec", "diverse-beam-search", "slimpajama-dc"} <= papers.keys()
    copyspec = papers["copyspec"]
    assert copyspec["paper"] == "2502.08923"
    assert "quick" in copyspec["latest"]
    assert set(copyspec["latest"]["quick"]) == set(copyspec["claims"])


def test_import_counts_and_names_a_broken_line(tmp_path: Path) -> None:
    lines = [
        '{"title": "A fine paper on nothing at all", "abstract": "It works."}',
        '{"title": ""}',
        "not json",
        '{"title": "Another fine paper on nothing", "abstract": "It works, too."}',
    ]
    done = paperround("import", "jsonl", "-", "--json", home=tmp_path, stdin="\n".join(lines))
    assert done.returncode == 1
    counts = json.loads(done.stdout)
    assert counts.keys() >= {"read", "added", "updated", "merged", "rejected", "seconds"}
    assert (counts["read"], counts["added"], counts["rejected"]) == (4, 2, 2)
    assert "line 2: no title" in done.stderr
    assert "line 3: not JSON" in done.stderr


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    line = '{"id": "2502.08923", "title": "CopySpec", "abstract": "It copies."}'
    first = paperround("import", "jsonl", "-", "--json", home=tmp_path, stdin=line)
    second = paperround("import", "jsonl", "-", "--json", home=tmp_path, stdin=line)
    assert json.loads(first.stdout)["added"] == 1
    counts = json.loads(second.stdout)
    assert (counts["added"], counts["updated"], counts["merged"]) == (0, 0, 0)
    assert second.returncode == 0


def test_check_finds_no_fault_in_a_fresh_catalogue(home: Path) -> None:
    done = paperround("check", "--json", home=home)
    faults = json.loads(done.stdout)["faults"]
    # Which rooms are excused from their standard scale stands in the contract test.
    assert [f for f in faults if "no result at standard" not in f] == []
    assert done.returncode == (1 if faults else 0)


def test_check_finds_an_index_of_words_that_has_drifted(tmp_path: Path) -> None:
    import sqlite3

    paperround("import", "jsonl", "-", home=tmp_path, stdin='{"title": "A fine paper"}')
    assert "A fine paper" in paperround("search", "fine", home=tmp_path).stdout
    with sqlite3.connect(tmp_path / "paperround.sqlite3") as connection:
        connection.execute("DROP TRIGGER paper_change_changed")
        connection.execute("UPDATE paper SET title_text = 'Something else'")
    connection.close()
    done = paperround("check", home=tmp_path)
    assert done.returncode == 1
    assert "the index of words differs" in done.stdout
    assert "index of words" not in paperround("check", "--repair", home=tmp_path).stdout


def test_asset_list_says_what_is_here(home: Path) -> None:
    done = paperround("asset", "list", "--json", home=home)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["minilm-vocab"]["here"] is True
    assert rows["smollm2-135m"]["licence"] == "Apache-2.0"


def test_a_newer_database_is_refused_in_one_line(tmp_path: Path) -> None:
    import sqlite3

    paperround("migrate", home=tmp_path)
    with sqlite3.connect(tmp_path / "paperround.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    done = paperround("papers", home=tmp_path)
    assert done.returncode == 3
    assert "newer than this program" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    (tmp_path / "paperround.sqlite3").write_text("this is no database, but a text of some length")
    done = paperround("papers", home=tmp_path)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" in paperround("papers", "--debug", home=tmp_path).stderr


def test_the_home_of_a_test_is_its_own(settings: Settings, tmp_path: Path) -> None:
    assert settings.home.is_relative_to(tmp_path)


def test_a_result_is_exported_imported_elsewhere_and_compared(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    listed = paperround("result", "list", "copyspec", "--json", home=here)
    [shipped] = [one for one in json.loads(listed.stdout) if one["scale"] == "quick"]
    assert shipped["origin"] == "shipped"
    file = tmp_path / "result.json"
    exported = paperround("result", "export", shipped["id"][:12], "-o", str(file), home=here)
    assert (exported.returncode, exported.stdout) == (0, "")
    arguments = ["import", str(file), "--from", "the other one", "--json"]
    imported = paperround("result", *arguments, home=elsewhere)
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["result"] == shipped["id"]
    compared = paperround("result", "compare", *[shipped["id"]] * 2, "--json", home=elsewhere)
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["comparable"] is True
    table = paperround("result", "compare", *[shipped["id"]] * 2, home=elsewhere)
    assert "Ratio" in table.stdout
    for form, begins in (("markdown", "# "), ("notebook", "{"), ("json", "{")):
        done = paperround("result", "export", shipped["id"], "--format", form, home=here)
        assert done.stdout.startswith(begins)


def test_a_changed_file_is_rejected_and_the_others_go_in(tmp_path: Path) -> None:
    listed = paperround("result", "list", "copyspec", "--json", home=tmp_path)
    shipped = json.loads(listed.stdout)[0]
    text = paperround("result", "export", shipped["id"], home=tmp_path).stdout
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(text)
    bad.write_text(json.dumps({**json.loads(text), "seconds": 1.0}))
    done = paperround("result", "import", str(bad), str(good), home=tmp_path / "other")
    assert done.returncode == 1
    assert "changed after it was exported" in done.stderr
    assert shipped["id"] in done.stdout
    assert "Traceback" not in done.stderr
