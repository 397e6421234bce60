"""The parameters and headers of the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from nexus_core.domain.service import SERVICE_NAME
from nexus_core.domain.user import GITHUB_USERNAME

_PATH: Final[dict[str, dict[str, Any]]] = {
    "username": {
        "description": "The user's name at GitHub, in any case.",
        "schema": {"type": "string", "pattern": f"^{GITHUB_USERNAME}$", "maxLength": 39},
        "example": "alice",
    },
    "workspace_id": {
        "description": "The workspace's id.",
        "schema": {"type": "string", "pattern": "^ws-[a-z0-9]{12}$"},
        "example": "ws-8f3k2m9q4t1z",
    },
    "service_name": {
        "description": "The service's name.",
        "schema": {"type": "string", "pattern": f"^{SERVICE_NAME}$"},
        "example": "api",
    },
    "token_id": {
        "description": "The token's id, which is not its secret.",
        "schema": {"type": "string", "pattern": "^tok-[a-z0-9]{12}$"},
        "example": "tok-7c2v9x4b1n6m",
    },
}

REQUEST_ID: Final[dict[str, Any]] = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "1-64 of `[A-Za-z0-9._-]` are kept as the request's id; anything else is passed over.",
    "schema": {"type": "string"},
    "example": "req-5d0c4be2a1f7",
}
IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The client's own name for this request, kept 24 hours for each user: sent again with the same "
    "body it is answered with the first one's workspace, with another body it is refused.",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
    "example": "0b9c6a1e-2f5d-4a7e-9c43-51f7c2b0a6de",
}
LAST_EVENT_ID: Final[dict[str, Any]] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The `id` of the last event that arrived; the answer goes on with the next one.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,20}$"},
    "example": "1234",
}
HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "description": "The request's id, as in the server's log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Location": {
        "description": "Where the new workspace is.",
        "required": True,
        "schema": {"type": "string", "pattern": "^/api/v1/workspaces/ws-[a-z0-9]{12}$"},
    },
    "Retry-After": {
        "description": "Seconds after which trying again makes sense.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to say who is asking.",
        "required": True,
        "schema": {"const": "Bearer"},
    },
    "Allow": {
        "description": "The methods that there are at this path.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Z]+(, [A-Z]+)*$"},
    },
}


def path_parameters(path: str) -> list[dict[str, Any]]:
    """The parameters that the path's template names."""
    return [{"name": name, "in": "path", "required": True, **_PATH[name]} for name in re.findall(r"{(\w+)}", path)]


def query_parameters(kind: type[Any]) -> list[dict[str, Any]]:
    """The parameters that the query's Struct has."""
    (_,), components = msgspec.json.schema_components([kind], ref_template="#/{name}")
    properties: dict[str, dict[str, Any]] = components[kind.__name__]["properties"]
    return [_query_parameter(name, _inlined(schema, components)) for name, schema in properties.items()]


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    choices = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    description = schema.pop("description", None)
    if choices:
        # Null is written as an empty value in a query, and left out is the same.
        description = next((one.pop("description") for one in choices if "description" in one), description)
        schema = {"anyOf": [*choices, {"const": ""}]}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _inlined(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The schema with what it refers to put in its place."""
    if "$ref" in schema:
        referred = components[schema["$ref"].removeprefix("#/")]
        return {**referred, **{name: value for name, value in schema.items() if name != "$ref"}}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_inlined(dict(one), components) for one in schema["anyOf"]]}
    return dict(schema)
