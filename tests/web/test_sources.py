"""The page of sources, and what others reported on a paper's page."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from paperround.catalogue.actions import import_records
from paperround.catalogue.records import PaperRecord, ReportedResult
from paperround.catalogue.schedule import import_due
from paperround.settings import ScheduledSource, Settings
from paperround.web.app import create_app


def test_the_page_shows_the_last_imports_with_counts_and_errors(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "lab.jsonl"
    file.write_text('{"title": "One"}\n{"title": ""}\n', encoding="utf-8")
    sources = (
        ScheduledSource(source="jsonl", arguments=(str(file),), when="0 6 * * *", name="our lab"),
        ScheduledSource(source="bibtex", arguments=("gone.bib",), when="0 6 * * *"),
    )
    ours = settings.model_copy(update={"sources": sources})
    import_due(engine, ours)
    with TestClient(
        create_app(ours, local_only=True, worker=False), base_url="http://127.0.0.1"
    ) as client:
        page = client.get("/sources")
    assert page.status_code == 200
    for text in ("our lab", "finished", "line 2: no title", "gone.bib: there is no such file"):
        assert text in page.text
    assert "2 read · 1 added · 1 rejected" in page.text
    assert "<code>arxiv-oai</code>" in page.text


def test_where_a_file_lies_on_the_server_is_not_shown(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    source = ScheduledSource(
        source="jsonl", arguments=(str(tmp_path / "gone.jsonl"),), when="0 6 * * *"
    )
    ours = settings.model_copy(update={"sources": (source,)})
    import_due(engine, ours)
    with TestClient(
        create_app(ours, local_only=True, worker=False), base_url="http://127.0.0.1"
    ) as client:
        text = client.get("/sources").text
    assert "gone.jsonl: there is no such file" in text
    assert str(tmp_path) not in text


@pytest.mark.usefixtures("engine")
def test_a_site_without_scheduled_imports_says_how_to_have_them(settings: Settings) -> None:
    with TestClient(
        create_app(settings, local_only=True, worker=False), base_url="http://127.0.0.1"
    ) as client:
        assert "paperround.toml" in client.get("/sources").text


def test_what_others_reported_stands_on_the_papers_page_with_who_said_so(
    engine: Engine, settings: Settings
) -> None:
    record = PaperRecord(
        source="paperswithcode",
        source_key="x",
        title="Forgetting Mixtures",
        identifiers={"arxiv": "2604.00001"},
        results=(ReportedResult("Recall", "<b>CIFAR</b>", "accuracy", "81.2%", "small"),),
        keywords=("rehearsal",),
        withdrawn=True,
        links=("https://huggingface.co/a/model", "https://github.com/a/b"),
    )
    import_records(engine, [record])
    with TestClient(
        create_app(settings, local_only=True, worker=False), base_url="http://127.0.0.1"
    ) as client:
        text = client.get("/papers/2604.00001").text
        api = client.get("/api/v1/papers/2604.00001").json()
    for said in ("What others reported", "81.2%", "paperswithcode", "Withdrawn", "rehearsal"):
        assert said in text
    assert "&lt;b&gt;CIFAR" in text
    assert "They were not measured here" in text
    assert 'href="https://huggingface.co/a/model"' in text
    assert api["links"] == ["https://huggingface.co/a/model", "https://github.com/a/b"]
    assert api["withdrawn"] is True
