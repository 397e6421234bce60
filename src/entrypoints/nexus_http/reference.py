"""The page docs/reference/api.md, made from the OpenAPI document.

``python -m nexus_http.reference > docs/reference/api.md`` writes it; a test compares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Final, cast

from litestar.routes import BaseRoute

from nexus_core import Nexus
from nexus_http.app import create_app
from nexus_http.meters import HttpMeters
from nexus_http.openapi import document

_HEAD: Final = """\
# The HTTP API

This page is made from the OpenAPI document (`python -m nexus_http.reference`), which a running server gives out at
`/schema/openapi.json` and shows at `/schema`; neither needs a token.

"""
_TAIL: Final = """
```
curl -s http://127.0.0.1:3001/api/v1/workspaces \\
    -H "Authorization: Bearer $(cat /var/lib/nexus/admin-token)" \\
    -H 'Content-Type: application/json' \\
    -d '{"github_username": "alice", "workspace_name": "my-project"}'
```
"""


def page() -> str:
    """The page as Markdown, ending with a newline."""
    # Only the routes are looked at: no request is made, so there is nobody to answer one.
    app = create_app(cast("Nexus", None), public_host="", version="", meters=cast("HttpMeters", None))
    described = document(cast("list[BaseRoute]", app.routes), "")
    about: str = described["info"]["description"]
    return _HEAD + about + "\n" + _TAIL + "\n" + "\n".join(_endpoints(described)) + "\n"


def _endpoints(described: dict[str, Any]) -> Iterator[str]:
    for tag in described["tags"]:
        yield f"## {tag['name']}\n\n{tag['description']}\n"
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                if isinstance(operation, dict) and tag["name"] in operation.get("tags", ()):
                    yield from _endpoint(f"{method.upper()} {path}", operation)


def _endpoint(title: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### `{title}`\n\n{operation['description']}\n"
    body = operation.get("requestBody")
    if body is not None:
        yield from _asked(body["content"])
    yield "| answer | |\n|---|---|"
    for status, answer in operation["responses"].items():
        yield f"| {status} | {_outcome(answer)} |"
    yield ""
    yield from _answered(operation["responses"])


def _asked(content: dict[str, Any]) -> Iterator[str]:
    if "application/json" in content:
        yield f"Asks:\n\n{_json(content['application/json']['example'])}\n"
    else:
        yield f"Asks: the bytes, as `{next(iter(content))}`.\n"


def _outcome(answer: dict[str, Any]) -> str:
    codes = _codes(answer)
    return ", ".join(f"`{code}`" for code in codes) if codes else str(answer["description"])


def _codes(answer: dict[str, Any]) -> list[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    narrowed = schema.get("allOf", [{}])[-1]
    codes: list[str] = narrowed.get("properties", {}).get("error", {}).get("enum", [])
    return codes


def _answered(responses: dict[str, Any]) -> Iterator[str]:
    """What the first answer that is no error looks like."""
    success: dict[str, Any] = next((answer for status, answer in responses.items() if status.startswith("2")), {})
    for media_type, shown in success.get("content", {}).items():
        if media_type == "application/json":
            yield f"{_json(shown['example'])}\n"
        elif "example" in shown:
            yield f"```\n{shown['example'].rstrip()}\n```\n"


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


if __name__ == "__main__":
    sys.stdout.write(page())
