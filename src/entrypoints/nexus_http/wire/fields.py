"""Types and values that several shapes share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta

from nexus_core.domain.user import GITHUB_USERNAME

BASE = "/api/v1"

GithubUsername = Annotated[
    str,
    Meta(
        pattern=f"^{GITHUB_USERNAME}$",
        max_length=39,
        description="A GitHub user name: 1-39 letters, digits and single inner hyphens.",
        examples=["alice"],
    ),
]
PublicKeyText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=16_384,
        description="The one line of an SSH public key: Ed25519, ECDSA, RSA of 2,048 bits or more, or a `sk-` key.",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQ5yRkVBWC5kCVa9Cm0qGZpvcB5QwIYWWwFGi4DrLCh alice@laptop"],
    ),
]
Fingerprint = Annotated[
    str,
    Meta(
        max_length=200,
        description="The key's SHA-256 fingerprint as `ssh-keygen -lf` prints it. One that is sent must match.",
        examples=["SHA256:JxuN8YFRwd3hlYDHKZtw9MTLSgWWIW1I5XYqr7tQ0Tw"],
    ),
]
GithubId = Annotated[int, Meta(ge=1, le=2**63 - 1, description="The account's number at GitHub.", examples=[123456789])]
Scope = Literal["read", "write"]
Force = Annotated[bool, Meta(description="Skip the grace period that the container has to stop politely.")]
HostPort = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0)]


def moment(at: datetime) -> datetime:
    """The same moment as the API shows it: in UTC and whole seconds."""
    return at.astimezone(UTC).replace(microsecond=0)


def moment_or_null(at: datetime | None) -> datetime | None:
    """The same for a moment that may not have come yet."""
    return None if at is None else moment(at)


def polling_url(workspace_id: str) -> str:
    """Where to ask how the workspace fares."""
    return f"{BASE}/workspaces/{workspace_id}/status"
