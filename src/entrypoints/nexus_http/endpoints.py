"""What an endpoint promises, written beside its handler; the OpenAPI document is made of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from litestar.handlers import BaseRouteHandler

from nexus_http.wire.requests import NoQuery

_KEY: Final = "nexus_endpoint"


@dataclass(frozen=True, slots=True)
class Answer:
    """One way of answering: what it means, its body, and its headers beyond the usual."""

    meaning: str
    body: Any = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method at one path.

    ``errors`` are the codes that are this endpoint's own; those that follow from its needing a
    token, taking a body or using the database are added where they are wanted.
    """

    tag: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    errors: tuple[str, ...] = ()
    body: Any = None
    body_required: bool = True
    query: type[Any] = NoQuery
    idempotency_key: bool = False
    last_event_id: bool = False
    public: bool = False

    @property
    def opt(self) -> dict[str, Any]:
        """How it is hung on its handler."""
        return {_KEY: self}


def endpoint_of(handler: BaseRouteHandler) -> Endpoint | None:
    """What the handler promises; None for pages, which are no part of the API."""
    found: Endpoint | None = handler.opt.get(_KEY)
    return found
