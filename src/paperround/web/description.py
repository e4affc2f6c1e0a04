"""The API's description of itself, where it answers otherwise than FastAPI assumes."""

from typing import Any

from fastapi import FastAPI

PROBLEM = "application/problem+json"
# FastAPI's own shapes for what `failures.py` answers as a problem.
_UNUSED = ("HTTPValidationError", "ValidationError")


def describe_problems(app: FastAPI) -> None:
    """Makes the description say that errors are problems by RFC 9457, with status 400 for 422."""
    usual = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = usual()
            for methods in schema["paths"].values():
                for operation in methods.values():
                    _correct(operation["responses"])
            for name in _UNUSED:
                schema["components"]["schemas"].pop(name, None)
        return app.openapi_schema or {}

    app.openapi = described  # type: ignore[method-assign]


def _correct(responses: dict[str, Any]) -> None:
    responses.pop("422", None)
    for status, response in responses.items():
        content = response.get("content", {})
        if status.isdecimal() and int(status) >= 400 and "application/json" in content:
            content[PROBLEM] = content.pop("application/json")
