"""An example of each body, shown in the OpenAPI document and held against the Structs by a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nexus_http.wire import events, requests, server, services, users, workspace, workspaces

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
_STEPS: Final = (
    "create_instance",
    "publish_ssh",
    "start_instance",
    "wait_for_ssh",
    "clone_repository",
    "run_setup",
    "start_services",
    "forward_ports",
)
_DB: Final = {
    "name": "db",
    "status": "running",
    "port": 5432,
    "mapped_port": None,
    "health": "healthy",
    "url": None,
    "depends_on": [],
    "last_check": _LATER,
    "error": None,
}
_API: Final = {
    **_DB,
    "name": "api",
    "port": 4000,
    "mapped_port": 23000,
    "url": "http://localhost:23000",
    "depends_on": ["db"],
}
_EVENT: Final = {"workspace_id": _ID, "name": "my-project-feature", "owner": "alice", "at": _AT}
METRICS: Final = """\
# HELP nexus_workspaces Workspaces that are not deleted, by status.
# TYPE nexus_workspaces gauge
nexus_workspaces{status="running"} 5.0
"""

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
        "repo": {"owner": "my-org", "name": "my-project", "branch": "main"},
        "setup": ["npm ci"],
        "services": [
            {
                "name": "api",
                "command": "npm run server",
                "port": 4000,
                "depends_on": ["db"],
                "env": {"NODE_ENV": "development"},
                "health_check": {"type": "tcp", "interval": 5, "timeout": 5, "retries": 12, "start_period": 0},
                "expose": True,
            },
            {
                "name": "db",
                "command": "postgres -D /data",
                "port": 5432,
                "health_check": {"type": "exec", "command": "pg_isready", "timeout": 10},
                "expose": False,
            },
        ],
    },
    requests.ForwardPort: {"mapped_port": 23005},
    requests.Nothing: {},
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
                "services_count": 2,
            }
        ],
        "total": 1,
        "limit": 50,
        "offset": 0,
    },
    services.Services: {"workspace_id": _ID, "services": [_DB, _API]},
    services.PortForward: {
        "workspace_id": _ID,
        "service": "api",
        "port": 4000,
        "mapped_port": 23000,
        "url": "http://localhost:23000",
        "created_at": _AT,
    },
    services.ServiceRestarting: {"workspace_id": _ID, "service": "api", "status": "starting"},
    services.BundleTaken: {"workspace_id": _ID, "status": "creating", "polling_url": _POLLING},
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
        "services": {"db": _DB, "api": _API},
        "repository": {
            "owner": "my-org",
            "name": "my-project",
            "branch": "main",
            "commit": "9f2c1e7a4b8d3f60517e2c9ab4d6083f5e1b7a24",
            "url": "https://github.com/my-org/my-project.git",
            "is_fork": False,
        },
        "node": "staging-1",
        "container_id": "nexus-8f3k2m9q4t1z",
        "progress": [
            *(
                {"step": step, "status": "done", "started_at": _AT, "duration_ms": 612, "error": None}
                for step in _STEPS
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
    server.ServerHealth: _HEALTH,
    server.ServerStatus: {
        **_HEALTH,
        "database": {"schema_version": 2, "size_bytes": 188416},
        "ports": {
            "ssh": {"first": 2222, "last": 2299, "used": 5, "free": 73},
            "services": {"first": 23000, "last": 23999, "used": 1, "free": 999},
        },
        "workspaces": {"running": 5},
        "operations": {"queued": 0, "running": 0},
        "providers": {"lxc": {"available": True, "version": "5.0.2", "error": None}},
    },
    events.StatusEvent: {
        "id": 1234,
        "kind": "status",
        **_EVENT,
        "status": "creating",
        "previous": "pending",
        "error": None,
    },
    events.StepEvent: {
        "id": 1236,
        "kind": "step",
        **_EVENT,
        "operation": "create",
        "step": "create_instance",
        "status": "done",
        "duration_ms": 612,
        "error": None,
    },
    events.ServiceEvent: {
        "id": 1249,
        "kind": "service",
        **_EVENT,
        "service": "api",
        "status": "running",
        "health": "healthy",
        "error": None,
    },
    events.GapMarker: {
        "kind": "gap",
        "last_event_id": 17,
        "oldest_id": 812,
        "newest_id": 1249,
        "message": "Not all events after 17 are kept any more. Read the workspaces afresh.",
    },
    events.DroppedMarker: {
        "kind": "dropped",
        "last_event_id": 1249,
        "reason": "Nothing was taken from this connection for 30 seconds.",
    },
}

STREAM: Final = "retry: 1000\n: heartbeat\n" + "".join(
    f"id: {example['id']}\nevent: {example['kind']}\ndata: {json.dumps(example, separators=(',', ':'))}\n\n"
    for example in (EXAMPLES[events.StatusEvent], EXAMPLES[events.StepEvent])
)
"""The beginning of an answer that goes on."""
