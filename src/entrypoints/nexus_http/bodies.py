"""Reading a request's body: bounded in size and time, JSON and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request

from nexus_core.errors import InvalidRequest
from nexus_http.errors import PayloadTooLarge, UnsupportedMediaType
from nexus_http.validation import decoded

T = TypeVar("T", bound=msgspec.Struct)

MAX_BODY: Final = 1024 * 1024
PATIENCE: Final = 30.0
"""Seconds that a client has for sending its body; a megabyte takes a slow line a few."""


async def read_body(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body as ``kind``; raises `InvalidRequest`, `PayloadTooLarge` or `UnsupportedMediaType`."""
    raw = await _raw(request)
    if not raw:
        raise InvalidRequest("The body is missing", details={"$": "a JSON object is required"})
    return decoded(raw, kind)


async def read_optional_body(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The same where there may be no body: then every field has its default."""
    raw = await _raw(request)
    return decoded(raw, kind) if raw else kind()


async def _raw(request: Request[Any, Any, Any]) -> bytes:
    headers = {name: value for name, value in request.scope["headers"] if name in _OF_BODIES}
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > MAX_BODY:
        raise _too_large()
    try:
        async with asyncio.timeout(PATIENCE):
            raw = await _received(request)
    except TimeoutError as exc:
        raise InvalidRequest(f"The body was not complete after {PATIENCE:.0f} seconds") from exc
    if raw:
        _check_type(headers)
    return raw


async def _received(request: Request[Any, Any, Any]) -> bytes:
    parts = bytearray()
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise InvalidRequest("The connection broke off before the body was complete")
        parts += message["body"]
        if len(parts) > MAX_BODY:
            raise _too_large()
        if not message["more_body"]:
            return bytes(parts)


_OF_BODIES: Final = frozenset({b"content-length", b"content-type", b"content-encoding"})


def _check_type(headers: dict[bytes, bytes]) -> None:
    media_type, *parameters = headers.get(b"content-type", b"").lower().split(b";")
    if media_type.strip() != b"application/json":
        raise UnsupportedMediaType("The body is not said to be JSON")
    for parameter in parameters:
        name, _, value = parameter.strip().partition(b"=")
        if name == b"charset" and value.strip(b'"') not in (b"utf-8", b"us-ascii"):
            raise UnsupportedMediaType("The body is said to be in another encoding than UTF-8")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("The body is compressed", fix="Send it as it is, without `Content-Encoding`.")


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is longer than {MAX_BODY:,} bytes", details={"limit": MAX_BODY})
