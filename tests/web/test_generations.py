"""Asking for text on its page and by the API, and what is shown of it."""

import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select, update

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.kit.language_models.declarations import Declaration
from paperround.kit.language_models.families import byte_tokenizer, random_model
from paperround.readers.generating import work_on_next
from paperround.readers.generations import (
    MAX_OPEN_EACH,
    MAX_PROMPT,
    find_generation,
    generations_of,
    queue_generation,
)
from paperround.readers.tables import GenerationTable
from paperround.runs.card import Scale
from paperround.runs.generation import Asked
from paperround.runs.queue import TableQueue
from paperround.runs.rights import THIS_MACHINE, Role
from paperround.settings import Settings, TextGeneration
from paperround.web.app import create_app

SignIn = Callable[..., TestClient]
Visit = Callable[..., TestClient]
Submit = Callable[..., Response]
API = "/api/v1"
ORIGIN = {"Origin": "http://localhost:8000"}
REPORT: dict[str, Any] = {
    "prompt": "the prompt",
    "method": "copyspec",
    "options": {"gamma": 3, "max_copy": 10},
    "texts": [{"text": "the dog <b>sat</b> on a mat", "tokens": 10, "log_prob": None}],
    "passes": 4,
    "seconds": 0.5,
    "tokens_per_second": 20.0,
    "changed": "Six tokens were copied.",
    "figures": {"tokens_per_pass": 2.5},
    "greedy": {
        "text": "the dog <b>sat</b> on the mat",
        "tokens": 10,
        "same_text": False,
        "passes": 10,
        "seconds": 1.25,
        "tokens_per_second": 8.0,
        "times_as_fast": 2.5,
    },
    "says": ["Six.", "Another text, 2.50 times as fast as greedy decoding."],
}


def ask(client: TestClient, **fields: str) -> Response:
    asked = {"prompt": "On and", "method": "copyspec", **fields}
    return client.post("/generate", data=asked, headers=ORIGIN)


def end(app: FastAPI, **values: Any) -> None:
    with write(app.state.site.engine) as connection:
        connection.execute(update(GenerationTable).values(ended_at=utc_now(), **values))


# --- the form


def test_the_form_has_every_method_with_its_options(client: TestClient) -> None:
    page = client.get("/generate?method=copyspec")
    assert page.status_code == 200
    for name in ("greedy", "sampling", "copyspec", "diverse-beam-search", "set-based-prompting"):
        assert f'name="method" value="{name}"' in page.text
    assert 'name="method" value="copyspec" checked' in page.text
    assert page.text.count(" checked>") == 1
    assert re.search(r'name="copyspec\.gamma"[^>]* value="3"', page.text)
    assert re.search(r'name="set-based-prompting\.sort_members"[^>]* value="false"', page.text)
    assert "paperround worker" in page.text, "this server has none"


def test_a_room_s_methods_are_shown_and_its_code_is_not_imported(
    client: TestClient, little_room: Path
) -> None:
    (little_room / "generator.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    assert "Try little" not in client.get("/papers/2601.00001").text
    declared = '[little]\nabout = "<i>it</i>"\noptions = { a = "<x>" }\n'
    (little_room / "generators.toml").write_text(declared, encoding="utf-8")
    page = client.get("/generate?method=little").text
    assert "&lt;i&gt;it&lt;/i&gt;" in page
    assert 'value="&lt;x&gt;"' in page
    assert 'href="/papers/2601.00001"' in page
    assert '<a class="all" href="/generate?method=little">' in client.get("/papers/2601.00001").text
    (little_room / "generators.toml").write_text("[little", encoding="utf-8")
    assert client.get("/generate").status_code == 200
    assert client.get("/papers/2601.00001").status_code == 200


def test_the_form_is_filled_in_by_its_address_and_by_an_earlier_text(client: TestClient) -> None:
    page = client.get("/generate", params={"method": "sampling", "prompt": "</textarea><b>"}).text
    assert "&lt;/textarea&gt;&lt;b&gt;</textarea>" in page
    done = ask(client, chat="yes", seed="7", **{"copyspec.gamma": "4"})
    page = client.get("/generate?like=" + done.headers["location"].rpartition("/")[2]).text
    assert "On and</textarea>" in page
    assert re.search(r'name="copyspec\.gamma"[^>]* value="4"', page)
    assert re.search(r'name="chat" value="yes" checked', page)
    assert re.search(r'name="seed"[^>]* value="7"', page)
    assert client.get("/generate?like=nothing").status_code == 404
    unknown = client.get("/generate?method=telepathy")
    assert (unknown.status_code, "No method &#39;telepathy&#39;" in unknown.text) == (400, True)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": ""}, "Write a prompt"),
        ({"prompt": "x" * (MAX_PROMPT + 1)}, "at most 20,000"),
        ({"method": "telepathy"}, "No method 'telepathy'"),
        ({"model": "/etc/passwd"}, "No model '/etc/passwd'"),
        ({"copyspec.gamma": "three"}, "gamma is int, not 'three'"),
        ({"copyspec.gamma": "[3]"}, "gamma is a number"),
        ({"copyspec.gamma": "9" * 190}, "gamma is no number between"),
        ({"max_new_tokens": "257"}, "between 1 and 256"),
        ({"max_new_tokens": "many"}, "no whole number"),
        ({"seed": "9" * 40}, "no whole number"),
        ({"seed": "-1"}, "seed is -1"),
    ],
)
def test_what_cannot_be_is_said_and_the_form_stays_filled_in(
    client: TestClient, fields: dict[str, str], says: str
) -> None:
    refused = ask(client, **fields)
    assert refused.status_code == 400
    page = html.unescape(refused.text)
    assert says.lower() in page.lower()
    for name, value in fields.items():
        assert name in ("prompt", "method", "model") or f'value="{value}"' in page
    assert client.get(f"{API}/me/generations").json()["generations"] == []


def test_other_methods_fields_say_nothing_and_words_stay_words(client: TestClient) -> None:
    done = ask(
        client,
        method="diverse-beam-search",
        **{"copyspec.gamma": "rubbish", "diverse-beam-search.diversity": "3"},
    )
    options = client.get(API + done.headers["location"]).json()["options"]
    assert options == {"beams": 4, "groups": 0, "penalty": 0.5, "diversity": "3"}


def test_line_breaks_of_a_browser_are_one_sign(client: TestClient) -> None:
    done = ask(client, prompt="\r\none\r\ntwo")
    kept = client.get(API + done.headers["location"]).json()
    assert kept["prompt"] == "\none\ntwo"
    page = client.get(done.headers["location"]).text
    # A browser drops the first line break of a <pre>.
    assert ">\n\none\ntwo</pre>" in page


def test_a_prompt_of_any_letters_fits(client: TestClient) -> None:
    for prompt in ("\N{GRINNING FACE}" * MAX_PROMPT, '"' * MAX_PROMPT):
        assert ask(client, prompt=prompt).status_code == 303
        made = client.post(f"{API}/generations", json={"prompt": prompt})
        assert made.status_code == 202, made.text


# --- its page


def test_a_page_waits_and_then_shows_the_texts_side_by_side(
    client: TestClient, app: FastAPI
) -> None:
    where = ask(client, prompt="<script>alert(1)</script><|im_end|>").headers["location"]
    page = client.get(where).text
    assert 'hx-trigger="every 2s"' in page
    assert '<meta http-equiv="refresh"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;|im_end|&gt;" in page
    end(app, state="working")
    assert "Decoding by copyspec" in client.get(where).text
    end(app, state="done", report=REPORT)
    page = client.get(where).text
    assert "every 2s" not in page
    assert "http-equiv" not in page
    assert "Another text, 2.50 times as fast as greedy decoding." in page
    assert "Six tokens were copied." in page
    assert "the dog &lt;b&gt;sat&lt;/b&gt; on <mark>a</mark> mat" in page
    assert "the dog &lt;b&gt;sat&lt;/b&gt; on <mark>the</mark> mat" in page
    assert re.search(r"<td[^>]*>10</td><td[^>]*>0.5</td><td[^>]*>20</td><td[^>]*>4</td>", page)
    assert "tokens per pass" in page
    assert (
        "paperround generate --model smollm2-135m --prompt prompt.txt --method copyspec "
        "--set gamma=3 --set max_copy=10 --max-new-tokens 64 --seed 0 --compare"
    ) in page
    fragment = client.get(where, headers={"HX-Request": "true", "HX-Request-Type": "partial"}).text
    assert fragment.lstrip().startswith('<div id="outcome"')


def test_a_page_says_what_it_waits_for_and_why_it_failed(client: TestClient, app: FastAPI) -> None:
    ask(client)
    where = ask(client).headers["location"]
    assert "1 text before it" in client.get(where).text
    TableQueue(app.state.site.engine).start("machine:1:2:worker", "little", Scale.QUICK, [0])
    assert "A run is being measured" in client.get(where).text
    end(app, state="failed", reason="took longer than <120> s")
    page = client.get(where).text
    assert "It failed: took longer than &lt;120&gt; s." in page
    assert "every 2s" not in page


def test_texts_that_are_empty_or_many_are_shown(client: TestClient, app: FastAPI) -> None:
    where = ask(client, method="sampling").headers["location"]
    texts = [{"text": text, "tokens": 1, "log_prob": -0.5} for text in ("", "b", "c")]
    end(app, state="done", report={**REPORT, "method": "sampling", "texts": texts})
    page = client.get(where).text
    assert "sampling, 3 (log p -0.50)" in page
    assert "The text is empty" in page
    end(app, state="done", report={**REPORT, "texts": [], "greedy": None, "figures": {}})
    assert client.get(where).status_code == 200


def test_whoever_has_the_address_may_look_and_only_some_may_delete(
    sign_in: SignIn, submit: Submit, visit: Visit
) -> None:
    ada, eve, mo = sign_in("ada"), sign_in("eve"), sign_in("mo", Role.MODERATOR)
    done = submit(ada, "/generate", "/generate", prompt="On and", method="greedy")
    where = done.headers["location"]
    assert where in ada.get("/generate").text
    assert "Delete it" in ada.get(where).text
    for other in (eve, visit()):
        page = other.get(where)
        assert page.status_code == 200
        assert "Delete it" not in page.text
        assert where not in other.get("/generate").text
        assert other.post(f"{where}/delete", headers=ORIGIN).status_code == 403
    eves_key = re.search(r'name="form_key" value="(\w+)"', eve.get("/generate").text)
    assert eves_key is not None
    refused = eve.post(f"{where}/delete", data={"form_key": eves_key[1]}, headers=ORIGIN)
    assert "only its owner" in refused.text.lower()
    assert submit(mo, where, f"{where}/delete").headers["location"] == "/generate"
    assert ada.get(where).status_code == 404


def test_a_visitor_sees_the_form_s_place_and_how_to_do_it_at_home(
    sign_in: SignIn, visit: Visit
) -> None:
    sign_in("ada")
    client = visit()
    page = client.get("/generate?method=copyspec")
    assert page.status_code == 200
    assert "Sign in to generate text here." in page.text
    assert "--method copyspec" in page.text
    assert 'action="/generate"' not in page.text
    assert ask(client).status_code == 403


def test_too_much_at_once_is_said_with_a_status_of_its_own(client: TestClient) -> None:
    for _ in range(MAX_OPEN_EACH):
        assert ask(client).status_code == 303
    refused = ask(client)
    assert (refused.status_code, "You wait for 5 texts already" in refused.text) == (429, True)
    again = client.post(f"{API}/generations", json={"prompt": "x"})
    assert (again.status_code, again.headers["retry-after"]) == (429, "60")


# --- the API


def test_a_program_asks_looks_lists_and_deletes(
    api: Callable[..., TestClient], visit: Visit
) -> None:
    ada, eve = api("ada"), api("eve")
    asked = {"prompt": "On and", "method": "copyspec", "options": {"gamma": 4}, "chat": True}
    made = ada.post(f"{API}/generations", json=asked)
    assert made.status_code == 202, made.text
    where, shown = made.headers["location"], made.json()
    assert (shown["state"], shown["report"], shown["chat"]) == ("waiting", None, True)
    assert shown["options"] == {"gamma": 4, "max_copy": 10}
    assert shown["command"].endswith("--seed 0 --chat --compare")
    assert visit().get(where).json() == shown
    second = ada.post(f"{API}/generations", json={"prompt": "x"}).json()
    page = ada.get(f"{API}/me/generations?limit=1").json()
    assert [each["id"] for each in page["generations"]] == [second["id"]]
    assert [each["id"] for each in ada.get(page["next"]).json()["generations"]] == [shown["id"]]
    assert eve.get(f"{API}/me/generations").json()["generations"] == []
    assert eve.delete(where).status_code == 403
    assert ada.delete(where).status_code == 204
    assert ada.get(where).status_code == 404
    assert ada.delete(where).status_code == 404


def test_a_token_needs_the_scope_of_runs(api: Callable[..., TestClient], visit: Visit) -> None:
    narrow = api("nan", Role.READER, "read")
    refused = narrow.post(f"{API}/generations", json={"prompt": "x"})
    assert (refused.status_code, "'run'" in refused.json()["detail"]) == (403, True)
    assert visit().post(f"{API}/generations", json={"prompt": "x"}).status_code == 403
    assert visit().get(f"{API}/me/generations").status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": ""},
        {"prompt": "x" * (MAX_PROMPT + 1)},
        {"prompt": 3},
        {"prompt": None},
        {"method": "telepathy"},
        {"model": "telepathy"},
        {"options": {"gamma": "3"}},
        {"options": {"gamma": [3]}},
        {"options": {"gamma": 10**30}},
        {"options": {"wings": 1}},
        {"options": [3]},
        {"max_new_tokens": 0},
        {"max_new_tokens": 257},
        {"seed": -1},
        {"wings": 2},
    ],
    ids=str,
)
def test_a_program_s_mistake_is_a_problem(client: TestClient, change: dict[str, object]) -> None:
    asked = {"prompt": "x", "method": "copyspec", **change}
    refused = client.post(f"{API}/generations", json=asked)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [b'{"prompt": "\\ud800"}', b'{"prompt": "x", "options": {"a": NaN}}']
)
def test_letters_and_numbers_that_are_none_are_a_problem(client: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused = client.post(f"{API}/generations", content=body, headers=headers)
    assert refused.status_code == 400


def test_the_methods_are_listed(client: TestClient) -> None:
    listed = client.get(f"{API}/generations/methods").json()
    assert listed["models"] == ["smollm2-135m"]
    by_name = {each["name"]: each for each in listed["methods"]}
    assert by_name["copyspec"]["options"] == {"gamma": 3, "max_copy": 10}
    assert (by_name["copyspec"]["slug"], by_name["greedy"]["slug"]) == ("copyspec", None)


# --- all of it


@pytest.fixture
def tiny_app(
    settings: Settings, catalogue: None, little_room: Path, tmp_path: Path
) -> Iterator[FastAPI]:
    """The site with a small model that never ends a text by itself."""
    folder = tmp_path / "tiny"
    random_model("llama", eos_token_id=None).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    # A busy machine may take minutes to import what decodes.
    generation = TextGeneration(models={"tiny": str(folder)}, time_limit_s=280)
    offering = settings.model_copy(update={"generation": generation})
    yield create_app(offering, local_only=True, worker=False)


def test_a_text_is_asked_for_decoded_and_shown(tiny_app: FastAPI) -> None:
    site = tiny_app.state.site
    with TestClient(
        tiny_app, base_url="http://localhost:8000", client=("127.0.0.1", 1), follow_redirects=False
    ) as client:
        where = ask(
            client,
            prompt="the cat sat on the mat, and the cat sat on the",
            method="diverse-beam-search",
            max_new_tokens="6",
            **{"diverse-beam-search.beams": "2"},
        ).headers["location"]
        assert work_on_next(site.engine, site.settings)
        shown = client.get(API + where).json()
        assert (shown["state"], shown["reason"]) == ("done", "")
        assert len(shown["report"]["texts"]) == 2
        assert shown["report"]["greedy"]["tokens"] == 6
        page = html.unescape(client.get(where).text)
        assert shown["report"]["changed"] in page
        assert "and <code>tiny</code> as your folder of that model" in page
        with read(site.engine) as connection:
            (kept,) = generations_of(connection, None, None, 9)
    assert kept.report is not None
    assert json.loads(kept.report.model_dump_json()) == shown["report"]


WORK = """
from paperround.db import open_database
from paperround.readers.generating import work_on_next
from paperround.settings import get_settings

work_on_next(open_database(), get_settings())
"""


def test_a_worker_that_is_killed_leaves_its_text_to_the_next(tiny_app: FastAPI) -> None:
    site = tiny_app.state.site
    generation_id = queue_generation(
        site.engine,
        None,
        Asked("the cat sat on the mat", max_new_tokens=4),
        utc_now(),
        asker=THIS_MACHINE,
        declared={"greedy": Declaration("greedy", "plain")},
        settings=site.settings,
    )
    models = json.dumps(dict(site.settings.generation.models))
    environment = {**os.environ, "PAPERROUND_GENERATION__MODELS": models}

    def state() -> str:
        with read(site.engine) as connection:
            return find_generation(connection, generation_id).state

    with subprocess.Popen([sys.executable, "-c", WORK], env=environment) as worker:
        while state() == "waiting" and worker.poll() is None:
            time.sleep(0.05)
        worker.kill()
    assert state() == "working"
    assert work_on_next(site.engine, site.settings)
    assert state() == "done"
    with read(site.engine) as connection:
        assert connection.scalar(select(GenerationTable.attempts)) == 2
