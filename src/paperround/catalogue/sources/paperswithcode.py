"""Papers with Code's dumps: papers with methods, links to code, and evaluation tables.

The three are told apart by what their rows hold. Rows of one paper stand apart in the files of
links and of tables, so these are gathered by paper before they are given on. What a table says of
a paper becomes a result that others reported; no table says which direction is better.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paperround.catalogue.identity import derived_key
from paperround.catalogue.records import PaperRecord, Rejected, ReportedResult
from paperround.catalogue.sources.fields import (
    RowError,
    address_of,
    day_of,
    identifiers_in,
    object_of,
    objects_of,
    required,
    shown,
    text_of,
    texts_of,
)
from paperround.catalogue.sources.files import check_files, json_items, open_files

SOURCE = "paperswithcode"
_PAGE = re.compile(r"https?://paperswithcode\.com/paper/([\w-]{1,180})/?$")
_MAX_DEPTH = 20


@dataclass
class _Gathered:
    """All that a file's rows say of one paper."""

    title: str
    place: str
    url: str | None
    published: str | None = None
    identifiers: dict[str, str] = field(default_factory=dict)
    code_url: str | None = None
    links: dict[str, None] = field(default_factory=dict)
    results: dict[ReportedResult, None] = field(default_factory=dict)


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of the dumps' files, in any order."""
    check_files(SOURCE, arguments)
    return _read(arguments)


def _read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    for name, stream in open_files(arguments):
        gathered: dict[str, _Gathered] = {}
        for item in json_items(stream, name):
            if isinstance(item, Rejected):
                yield item
                continue
            place, value = item
            try:
                row = object_of(value)
                if "task" in row:
                    yield from _gather_task(row, place, gathered, ())
                elif "repo_url" in row:
                    _gather_link(row, place, gathered)
                else:
                    yield _paper(row, place)
            except RowError as error:
                yield Rejected(place, str(error))
        for key, each in gathered.items():
            yield PaperRecord(
                source=SOURCE,
                source_key=key,
                title=each.title,
                published=day_of(each.published, "paper_date"),
                code_url=each.code_url,
                links=tuple(each.links),
                results=tuple(each.results),
                identifiers=each.identifiers,
                place=each.place,
            )


def _paper(row: Mapping[str, Any], place: str) -> PaperRecord:
    title = required(row, "title")
    openreview, arxiv = text_of(row, "openreview_id"), text_of(row, "arxiv_id")
    identifiers = identifiers_in(arxiv, text_of(row, "url_abs"), text_of(row, "url_pdf"))
    if openreview:
        identifiers["openreview"] = openreview
    methods = [text_of(method, "name") or "" for method in objects_of(row, "methods")]
    url = text_of(row, "paper_url")
    return PaperRecord(
        source=SOURCE,
        source_key=_key(url, title),
        title=title,
        abstract=text_of(row, "abstract") or text_of(row, "short_abstract") or "",
        authors=texts_of(row, "authors"),
        keywords=tuple(dict.fromkeys(filter(None, (*texts_of(row, "tasks"), *methods)))),
        published=day_of(text_of(row, "date"), "date"),
        venue=text_of(row, "proceeding") or text_of(row, "conference"),
        pdf_url=address_of(text_of(row, "url_pdf")),
        identifiers=identifiers,
        place=place,
    )


def _gather_link(row: Mapping[str, Any], place: str, gathered: dict[str, _Gathered]) -> None:
    url = text_of(row, "paper_url")
    paper = _gathered(gathered, required(row, "paper_title"), url, place)
    paper.identifiers |= identifiers_in(
        text_of(row, "paper_arxiv_id"), text_of(row, "paper_url_abs"), text_of(row, "paper_url_pdf")
    )
    repository = address_of(text_of(row, "repo_url"))
    if repository is None:
        raise RowError(f"repo_url is {shown(row.get('repo_url'))}; it must be a web address")
    paper.links[repository] = None
    if row.get("is_official") is True and paper.code_url is None:
        paper.code_url = repository


def _gather_task(
    task: Mapping[str, Any], place: str, gathered: dict[str, _Gathered], above: tuple[str, ...]
) -> Iterator[Rejected]:
    if len(above) > _MAX_DEPTH:
        raise RowError(f"tasks inside each other more than {_MAX_DEPTH} deep")
    name = required(task, "task")
    for dataset in objects_of(task, "datasets"):
        yield from _gather_dataset(dataset, name, "", place, gathered, 0)
    for inner in objects_of(task, "subtasks"):
        yield from _gather_task(inner, place, gathered, (*above, name))


def _gather_dataset(
    dataset: Mapping[str, Any],
    task: str,
    above: str,
    place: str,
    gathered: dict[str, _Gathered],
    depth: int,
) -> Iterator[Rejected]:
    if depth > _MAX_DEPTH:
        raise RowError(f"data sets inside each other more than {_MAX_DEPTH} deep")
    own = text_of(dataset, "dataset") or text_of(dataset, "subdataset") or ""
    name = f"{above}: {own}" if above and own else above or own
    sota = dataset.get("sota") or {}
    if not isinstance(sota, dict):
        raise RowError(f"sota is {shown(sota)}; it must be an object")
    for number, row in enumerate(objects_of(sota, "rows"), start=1):
        try:
            _gather_row(row, task, name, place, gathered)
        except RowError as error:
            yield Rejected(f"{place}, {task}, {name[:60]}, row {number}", str(error))
    for inner in objects_of(dataset, "subdatasets"):
        yield from _gather_dataset(inner, task, name, place, gathered, depth + 1)


def _gather_row(
    row: Mapping[str, Any], task: str, dataset: str, place: str, gathered: dict[str, _Gathered]
) -> None:
    title, url = required(row, "paper_title"), text_of(row, "paper_url")
    if address_of(title) is not None:
        raise RowError(f"paper_title is {shown(title)}, an address and no title")
    paper = _gathered(gathered, title, url, place)
    paper.identifiers |= identifiers_in(url)
    paper.published = paper.published or text_of(row, "paper_date")
    for link in objects_of(row, "code_links"):
        if (address := address_of(text_of(link, "url"))) is not None:
            paper.links[address] = None
    metrics = row.get("metrics") or {}
    if not isinstance(metrics, dict):
        raise RowError(f"metrics is {shown(metrics)}; it must be an object")
    model = text_of(row, "model_name") or ""
    for metric, value in metrics.items():
        # Nothing was reported where nothing stands.
        if value is None or not str(value).strip() or not metric.strip():
            continue
        if isinstance(value, dict | list | bool):
            raise RowError(f"{metric} is {shown(value)}; it must be a number or text")
        paper.results[ReportedResult(task, dataset, metric, str(value).strip(), model)] = None


def _gathered(gathered: dict[str, _Gathered], title: str, url: str | None, place: str) -> _Gathered:
    return gathered.setdefault(_key(url, title), _Gathered(title, place, url))


def _key(url: str | None, title: str) -> str:
    page = _PAGE.match(url or "")
    return page[1] if page else derived_key(title)
