"""The OpenAPI document against the contract, written out by hand here, and the page that shows it."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest

from nexus_core.errors import NexusError
from nexus_http.endpoints import endpoint_of
from nexus_http.examples import EXAMPLES
from nexus_http.problems import CODES, STATUSES
from served import Site

DOCUMENT = "http://nexus.example/schema/openapi.json"
PAGE = "http://nexus.example/schema"

# What every endpoint can answer, those that need a token, and those that take a body.
ALL = {400: {"invalid_request"}, 405: {"method_not_allowed"}, 500: {"internal_error"}}
TOKEN = {401: {"unauthorized"}, 403: {"forbidden"}, 503: {"database_busy"}}
BODY = {413: {"payload_too_large"}, 415: {"unsupported_media_type"}}
KEY = {400: {"invalid_ssh_key", "fingerprint_mismatch"}, 409: {"ssh_key_in_use"}}
USER = {404: {"user_not_found"}}
WORKSPACE = {404: {"workspace_not_found"}}
AWAY = {503: {"provider_unavailable"}}
SERVICE = {404: {"workspace_not_found", "service_not_found"}}
NOT_RUNNING = {409: {"workspace_not_running"}}
FORWARD = "/workspaces/{workspace_id}/services/{service_name}/port-forward"
STOP = {409: {"invalid_status_transition", "workspace_already_stopped"}, **WORKSPACE}

CONTRACT: dict[tuple[str, str], tuple[set[int], list[dict[int, set[str]]]]] = {
    ("post", "/users/register-github"): ({201}, [TOKEN, BODY, KEY, {409: {"user_already_registered"}}]),
    ("get", "/users/{username}"): ({200}, [TOKEN, USER]),
    ("put", "/users/{username}/ssh-key"): ({200}, [TOKEN, BODY, KEY, USER, AWAY]),
    ("post", "/users/{username}/tokens"): ({201}, [TOKEN, BODY, USER]),
    ("get", "/users/{username}/tokens"): ({200}, [TOKEN, USER]),
    ("delete", "/users/{username}/tokens/{token_id}"): ({204}, [TOKEN, {404: {"user_not_found", "token_not_found"}}]),
    ("post", "/workspaces"): (
        {202},
        [
            TOKEN,
            BODY,
            USER,
            {
                400: {"unknown_provider", "unknown_image", "invalid_service_graph"},
                409: {"workspace_already_exists", "idempotency_conflict"},
                503: {"no_ports_available"},
            },
        ],
    ),
    ("get", "/workspaces"): ({200}, [TOKEN]),
    ("get", "/workspaces/{workspace_id}"): ({200}, [TOKEN, WORKSPACE]),
    ("get", "/workspaces/{workspace_id}/status"): ({200}, [TOKEN, WORKSPACE]),
    ("get", "/workspaces/{workspace_id}/services"): ({200}, [TOKEN, WORKSPACE]),
    ("get", "/workspaces/{workspace_id}/logs"): ({200}, [TOKEN, WORKSPACE, NOT_RUNNING, AWAY]),
    ("get", "/events"): ({200}, [TOKEN]),
    ("get", "/workspaces/{workspace_id}/events"): ({200}, [TOKEN, WORKSPACE]),
    ("put", "/workspaces/{workspace_id}/repository-bundle"): (
        {202},
        [TOKEN, BODY, WORKSPACE, {409: {"invalid_status_transition"}}],
    ),
    ("post", FORWARD): (
        {200, 201},
        [TOKEN, BODY, SERVICE, NOT_RUNNING, AWAY, {409: {"port_in_use"}, 503: {"no_ports_available"}}],
    ),
    ("delete", FORWARD): ({204}, [TOKEN, SERVICE, {404: {"port_forward_not_found"}}]),
    ("get", "/workspaces/{workspace_id}/services/{service_name}/logs"): (
        {200},
        [TOKEN, SERVICE, NOT_RUNNING, AWAY],
    ),
    ("post", "/workspaces/{workspace_id}/services/{service_name}/restart"): (
        {202},
        [TOKEN, BODY, SERVICE, NOT_RUNNING, AWAY],
    ),
    ("patch", "/workspaces/{workspace_id}/status"): ({200, 202}, [TOKEN, BODY, STOP, AWAY]),
    ("post", "/workspaces/{workspace_id}/start"): (
        {202},
        [TOKEN, BODY, WORKSPACE, {409: {"invalid_status_transition"}}],
    ),
    ("post", "/workspaces/{workspace_id}/stop"): ({200}, [TOKEN, BODY, STOP, AWAY]),
    ("delete", "/workspaces/{workspace_id}"): (
        {204},
        [TOKEN, WORKSPACE, AWAY, {409: {"workspace_running", "invalid_status_transition"}}],
    ),
    ("get", "/health"): ({200, 503}, []),
    ("get", "/status"): ({200}, [TOKEN]),
    ("get", "/metrics"): ({200}, [TOKEN]),
}


@pytest.fixture
async def document(site: Site) -> dict[str, Any]:
    """The document as anybody gets it."""
    answer = await (await site.client()).get(DOCUMENT)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path.removeprefix("/api/v1")): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def error_codes(response: dict[str, Any]) -> set[str]:
    schema = response["content"]["application/json"]["schema"]
    return set(schema["allOf"][1]["properties"]["error"]["enum"])


async def test_the_document_has_the_contract_s_endpoints_and_no_others(document: dict[str, Any]) -> None:
    assert operations(document).keys() == CONTRACT.keys()
    assert all(path.startswith("/api/v1/") for path in document["paths"])


@pytest.mark.parametrize(("method", "path"), CONTRACT, ids=str)
async def test_every_endpoint_has_the_contract_s_statuses_and_codes(
    document: dict[str, Any], method: str, path: str
) -> None:
    successes, parts = CONTRACT[method, path]
    expected: dict[int, set[str]] = {}
    for part in [ALL, *parts]:
        for status, codes in part.items():
            expected.setdefault(status, set()).update(codes)
    responses = operations(document)[method, path]["responses"]
    documented = {int(status): error_codes(one) for status, one in responses.items() if int(status) not in successes}
    assert documented == {status: codes for status, codes in expected.items() if status not in successes}
    assert {int(status) for status in responses} == successes | expected.keys()
    assert all(codes <= CODES[status] for status, codes in documented.items())


async def test_every_operation_is_described_whole(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids: set[str] = set()
    for (method, path), operation in operations(document).items():
        assert operation["summary"], (method, path)
        assert operation["description"].endswith(".")
        assert set(operation["tags"]) <= tags
        ids.add(operation["operationId"])
        public = path == "/health"
        assert operation["security"] == ([] if public else [{"token": []}])
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert all(one["description"] and one["schema"] for one in operation["parameters"])
        for status, response in operation["responses"].items():
            assert response["description"]
            headers = {"X-Request-ID"}
            if int(status) >= 400:
                headers |= {401: {"WWW-Authenticate"}, 405: {"Allow"}, 503: {"Retry-After"}}.get(int(status), set())
            if (method, path) == ("post", "/workspaces") and status == "202":
                headers.add("Location")
            assert set(response["headers"]) == headers, (method, path, status)
            assert ("content" in response) == (status != "204")
    assert len(ids) == len(CONTRACT)


async def test_parameters_have_their_bounds(document: dict[str, Any]) -> None:
    listing = operations(document)["get", "/workspaces"]["parameters"]
    parameters = {one["name"]: one for one in listing}
    assert set(parameters) == {"owner", "status", "limit", "offset", "X-Request-ID"}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert parameters["offset"]["schema"] == {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0}
    statuses = parameters["status"]["schema"]["anyOf"]
    assert "deleted" in statuses[0]["enum"]
    assert statuses[1] == {"const": ""}
    [workspace_id, _] = operations(document)["get", "/workspaces/{workspace_id}"]["parameters"]
    assert workspace_id["schema"]["pattern"] == "^ws-[a-z0-9]{12}$"
    creating = {one["name"] for one in operations(document)["post", "/workspaces"]["parameters"]}
    assert "Idempotency-Key" in creating


async def test_bodies_allow_no_other_fields_and_answers_hold_all_of_theirs(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    sent = {
        one["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for (_, path), one in operations(document).items()
        if "requestBody" in one and not path.endswith("/repository-bundle")
    }
    assert {ref.rsplit("/", 1)[1] for ref in sent} == {
        "RegisterUser",
        "ReplaceKey",
        "IssueToken",
        "CreateWorkspace",
        "ForwardPort",
        "Nothing",
        "Forced",
        "SetStatus",
    }
    for name, schema in schemas.items():
        if schema.get("additionalProperties") is False:
            continue
        if schema.get("type") == "object":
            assert set(schema["required"]) == set(schema["properties"]), name
    for ref in sent:
        assert schemas[ref.rsplit("/", 1)[1]]["additionalProperties"] is False
    required = {
        name: one["requestBody"]["required"] for (_, name), one in operations(document).items() if "requestBody" in one
    }
    assert [name for name, one in required.items() if not one] == [
        "/workspaces/{workspace_id}/services/{service_name}/port-forward",
        "/workspaces/{workspace_id}/services/{service_name}/restart",
        "/workspaces/{workspace_id}/start",
        "/workspaces/{workspace_id}/stop",
    ]


async def test_no_two_bodies_share_a_name(document: dict[str, Any]) -> None:
    # Where two do, msgspec writes both with their modules' names.
    assert [name for name in document["components"]["schemas"] if not name.isalnum()] == []


async def test_bodies_that_are_not_json_are_described(document: dict[str, Any]) -> None:
    described = operations(document)
    for path in ("/workspaces/{workspace_id}/logs", "/workspaces/{workspace_id}/services/{service_name}/logs"):
        [(media_type, shown)] = described["get", path]["responses"]["200"]["content"].items()
        assert (media_type, shown["schema"]) == ("text/plain", {"type": "string"})
        parameters = {one["name"]: one["schema"] for one in described["get", path]["parameters"]}
        assert parameters["lines"] == {"type": "integer", "minimum": 0, "maximum": 10_000, "default": 200}
        assert parameters["follow"] == {"type": "boolean", "default": False}
        if "{service_name}" in path:
            assert parameters["service_name"]["pattern"] == "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
    metrics = described["get", "/metrics"]["responses"]["200"]["content"]
    assert list(metrics) == ["text/plain", "application/openmetrics-text"]
    upload = described["put", "/workspaces/{workspace_id}/repository-bundle"]["requestBody"]
    assert upload["required"]
    assert list(upload["content"]) == ["application/octet-stream"]


async def test_streams_are_described_with_the_events_in_them(document: dict[str, Any]) -> None:
    described = operations(document)
    for path in ("/events", "/workspaces/{workspace_id}/events"):
        [(media_type, shown)] = described["get", path]["responses"]["200"]["content"].items()
        assert media_type == "text/event-stream"
        refs = [one["$ref"].rsplit("/", 1)[1] for one in shown["schema"]["contentSchema"]["oneOf"]]
        assert refs == ["StatusEvent", "StepEvent", "ServiceEvent", "GapMarker", "DroppedMarker"]
        parameters = {one["name"]: one["in"] for one in described["get", path]["parameters"]}
        assert (parameters["Last-Event-ID"], parameters["last_event_id"]) == ("header", "query")


async def test_secrets_are_described_as_written_only(document: dict[str, Any]) -> None:
    repo = document["components"]["schemas"]["Repo"]["properties"]
    assert [name for name, one in repo.items() if any("writeOnly" in kind for kind in one["anyOf"])] == [
        "token",
        "deploy_key",
    ]
    assert not {"token", "deploy_key"} & document["components"]["schemas"]["Repository"]["properties"].keys()


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for ref in set(re.findall(r'"\$ref": ?"#/([^"]+)"', json.dumps(document))):
        found: Any = document
        for part in ref.split("/"):
            found = found[part]


async def test_examples_are_what_they_are_examples_of(document: dict[str, Any]) -> None:
    for kind, example in EXAMPLES.items():
        assert msgspec.to_builtins(msgspec.convert(example, kind)).keys() >= example.keys()
        schema = {"$ref": f"#/components/schemas/{kind.__name__}", "components": document["components"]}
        jsonschema_rs.validate(schema, example)


async def test_every_route_of_the_api_is_in_the_document(site: Site, document: dict[str, Any]) -> None:
    routed = {
        (method.lower(), route.path_format.removeprefix("/api/v1"))
        for route in site.app.routes
        for method in route.methods - {"OPTIONS"}
        if route.path_format.startswith("/api")
    }
    assert routed == operations(document).keys()
    assert all(
        endpoint_of(handler) for route in site.app.routes for handler in _handlers(route) if "/api" in route.path
    )


def _handlers(route: Any) -> list[Any]:
    return [handler for handler in route.route_handlers if "OPTIONS" not in handler.http_methods]


def test_every_branch_of_the_core_s_errors_has_a_status() -> None:
    for branch in NexusError.__subclasses__():
        if branch.__module__.startswith(("nexus_core", "nexus_http")):
            assert branch in STATUSES


async def test_the_page_needs_no_other_server(site: Site) -> None:
    nobody = await site.client()
    page = await nobody.get(PAGE)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    parts = re.findall(r'(?:src|href)="(/[^"]*)"', page.text)
    assert len(parts) == 4
    for part in parts:
        answer = await nobody.get(f"http://nexus.example{part}")
        assert answer.status_code == 200, part
        assert len(answer.content) > 100
        assert not re.search(rb"(?:@import|url\()\s*[\"']?(?:https?:)?//", answer.content)
    start = await nobody.get(f"{PAGE}/start.js")
    assert start.headers["Content-Type"].startswith("text/javascript")
    assert "validatorUrl: null" in start.text


@pytest.mark.parametrize("name", ["LICENSE", "nothing.js", "..%2fapp.py", "README.md"])
async def test_only_the_page_s_parts_are_served(site: Site, name: str) -> None:
    answer = await (await site.client()).get(f"{PAGE}/{name}")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_the_page_answers_errors_in_the_envelope(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(PAGE)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
