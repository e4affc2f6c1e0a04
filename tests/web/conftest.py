"""A site over a small catalogue and one little room, and a client on this machine."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import update

from paperround.catalogue.actions import import_records
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.tables import PaperTable
from paperround.clock import utc_now
from paperround.db import connect, migrate, read, write
from paperround.readers.accounts import add_reader
from paperround.readers.queries import reader_by_name
from paperround.readers.secrets import hash_password
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role
from paperround.settings import Settings
from paperround.web.app import create_app

LITTLE_ROOM = Path(__file__).with_name("little_room")

Visit = Callable[..., TestClient]
# The page with the form, where it goes, what is filled in.
Submit = Callable[..., Response]
PASSWORD = "kettle orbit mango 7"


def a_record(number: int = 1, **changes: object) -> PaperRecord:
    """A paper of 30 June 2026 as a source gives it."""
    key = f"2606.{number:05d}"
    fields: dict[str, object] = {
        "source": "jsonl",
        "source_key": key,
        "title": f"Paper number {number} on counting",
        "abstract": f"We count to {number} in a new way. The numbers grow one after another.",
        "authors": ("Ada Ay", "Bo Bee"),
        "listed": date(2026, 6, 30),
        "categories": ("cs.CL", "cs.LG"),
        "votes": number,
        "identifiers": {"arxiv": key},
    }
    return PaperRecord(**{**fields, **changes})  # type: ignore[arg-type]


RECORDS = (
    a_record(
        1,
        title=r"The $\mathcal{O}(n)$ road & <script>alert('title')</script>",
        abstract=r"We show $x^2 < y$ <img src=x onerror=alert(1)> and more of it.",
        authors=tuple(f"Author{n} Surname{n}" for n in range(3303)),
        organisation="<b>Institute</b>",
        project_url="https://example.org/project",
        votes=50,
    ),
    a_record(2, listed=date(2026, 6, 29), title="Diffusion of languages"),
    a_record(3, author_count=37, authors=()),
    *(a_record(n) for n in range(10, 50)),
)


@pytest.fixture
def little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The little room, installed: this process and its children find it by its entry point."""
    site = tmp_path / "site"
    shutil.copytree(LITTLE_ROOM, site / "little_room", ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "little_room-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: little_room\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text("[paperround.papers]\nlittle = little_room\n")
    monkeypatch.syspath_prepend(site)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), inherited])))
    return site / "little_room"


@pytest.fixture(scope="session")
def catalogue_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small catalogue's database, made once: tests begin with a copy."""
    path = tmp_path_factory.mktemp("catalogue") / "paperround.sqlite3"
    engine = connect(f"sqlite:///{path}")
    migrate(engine)
    imported = import_records(engine, RECORDS)
    assert (imported.added, imported.rejected) == (len(RECORDS), 0)
    with write(engine) as connection:
        # The importer refuses such an address; a page must not rely on that.
        connection.execute(
            update(PaperTable)
            .where(PaperTable.key == "2606.00001")
            .values(code_url="javascript:alert(1)")
        )
    engine.dispose()
    return path


@pytest.fixture
def catalogue(settings: Settings, catalogue_file: Path) -> None:
    """The small catalogue, in this test's home."""
    settings.home.mkdir(parents=True, exist_ok=True)
    shutil.copy(catalogue_file, settings.home / "paperround.sqlite3")


@pytest.fixture
def app(settings: Settings, catalogue: None, little_room: Path) -> FastAPI:
    """The site as `paperround serve --no-worker` makes it on a loopback address."""
    return create_app(settings, local_only=True, worker=False)


@pytest.fixture
def whole_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every paper that runs on the front page, where others stand each day."""
    monkeypatch.setattr("paperround.web.pages.feed._STRIP_PAPERS", 1_000)


@pytest.fixture
def visit(app: FastAPI) -> Iterator[Visit]:
    """Makes clients: on this machine unless said otherwise."""
    made: list[TestClient] = []

    def make(host: str = "127.0.0.1", name: str = "localhost:8000") -> TestClient:
        client = TestClient(
            app,
            base_url=f"http://{name}",
            client=(host, 50_000),
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        client.__enter__()
        made.append(client)
        return client

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def client(visit: Visit) -> TestClient:
    """A client on this machine."""
    return visit()


def submit(client: TestClient, page: str, action: str, **fields: str) -> Response:
    """What comes of sending a form of that page, with the key that the page shows."""
    shown = client.get(page)
    forms = re.findall(r'<form[^>]* action="([^"]*)"(.*?)</form>', shown.text, re.DOTALL)
    bodies = [body for address, body in forms if address == action]
    assert bodies, f"{page} has no form to {action}, but {[address for address, _ in forms]}"
    key = re.search(r'name="form_key" value="([0-9a-f]{64})"', bodies[0])
    assert key is not None, f"the form to {action} has no key"
    origin = {"Origin": str(client.base_url).rstrip("/")}
    return client.post(action, data={"form_key": key[1], **fields}, headers=origin)


@pytest.fixture(name="submit")
def _submit() -> Submit:
    return submit


@pytest.fixture(scope="session")
def hashed() -> str:
    """The hash of PASSWORD, made once: it takes its time on purpose."""
    return hash_password(PASSWORD)


@pytest.fixture
def sign_in(app: FastAPI, visit: Visit, hashed: str) -> Callable[..., TestClient]:
    """Makes a reader whose password is PASSWORD, and a client that is signed in as them."""

    def signed_in(name: str = "ada", role: Role = Role.READER, **options: str) -> TestClient:
        with write(app.state.site.engine) as connection:
            add_reader(connection, name, utc_now(), role=role, password=hashed)
        client = visit(**options)
        done = submit(client, "/sign-in", "/sign-in", name=name, password=PASSWORD)
        assert done.status_code == 303, done.text
        return client

    return signed_in


@pytest.fixture
def api(
    app: FastAPI, sign_in: Callable[..., TestClient], visit: Visit
) -> Callable[..., TestClient]:
    """Clients that hold a token of a new reader."""

    def make(name: str, role: Role = Role.READER, *scopes: str) -> TestClient:
        sign_in(name, role)
        with read(app.state.site.engine) as connection:
            reader = reader_by_name(connection, name)
        assert reader is not None
        chosen = scopes or tuple(Scope)
        token = add_token(app.state.site.engine, reader, "test", chosen, 9, utc_now())
        client = visit()
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    return make
