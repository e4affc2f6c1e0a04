"""What admins see and do: accounts, invitations, the log, the state of the work."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.readers.acts import record_act
from paperround.readers.mail import put_in_outbox
from paperround.readers.queries import latest_acts, reader_by_name
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role

SignIn = Callable[..., TestClient]
Submit = Callable[..., Response]
PASSWORD = "kettle orbit mango 7"


@pytest.fixture
def boss(sign_in: SignIn) -> TestClient:
    return sign_in("boss", Role.ADMIN)


@pytest.fixture
def ada(sign_in: SignIn, boss: TestClient) -> TestClient:
    return sign_in("ada")


@pytest.fixture
def account(app: FastAPI, ada: TestClient) -> str:
    """The address of ada's account on the admin's pages."""
    with read(app.state.site.engine) as connection:
        found = reader_by_name(connection, "ada")
    assert found is not None
    return f"/admin/readers/{found.id}"


def acts(app: FastAPI) -> list[str]:
    with read(app.state.site.engine) as connection:
        return [f"{act.by} {act.act} {act.on}" for act in latest_acts(connection)]


def test_accounts_are_listed_and_found(boss: TestClient, account: str) -> None:
    page = boss.get("/admin/readers").text
    assert account in page
    assert account in boss.get("/admin/readers?q=AD").text
    assert account not in boss.get("/admin/readers?q=zz").text
    # Signs of LIKE are letters like others.
    assert account not in boss.get("/admin/readers?q=%25").text
    assert boss.get("/admin/readers/99999").status_code == 404


def test_a_role_is_changed_with_the_admin_s_own_password(
    app: FastAPI, boss: TestClient, ada: TestClient, account: str, submit: Submit
) -> None:
    wrong = submit(boss, account, f"{account}/role", role="moderator", password="wrong " * 3)
    assert wrong.status_code == 401
    assert "not your password" in wrong.text
    assert ada.get("/moderation").status_code == 403
    done = submit(boss, account, f"{account}/role", role="moderator", password=PASSWORD)
    assert done.status_code == 303
    assert ada.get("/moderation").status_code == 200
    assert acts(app)[0] == "boss made moderator ada"
    for role in ("visitor", "god"):
        refused = submit(boss, account, f"{account}/role", role=role, password=PASSWORD)
        assert refused.status_code == 400


def test_the_last_admin_stays_one(
    app: FastAPI, boss: TestClient, account: str, submit: Submit
) -> None:
    with read(app.state.site.engine) as connection:
        found = reader_by_name(connection, "boss")
    assert found is not None
    own = f"/admin/readers/{found.id}"
    refused = submit(boss, own, f"{own}/role", role="reader", password=PASSWORD)
    assert "only admin" in refused.text
    assert submit(boss, own, f"{own}/suspend", because="x").status_code == 400


def test_a_link_for_a_password_is_shown_once_and_works_once(
    app: FastAPI, boss: TestClient, ada: TestClient, account: str, submit: Submit
) -> None:
    shown = submit(boss, account, f"{account}/reset", password=PASSWORD)
    link = re.search(r"http://localhost:8000(/password/[\w-]{43})", shown.text)
    assert link is not None
    assert shown.headers["cache-control"] == "no-store"
    assert link[1] not in boss.get(account).text
    assert acts(app)[0] == "boss made a link for a password ada"
    used = submit(ada, link[1], link[1], password="seven kettles orbit")
    assert used.status_code == 303
    assert ada.get("/me").status_code == 303


def test_somebody_is_shut_out_and_let_in_again(
    app: FastAPI, boss: TestClient, ada: TestClient, account: str, submit: Submit
) -> None:
    assert "Say why" in submit(boss, account, f"{account}/suspend", because=" ").text
    submit(boss, account, f"{account}/suspend", because="spam")
    assert ada.get("/me").status_code == 303
    submit(boss, account, f"{account}/readmit")
    assert submit(ada, "/sign-in", "/sign-in", name="ada", password=PASSWORD).status_code == 303
    assert acts(app)[:2] == ["boss readmitted ada", "boss suspended ada"]


def test_an_account_is_deleted_by_name_and_password(
    app: FastAPI, boss: TestClient, ada: TestClient, account: str, submit: Submit
) -> None:
    where = f"{account}/delete"
    assert (
        "type the name" in submit(boss, account, where, name="eda", password=PASSWORD).text.lower()
    )
    assert submit(boss, account, where, name="ada", password="wrong " * 3).status_code == 401
    done = submit(boss, account, where, name="ada", password=PASSWORD)
    assert done.headers["location"] == "/admin/readers"
    assert boss.get(account).status_code == 404
    assert "ada" not in " ".join(acts(app))


def test_an_invitation_is_made_listed_and_revoked(
    app: FastAPI, boss: TestClient, submit: Submit
) -> None:
    shown = submit(boss, "/admin/invitations", "/admin/invitations")
    link = re.search(r"http://localhost:8000(/join/[\w-]{43})", shown.text)
    assert link is not None
    page = boss.get("/admin/invitations").text
    assert link[1] not in page
    assert boss.get(link[1]).status_code == 200
    (revoke,) = re.findall(r'action="(/admin/invitations/\w+/revoke)"', page)
    assert submit(boss, "/admin/invitations", revoke).status_code == 303
    assert boss.get(link[1]).status_code == 404
    assert "revoked an invitation" in boss.get("/admin/acts").text


def test_the_log_goes_on_page_by_page(app: FastAPI, boss: TestClient) -> None:
    with write(app.state.site.engine) as connection:
        for n in range(104):
            record_act(connection, None, "did", f"number {n}", utc_now())
    first = boss.get("/admin/acts").text
    before = re.search(r'href="/admin/acts\?before=(\d+)"', first)
    assert before is not None
    second = boss.get(f"/admin/acts?before={before[1]}").text
    assert first.count("<tr>") == 101
    assert second.count("<tr>") == 5


def test_the_state_of_the_work_is_shown(app: FastAPI, boss: TestClient) -> None:
    with write(app.state.site.engine) as connection:
        put_in_outbox(connection, "a@b.example", "Hello", "There", utc_now())
    page = boss.get("/admin").text
    assert "<dt>Mails waiting</dt><dd>1;" in page
    assert "43;" in page
    assert "a@b.example" not in page


def test_the_same_by_the_api(
    app: FastAPI,
    boss: TestClient,
    ada: TestClient,
    submit: Submit,
    visit: Callable[..., TestClient],
) -> None:
    submit(boss, "/admin/invitations", "/admin/invitations")
    engine = app.state.site.engine
    with read(engine) as connection:
        reader = reader_by_name(connection, "boss")
    assert reader is not None
    program = visit()
    token = add_token(engine, reader, "test", [Scope.ADMIN], 9, utc_now())
    program.headers["Authorization"] = f"Bearer {token}"
    assert program.get("/api/v1/admin/state").json()["readers_by_role"] == {"admin": 1, "reader": 1}
    names: list[str] = []
    address: str | None = "/api/v1/admin/readers?limit=1"
    while address:
        page = program.get(address).json()
        names += [each["name"] for each in page["readers"]]
        address = page["next"]
    assert names == ["ada", "boss"]
    shut = program.post("/api/v1/admin/readers/ada/suspend", json={"because": "spam"}).json()
    assert shut["suspended_at"] is not None
    assert ada.get("/me").status_code == 303
    again = program.post("/api/v1/admin/readers/ADA/readmit").json()
    assert again["suspended_at"] is None
    (invitation,) = program.get("/api/v1/admin/invitations").json()["invitations"]
    where = f"/api/v1/admin/invitations/{invitation['id']}"
    assert program.delete(where).status_code == 204
    assert program.delete(where).status_code == 404
    assert program.get("/api/v1/admin/readers/nobody").status_code == 404


@pytest.mark.parametrize("role", [Role.READER, Role.MODERATOR])
def test_nobody_else_sees_any_of_it(sign_in: SignIn, boss: TestClient, role: Role) -> None:
    other = sign_in("other", role)
    for path in ("/admin", "/admin/readers", "/admin/invitations", "/admin/acts"):
        assert other.get(path).status_code == 403
