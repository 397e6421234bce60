"""An example of each body, shown in the OpenAPI document and held against the Structs by a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nexus_http.wire import requests, server, users, workspace, workspaces

_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQ5yRkVBWC5kCVa9Cm0qGZpvcB5QwIYWWwFGi4DrLCh"
_FINGERPRINT: Final = "SHA256:JxuN8YFRwd3hlYDHKZtw9MTLSgWWIW1I5XYqr7tQ0Tw"
_ID: Final = "ws-8f3k2m9q4t1z"
_POLLING: Final = f"/api/v1/workspaces/{_ID}/status"
_AT: Final = "2026-01-17T10:30:00Z"
_LATER: Final = "2026-01-17T10:30:03Z"

_TOKEN: Final = {
    "token_id": "tok-7c2v9x4b1n6m",
    "label": "laptop",
    "scopes": ["read", "write"],
    "created_at": _AT,
    "expires_at": None,
    "last_used_at": None,
}
_HEALTH: Final = {
    "status": "ok",
    "timestamp": _LATER,
    "uptime_seconds": 5400,
    "nodes": {"staging-1": {"status": "healthy", "provider": "lxc", "last_heartbeat": _LATER, "workspaces": 5}},
    "version": "1.0.0",
}
_STEPS: Final = ("create_instance", "publish_ssh", "start_instance", "wait_for_ssh")
_NOTHING_TO_DO: Final = ("clone_repository", "run_setup", "start_services", "forward_ports")

EXAMPLES: Final[Mapping[Any, Any]] = {
    requests.RegisterUser: {
        "github_username": "alice",
        "github_id": 123456789,
        "email": "alice@example.com",
        "ssh_pubkey": f"{_KEY} alice@laptop",
        "ssh_pubkey_fingerprint": None,
    },
    requests.ReplaceKey: {"ssh_pubkey": f"{_KEY} alice@laptop"},
    requests.IssueToken: {"label": "laptop", "expires_at": None, "scopes": ["read", "write"]},
    requests.CreateWorkspace: {
        "github_username": "alice",
        "workspace_name": "my-project-feature",
        "provider": "lxc",
        "image": "ubuntu:22.04",
        "resources": {"cpu": 2, "memory": "4GiB", "disk": "20GiB"},
    },
    requests.Forced: {"force": False},
    requests.SetStatus: {"status": "stopped", "force": False},
    users.User: {
        "user_id": "user-4t9x0c2m7k1b",
        "github_username": "alice",
        "github_id": 123456789,
        "email": "alice@example.com",
        "ssh_pubkey_fingerprint": _FINGERPRINT,
        "registered_at": _AT,
        "updated_at": _AT,
        "workspaces": [_ID],
    },
    # The secret is too short to be one, so that nobody takes it for one that leaked.
    users.IssuedToken: {"token": "nxs_EXAMPLE", **_TOKEN},
    users.Tokens: {"tokens": [_TOKEN]},
    workspaces.WorkspaceAccepted: {
        "workspace_id": _ID,
        "name": "my-project-feature",
        "owner": "alice",
        "status": "creating",
        "ssh_port": 2222,
        "polling_url": _POLLING,
        "estimated_time_seconds": 3,
        "created_at": _AT,
    },
    workspaces.WorkspaceStarting: {"workspace_id": _ID, "status": "starting", "polling_url": _POLLING},
    workspaces.WorkspaceStopped: {"workspace_id": _ID, "status": "stopped", "stopped_at": _LATER},
    workspaces.Workspaces: {
        "workspaces": [
            {
                "workspace_id": _ID,
                "name": "my-project-feature",
                "owner": "alice",
                "status": "running",
                "provider": "lxc",
                "ssh_port": 2222,
                "created_at": _AT,
                "services_count": 0,
            }
        ],
        "total": 1,
        "limit": 50,
        "offset": 0,
    },
    workspace.Services: {"workspace_id": _ID, "services": []},
    workspace.Workspace: {
        "workspace_id": _ID,
        "owner": "alice",
        "name": "my-project-feature",
        "status": "running",
        "provider": "lxc",
        "image": "ubuntu:22.04",
        "resources": {"cpu": 2, "memory": "4GiB", "disk": "20GiB"},
        "ssh": {
            "host": "staging.example.com",
            "port": 2222,
            "user": "dev",
            "host_key": _KEY,
            "host_key_fingerprint": _FINGERPRINT,
            "command": "ssh -p 2222 dev@staging.example.com",
        },
        "services": {},
        "repository": None,
        "node": "staging-1",
        "container_id": "nexus-8f3k2m9q4t1z",
        "progress": [
            *(
                {"step": step, "status": "done", "started_at": _AT, "duration_ms": 612, "error": None}
                for step in _STEPS
            ),
            *(
                {"step": step, "status": "skipped", "started_at": None, "duration_ms": None, "error": None}
                for step in _NOTHING_TO_DO
            ),
        ],
        "queue_position": None,
        "notes": [],
        "error": None,
        "created_at": _AT,
        "updated_at": _LATER,
        "started_at": _LATER,
        "stopped_at": None,
        "last_activity_at": _LATER,
    },
    server.Health: _HEALTH,
    server.ServerStatus: {
        **_HEALTH,
        "database": {"schema_version": 1, "size_bytes": 188416},
        "ports": {
            "ssh": {"first": 2222, "last": 2299, "used": 5, "free": 73},
            "services": {"first": 23000, "last": 23999, "used": 0, "free": 1000},
        },
        "workspaces": {"running": 5},
        "operations": {"queued": 0, "running": 0},
        "providers": {"lxc": {"available": True, "version": "5.0.2", "error": None}},
    },
}
