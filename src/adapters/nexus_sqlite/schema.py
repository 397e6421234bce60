"""The tables as the schema steps make them; see `nexus_sqlite.migrations` for the rules."""

from __future__ import annotations

from typing import Final

# STRICT: a wrong type is an error, not a surprise later. Times are microseconds since 1970, UTC.
# Children go with their workspace when it is purged; each has an index for that.
TABLES_0001: Final = (
    """
CREATE TABLE server ( -- This server: one row.
    id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 12), -- the mark on everything this server makes
    created_at INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL DEFAULT 0, -- counts the checks that the file can be written
    singleton INTEGER NOT NULL DEFAULT 1 UNIQUE CHECK (singleton = 1) -- makes a second row impossible
) STRICT
""",
    """
CREATE TABLE users ( -- Registered people.
    id TEXT PRIMARY KEY NOT NULL,
    github_username TEXT NOT NULL UNIQUE COLLATE NOCASE, -- the same in any case
    github_id INTEGER NOT NULL UNIQUE,
    email TEXT,
    public_key TEXT NOT NULL, -- algorithm and base64, no comment
    public_key_fingerprint TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT
""",
    """
CREATE TABLE workspaces ( -- Containers that belong to users; deleted ones stay until they are purged.
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN (
        'pending', 'creating', 'running', 'stopping', 'stopped', 'starting', 'error', 'deleting', 'deleted')),
    provider TEXT NOT NULL, -- the technology it runs on
    image TEXT NOT NULL,
    repo_url TEXT,
    repo_owner TEXT,
    repo_name TEXT,
    repo_branch TEXT,
    repo_commit TEXT,
    repo_is_fork INTEGER CHECK (repo_is_fork IN (0, 1)),
    cpu INTEGER NOT NULL, -- whole cores
    memory TEXT NOT NULL, -- with its unit, as asked for
    disk TEXT NOT NULL, -- with its unit, as asked for
    ssh_port INTEGER,
    container_id TEXT NOT NULL,
    node TEXT, -- the machine it lives on
    host_key TEXT, -- the public half
    host_key_fingerprint TEXT,
    authorized_fingerprint TEXT, -- of the key that the container admits at present
    provisioned TEXT NOT NULL CHECK (json_valid(provisioned)), -- the once-only steps that are done
    notes TEXT NOT NULL CHECK (json_valid(notes)), -- what its owner should know
    error_code TEXT,
    error_message TEXT,
    error_step TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    stopped_at INTEGER,
    last_activity_at INTEGER,
    deleted_at INTEGER,
    CHECK ((host_key IS NULL) = (host_key_fingerprint IS NULL)),
    CHECK ((error_code IS NULL) = (error_message IS NULL)),
    CHECK ((status = 'deleted') = (deleted_at IS NOT NULL))
) STRICT
""",
    "CREATE UNIQUE INDEX workspaces_name ON workspaces (user_id, name) WHERE deleted_at IS NULL",
    # NULL in deleted_at counts as an equal, so one index serves the list of what is there, in order,
    # and the purge of what is not.
    "CREATE INDEX workspaces_by_age ON workspaces (deleted_at, created_at)",
    "CREATE INDEX workspaces_of_user_by_age ON workspaces (user_id, deleted_at, created_at)",
    "CREATE INDEX workspaces_by_status ON workspaces (status, created_at)",
    "CREATE INDEX workspaces_of_user_by_status ON workspaces (user_id, status, created_at)",
    "CREATE INDEX workspaces_by_image ON workspaces (provider, image, created_at)",
    """
CREATE TABLE services ( -- Programs that run in a workspace.
    id TEXT PRIMARY KEY NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    command TEXT NOT NULL,
    port INTEGER CHECK (port BETWEEN 1 AND 65535), -- inside the workspace
    forwarded_port INTEGER CHECK (forwarded_port BETWEEN 1 AND 65535), -- on the host
    depends_on TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(depends_on)), -- names of other services
    health_check TEXT CHECK (health_check IS NULL OR json_valid(health_check)),
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'starting', 'running', 'unhealthy', 'stopped', 'error')),
    health TEXT NOT NULL DEFAULT 'unknown' CHECK (health IN ('healthy', 'unhealthy', 'unknown', 'timeout')),
    last_health_check INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (workspace_id, name)
) STRICT
""",
    """
CREATE TABLE port_allocations ( -- Host ports and who holds them, or held them last.
    port INTEGER PRIMARY KEY NOT NULL CHECK (port BETWEEN 1 AND 65535),
    kind TEXT NOT NULL CHECK (kind IN ('ssh', 'service')),
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    allocated_at INTEGER NOT NULL,
    released_at INTEGER -- empty while the port is held
) STRICT
""",
    "CREATE INDEX port_allocations_held ON port_allocations (kind, port) WHERE released_at IS NULL",
    "CREATE INDEX port_allocations_of_workspace ON port_allocations (workspace_id)",
    """
CREATE TABLE operations ( -- Work on workspaces, under way and done.
    id TEXT PRIMARY KEY NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('create', 'start', 'stop', 'delete', 'rekey')),
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    force INTEGER NOT NULL CHECK (force IN (0, 1)),
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER
) STRICT
""",
    """
CREATE UNIQUE INDEX operations_unfinished_of_workspace ON operations (workspace_id)
WHERE status IN ('queued', 'running')
""",
    "CREATE INDEX operations_unfinished ON operations (status, created_at) WHERE status IN ('queued', 'running')",
    "CREATE INDEX operations_of_workspace ON operations (workspace_id)",
    # Step names are not listed in a CHECK: they come with versions and say only what was done.
    """
CREATE TABLE operation_steps ( -- The steps of each operation, and what became of them.
    operation_id TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    position INTEGER NOT NULL, -- from 0
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'done', 'failed', 'skipped', 'cancelled')),
    started_at INTEGER,
    duration_ms INTEGER,
    error TEXT,
    PRIMARY KEY (operation_id, position)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE events ( -- What happened to workspaces, in order.
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, -- never given out twice
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data))
) STRICT
""",
    "CREATE INDEX events_of_workspace ON events (workspace_id)",
    "CREATE INDEX events_by_age ON events (at)",
    """
CREATE TABLE api_tokens ( -- What is remembered of API tokens; never the secret.
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE, -- empty for the administrator's
    label TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE, -- SHA-256 of the secret, in hex
    scopes TEXT NOT NULL CHECK (json_valid(scopes)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
) STRICT
""",
    "CREATE INDEX api_tokens_of_user ON api_tokens (user_id, created_at)",
    "CREATE INDEX api_tokens_by_expiry ON api_tokens (expires_at) WHERE expires_at IS NOT NULL",
    """
CREATE TABLE idempotency_keys ( -- Requests that may be sent again without being done again.
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX idempotency_keys_of_workspace ON idempotency_keys (workspace_id)",
    "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at)",
)

# A column that is added has its remark in /* */: SQLite puts it into the table's text, on one line with what
# follows. Services are made anew, since a column cannot cease to be NOT NULL; the version that had the table
# as it was before put no rows into it.
CHANGES_0002: Final = (
    "ALTER TABLE server ADD COLUMN key_check BLOB /* sealed; tells whether a key is this database's */",
    """
ALTER TABLE workspaces ADD COLUMN repo_bundle INTEGER CHECK (repo_bundle IN (0, 1)) /* its content is uploaded */
""",
    "DROP TABLE services",
    """
CREATE TABLE services ( -- Programs that run in a workspace.
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    position INTEGER NOT NULL, -- from 0, in the order given
    name TEXT NOT NULL,
    command TEXT, -- empty where its owner runs it by other means
    port INTEGER CHECK (port BETWEEN 1 AND 65535), -- inside the workspace
    expose INTEGER NOT NULL CHECK (expose IN (0, 1)), -- a host port is to lead to it
    forwarded_port INTEGER CHECK (forwarded_port BETWEEN 1 AND 65535), -- on the host
    depends_on TEXT NOT NULL CHECK (json_valid(depends_on)), -- names of other services
    env BLOB, -- sealed
    health_check TEXT NOT NULL CHECK (json_valid(health_check)),
    status TEXT NOT NULL CHECK (status IN ('pending', 'starting', 'running', 'unhealthy', 'stopped', 'error')),
    health TEXT NOT NULL CHECK (health IN ('healthy', 'unhealthy', 'unknown', 'timeout')),
    error TEXT,
    last_health_check INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, position),
    UNIQUE (workspace_id, name)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE recipes ( -- What is done inside a workspace besides its services.
    workspace_id TEXT PRIMARY KEY NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    setup TEXT NOT NULL CHECK (json_valid(setup)), -- shell texts that run once
    post_start TEXT NOT NULL CHECK (json_valid(post_start)), -- shell texts
    pre_stop TEXT NOT NULL CHECK (json_valid(pre_stop)), -- shell texts
    asked TEXT NOT NULL CHECK (json_valid(asked)), -- what the request itself named, which no file changes
    sealed BLOB -- sealed; environment and credentials
) STRICT
""",
)

# Work waits in the order in which it was added: one that is ordered by its time would be overtaken by what
# is added after a clock was set back.
CHANGES_0003: Final = (
    "ALTER TABLE server ADD COLUMN restored_at INTEGER /* when this database was put in place from a backup */",
    "DROP INDEX operations_unfinished",
    "CREATE INDEX operations_unfinished ON operations (status) WHERE status IN ('queued', 'running')",
)
