"""What clients may send: one Struct for each body and each query string, exact to the last field.

A field that is not here is refused. What the core judges itself (keys, sizes, e-mail addresses) has
no pattern here, so that one place decides and there is one wording.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from nexus_core.domain.lifecycle import Status
from nexus_core.domain.resources import MAX_CPU
from nexus_core.domain.service import MOST_SERVICES
from nexus_core.domain.workspace import IMAGE, WORKSPACE_NAME
from nexus_http.wire.contents import AskedService, Repo, Script
from nexus_http.wire.fields import Fingerprint, Force, GithubId, GithubUsername, HostPort, PublicKeyText, Scope

MOST_SCRIPTS = 100


class RegisterUser(Struct, forbid_unknown_fields=True, frozen=True):
    """Who is to be registered, with the key it opens its workspaces with."""

    github_username: GithubUsername
    github_id: GithubId
    ssh_pubkey: PublicKeyText
    email: Annotated[str, Meta(max_length=254, examples=["alice@example.com"])] | None = None
    ssh_pubkey_fingerprint: Fingerprint | None = None


class ReplaceKey(Struct, forbid_unknown_fields=True, frozen=True):
    """The key that takes the present one's place."""

    ssh_pubkey: PublicKeyText
    ssh_pubkey_fingerprint: Fingerprint | None = None


class IssueToken(Struct, forbid_unknown_fields=True, frozen=True):
    """What the new token is for and what it may do."""

    label: Annotated[
        str,
        Meta(
            min_length=1, max_length=100, description="What it is for: 1-100 printable characters.", examples=["laptop"]
        ),
    ]
    expires_at: (
        Annotated[datetime, Meta(tz=True, description="When it ceases to be valid, with a time zone; null for never.")]
        | None
    ) = None
    scopes: Annotated[
        tuple[Scope, ...],
        Meta(min_length=1, max_length=2, extra_json_schema={"uniqueItems": True}, description="What it may do."),
    ] = ("read", "write")


class Resources(Struct, forbid_unknown_fields=True, frozen=True):
    """Limits of the container; what is left out is as the server's settings say."""

    cpu: Annotated[int, Meta(ge=1, le=MAX_CPU, description="Cores.", examples=[2])] | None = None
    memory: (
        Annotated[
            str, Meta(max_length=20, description="A whole number and a unit, KiB-TiB or KB-TB.", examples=["4GiB"])
        ]
        | None
    ) = None
    disk: (
        Annotated[
            str, Meta(max_length=20, description="A whole number and a unit, KiB-TiB or KB-TB.", examples=["20GiB"])
        ]
        | None
    ) = None


class CreateWorkspace(Struct, forbid_unknown_fields=True, frozen=True):
    """The workspace that is wanted; null or left out takes the server's setting."""

    workspace_name: Annotated[
        str,
        Meta(
            pattern=f"^{WORKSPACE_NAME}$",
            max_length=63,
            description="1-63 of a-z, 0-9 and '-', starting with a letter and not ending with a hyphen.",
            examples=["my-project-feature"],
        ),
    ]
    github_username: GithubUsername | None = None
    provider: Annotated[str, Meta(max_length=40, examples=["lxc"])] | None = None
    image: (
        Annotated[
            str,
            Meta(
                pattern=f"^{IMAGE}$",
                description="A local alias or fingerprint, or a remote image such as ubuntu:22.04.",
                examples=["ubuntu:22.04"],
            ),
        ]
        | None
    ) = None
    resources: Resources | None = None
    repo: Repo | None = None
    setup: (
        Annotated[tuple[Script, ...], Meta(max_length=MOST_SCRIPTS, description="Run once, one after the other.")]
        | None
    ) = None
    services: Annotated[tuple[AskedService, ...], Meta(max_length=MOST_SERVICES)] | None = None


class Nothing(Struct, forbid_unknown_fields=True, frozen=True):
    """An empty object."""


class Forced(Struct, forbid_unknown_fields=True, frozen=True):
    """How to go about it."""

    force: Force = False


class SetStatus(Struct, forbid_unknown_fields=True, frozen=True):
    """Where the workspace is to be brought."""

    status: Annotated[Literal["running", "stopped"], Meta(description="`running` starts it, `stopped` stops it.")]
    force: Force = False


class ForwardPort(Struct, forbid_unknown_fields=True, frozen=True):
    """Which host port is to lead to the service; null or left out takes the lowest that is free."""

    mapped_port: HostPort | None = None


class NoQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """No parameter is taken."""


class ForceQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """``force`` as a parameter; it counts if it is true here or in the body."""

    force: Annotated[bool, Meta(description="Skip the grace period; for a deletion, also delete what runs.")] = False


class PageQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which workspaces to list. An empty ``owner`` or ``status`` restricts nothing, like one left out."""

    owner: Annotated[GithubUsername, Meta(description="Only this user's.")] | None = None
    status: (
        Annotated[Status, Meta(description="Only those in this status; without it, all but the deleted.")] | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=200, description="How many to list at most.")] = 50
    offset: Annotated[int, Meta(ge=0, le=2**31 - 1, description="How many of the newest to pass over.")] = 0


class LogQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """How much of a log to show."""

    lines: Annotated[int, Meta(ge=0, le=10_000, description="How many of the last lines.")] = 200
    follow: Annotated[bool, Meta(description="Go on with what is written from now on, until you hang up.")] = False


class EventsQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Where to go on, for clients that cannot send the header on their first connection."""

    last_event_id: (
        Annotated[int, Meta(ge=0, le=2**63 - 1, description="As the header `Last-Event-ID`, which counts before it.")]
        | None
    ) = None
