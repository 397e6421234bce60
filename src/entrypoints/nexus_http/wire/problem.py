"""The one shape of every error."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct


class Problem(Struct, frozen=True):
    """What went wrong, what to do next, and the request it happened to."""

    error: Annotated[str, Meta(description="What it is; does not change from one release to another.")]
    message: Annotated[str, Meta(description="What is wrong and what to do next, for people.")]
    details: Annotated[dict[str, Any], Meta(description="What there is to add, by name; often empty.")]
    request_id: Annotated[str, Meta(description="Equals the `X-Request-ID` header.")]
