"""Whatever a program sends to the API, it gets what the description says, and never a crash."""

from collections.abc import Callable, Iterator

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.readers.accounts import add_reader
from paperround.readers.queries import reader_by_id
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role
from paperround.settings import Settings
from paperround.web.app import create_app

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
)
_EXAMPLES = 4


@pytest.fixture
def app(settings: Settings, catalogue: None, little_room: object) -> Iterator[FastAPI]:
    """The site on the network; a limit of search would get in the way."""
    free = settings.model_copy(update={"searches_per_minute": 0})
    made = create_app(free, local_only=False, worker=False)
    yield made
    made.state.site.engine.dispose()


@pytest.fixture
def token(app: FastAPI) -> Callable[[Role], str]:
    """A token of a new reader of that role, with every scope."""

    def make(role: Role) -> str:
        engine = app.state.site.engine
        with write(engine) as connection:
            reader_id = add_reader(connection, f"a-{role}", utc_now(), role=role)
        with read(engine) as connection:
            reader = reader_by_id(connection, reader_id)
        assert reader is not None
        return add_token(engine, reader, "any request", list(Scope), 9, utc_now())

    return make


@pytest.mark.parametrize("role", list(Role))
def test_any_request_gets_what_the_description_says(
    app: FastAPI, token: Callable[[Role], str], role: Role
) -> None:
    # The first account ends the time in which whoever sits at the machine is the admin.
    token(Role.READER if role is not Role.READER else Role.MODERATOR)
    headers = {} if role is Role.VISITOR else {"Authorization": f"Bearer {token(role)}"}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        modes = [GenerationMode.POSITIVE]
        if operation.path_parameters or operation.query or operation.body:
            modes.append(GenerationMode.NEGATIVE)

        @given(case=st.one_of(*(operation.as_strategy(mode) for mode in modes)))
        @settings(
            max_examples=_EXAMPLES,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        def ask(case: Case) -> None:
            nonlocal asked
            asked += 1
            response = case.call(headers=headers)
            case.validate_response(response, checks=CHECKS, headers=headers)
            if response.status_code >= 400:
                assert response.headers["content-type"] == ["application/problem+json"]
                assert response.json()["status"] == response.status_code

        ask()
    assert asked > 50
