"""docs/reference/api.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from nexus_http.reference import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "api.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "write it again with `make docs`"


def test_every_endpoint_and_error_code_is_on_it() -> None:
    text = page()
    for endpoint in (
        "POST /api/v1/workspaces`",
        "PATCH /api/v1/workspaces/{workspace_id}/status`",
        "GET /api/v1/health`",
    ):
        assert f"### `{endpoint}" in text
    assert "`no_ports_available`" in text
