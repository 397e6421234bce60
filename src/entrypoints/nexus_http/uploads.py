"""Taking in repositories that people send from their own disks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from litestar import Request, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from nexus_core import Caller
from nexus_core.errors import InvalidRequest
from nexus_http.endpoints import Answer, Endpoint
from nexus_http.errors import PayloadTooLarge, UnsupportedMediaType
from nexus_http.site import Site
from nexus_http.wire.fields import polling_url
from nexus_http.wire.services import BundleTaken

Asking = Request[Caller, Any, Any]

MAX_BUNDLE: Final = 512 * 1024 * 1024
PATIENCE: Final = 60.0
"""Seconds that a client may send nothing for."""

UPLOAD = Endpoint(
    tag="Workspaces",
    summary="Upload a workspace's repository",
    description="A git bundle (`git bundle create`) of up to 512 MiB, for a workspace that was created with "
    '`repo: {"bundle": true}` and waits for it. Until it was cloned, another one takes its place.',
    body=bytes,
    answers={202: Answer("It is kept, and the creation goes on with it.", BundleTaken)},
    errors=("workspace_not_found", "invalid_status_transition"),
)


@put("/workspaces/{workspace_id:str}/repository-bundle", opt=UPLOAD.opt, status_code=202)
async def upload_bundle(request: Asking, site: NamedDependency[Site], workspace_id: FromPath[str]) -> BundleTaken:
    """Upload a workspace's repository."""
    # Refused before half a gigabyte was sent for nothing.
    site.nexus.upload_bundle.check(request.user, workspace_id)
    _check_head(dict(request.scope["headers"]))
    workspace = await site.nexus.upload_bundle(request.user, workspace_id, _chunks(request))
    return BundleTaken(workspace.id, workspace.status, polling_url(workspace.id))


def _check_head(headers: dict[bytes, bytes]) -> None:
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/octet-stream":
        raise UnsupportedMediaType("The body is not said to be a bundle", fix="Send it as `application/octet-stream`.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("The bundle is compressed", fix="Send it as it is, without `Content-Encoding`.")
    length = headers.get(b"content-length", b"1")
    if not length.isdigit() or int(length[:20]) > MAX_BUNDLE:
        raise _too_large()
    if int(length[:20]) == 0:
        raise _missing()


async def _chunks(request: Asking) -> AsyncIterator[bytes]:
    received = 0
    while True:
        try:
            async with asyncio.timeout(PATIENCE):
                message = await request.receive()
        except TimeoutError as exc:
            raise InvalidRequest(f"Nothing of the bundle came for {PATIENCE:.0f} seconds") from exc
        if message["type"] != "http.request":
            raise InvalidRequest("The connection broke off before the bundle was complete")
        received += len(message["body"])
        if received > MAX_BUNDLE:
            raise _too_large()
        yield message["body"]
        if not message["more_body"]:
            break
    if received == 0:
        raise _missing()


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The bundle is longer than {MAX_BUNDLE:,} bytes",
        fix="Bundle less of the history, or let the workspace clone from an address.",
        details={"limit": MAX_BUNDLE},
    )


def _missing() -> InvalidRequest:
    return InvalidRequest("The body is missing", details={"$": "a git bundle is required"})


ROUTES: Final[list[Any]] = [upload_bundle]
