"""Secrets in the SQLite store: what is in the file is of no use without the key."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contracts.samples import deleted, recipe, service, workspace
from contracts.store_contract import fill
from nexus_core.domain.recipe import Recipe
from nexus_core.domain.repository import Credentials
from nexus_core.errors import StoreFailed
from nexus_sqlite import SqliteStore, key_check, migrations, schema_page
from nexus_sqlite.sealing import Sealing

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
CANARIES = tuple(f"canary-{place}-7f3a9c51d2" for place in ("service", "env", "token", "deploy-key", "later"))
WITH_CANARIES = recipe(env={"API_KEY": CANARIES[1]}, credentials=Credentials(token=CANARIES[2], deploy_key=CANARIES[3]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nexus.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(path, key=KEY)) as store:
        fill(store, workspace(1), workspace(2))
        yield store


def spellings(secret: str) -> Iterator[bytes]:
    """The secret, and how it would look in hex and at any offset of base64."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for offset in range(3):
        # The outermost characters depend on what stands beside the secret.
        yield base64.b64encode(b"x" * offset + raw)[4:-4]


def shown(secrets: tuple[str, ...], folder: Path) -> list[tuple[str, str]]:
    """Which secrets can be read in which files."""
    return [
        (file.name, secret)
        for file in sorted(folder.iterdir())
        for secret in secrets
        if any(spelling in file.read_bytes() for spelling in spellings(secret))
    ]


def files(path: Path) -> dict[str, bytes]:
    """The file and its log, if there is something in one."""
    both = (path, path.with_name(path.name + "-wal"))
    return {file.name: file.read_bytes() for file in both if file.exists() and file.stat().st_size}


def keep_secrets(store: SqliteStore) -> None:
    """Write every canary, one of them over another."""
    with store.transaction() as records:
        records.services.replace(workspace().id, [service(spec={"env": {"PASSWORD": CANARIES[0]}})])
        records.recipes.set(workspace().id, WITH_CANARIES)
    with store.transaction() as records:
        records.services.replace(workspace().id, [service(spec={"env": {"PASSWORD": CANARIES[4]}})])


# What can be read


def test_no_secret_is_in_the_files(store: SqliteStore, path: Path) -> None:
    keep_secrets(store)
    assert {file.name for file in path.parent.iterdir()} == {"nexus.db", "nexus.db-wal", "nexus.db-shm"}
    assert shown(CANARIES, path.parent) == []
    assert shown((workspace().id,), path.parent) == [("nexus.db-wal", workspace().id)], "the search finds what is there"
    with store.transaction() as records:
        assert records.recipes.get(workspace().id) == WITH_CANARIES
        records.recipes.set(workspace().id, Recipe())
        records.workspaces.update(deleted())
    store.close()
    assert {file.name for file in path.parent.iterdir()} == {"nexus.db"}
    assert shown(CANARIES, path.parent) == []


@pytest.mark.parametrize("before", [b"", b"1", b"12", b"123"])
@pytest.mark.parametrize("spell", [bytes, bytes.hex, base64.b64encode, base64.b16encode])
def test_the_search_knows_a_secret_in_any_spelling(
    before: bytes, spell: Callable[[bytes], bytes | str], tmp_path: Path
) -> None:
    spelt = spell(before + b"canary-1234567890" + b"after")
    tmp_path.joinpath("file").write_bytes(spelt if isinstance(spelt, bytes) else spelt.encode())
    assert shown(("canary-1234567890", "canary-0987654321"), tmp_path) == [("file", "canary-1234567890")]


def test_no_key_is_in_the_files(store: SqliteStore, path: Path) -> None:
    keep_secrets(store)
    assert [name for name, content in files(path).items() if KEY in content or KEY.hex().encode() in content] == []


def test_what_holds_no_secret_is_not_sealed(store: SqliteStore) -> None:
    with store.transaction() as records:
        records.services.replace(workspace().id, [service(spec={"env": {}})])
        records.recipes.set(workspace().id, recipe(env={}, credentials=Credentials()))
    connection = store._writer.connection
    assert connection.execute("SELECT env FROM services").fetchall() == [(None,)]
    assert connection.execute("SELECT sealed FROM recipes").fetchall() == [(None,)]


def test_an_environment_is_opened_once(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The health of services is looked after every second."""
    opened: list[str] = []
    unseal = Sealing.open

    def count(self: Sealing, sealed: bytes, *place: str) -> str:
        opened.append(place[0])
        return unseal(self, sealed, *place)

    monkeypatch.setattr(Sealing, "open", count)
    with store.transaction() as records:
        records.services.replace(workspace().id, [service()])
    for _ in range(3):
        with store.snapshot() as records:
            assert records.services.of_workspace(workspace().id) == [service()]
            assert records.services.get(workspace().id, "web") == service()
    assert opened == ["services.env"]


def test_two_stores_do_not_open_each_others_secrets(store: SqliteStore) -> None:
    with closing(SqliteStore.in_memory()) as other:
        fill(other, workspace())
        for one in (store, other):
            with one.transaction() as records:
                records.services.replace(workspace().id, [service()])
                records.services.of_workspace(workspace().id)
        env = store._writer.connection.execute("SELECT env FROM services").fetchone()
        other._writer.connection.execute("UPDATE services SET env = ?", env)
        with pytest.raises(StoreFailed, match="does not belong"), other.snapshot() as records:
            records.services.of_workspace(workspace().id)


# Sealed values that are not where or what they were


def test_a_value_cannot_be_moved_to_another_row(store: SqliteStore) -> None:
    with store.transaction() as records:
        for number in (1, 2):
            records.services.replace(workspace(number).id, [service("web", number), service("db", number)])
            records.recipes.set(workspace(number).id, recipe())
    connection = store._writer.connection
    move = (
        "UPDATE services SET env = (SELECT env FROM services WHERE workspace_id = ? AND name = 'db') WHERE name = 'web'"
    )
    connection.execute(move, (workspace(1).id,))
    connection.execute("UPDATE recipes SET sealed = (SELECT sealed FROM recipes LIMIT 1)")
    with store.snapshot() as records:
        for number in (1, 2):
            with pytest.raises(StoreFailed, match="does not belong"):
                records.services.get(workspace(number).id, "web")
            assert records.services.get(workspace(number).id, "db") == service("db", number)
        assert records.recipes.get(workspace(1).id) == recipe()
        with pytest.raises(StoreFailed, match="does not belong") as refused:
            records.recipes.get(workspace(2).id)
    assert refused.value.details == {"secret": "recipes.sealed"}


@pytest.mark.parametrize(
    "damage",
    [slice(0), slice(3), slice(12), slice(-1), slice(1, None), slice(None, None, -1)],
    ids=["empty", "short", "nonce alone", "cut", "moved", "reversed"],
)
def test_a_damaged_value_is_told(store: SqliteStore, damage: slice) -> None:
    with store.transaction() as records:
        records.recipes.set(workspace().id, WITH_CANARIES)
    connection = store._writer.connection
    (sealed,) = connection.execute("SELECT sealed FROM recipes").fetchone()
    connection.execute("UPDATE recipes SET sealed = ?", (sealed[damage],))
    with pytest.raises(StoreFailed, match="does not belong") as told, store.snapshot() as records:
        records.recipes.get(workspace().id)
    assert "canary" not in f"{told.value} {told.value!r} {told.value.__cause__!r}"


def test_a_secret_is_sealed_differently_every_time() -> None:
    sealing = Sealing(KEY)
    sealed = {sealing.seal("secret", "place") for _ in range(100)}
    assert len(sealed) == 100
    assert {sealing.open(each, "place") for each in sealed} == {"secret"}


def test_places_are_not_confused() -> None:
    sealing = Sealing(KEY)
    sealed = sealing.seal("secret", "services.env", "a", "b")
    for place in (("services.env", "ab"), ("services.env", "b", "a"), ("services.env", 'a", "b'), ("recipes.sealed",)):
        with pytest.raises(StoreFailed):
            sealing.open(sealed, *place)


def test_a_sealing_does_not_show_its_key() -> None:
    sealing = Sealing(KEY)
    assert not any(str(form) in f"{sealing!r} {sealing}" for form in (KEY, KEY.hex(), KEY.decode("latin-1")))


# The key of a database


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(16)], ids=len)
def test_a_key_of_another_length_is_refused_before_there_is_a_file(path: Path, key: bytes) -> None:
    with pytest.raises(StoreFailed, match=f"It has {len(key)} bytes"):
        SqliteStore.open(path, key=key)
    assert not path.exists()


@pytest.mark.parametrize("with_log", [False, True], ids=["closed", "killed"])
def test_another_key_is_refused_and_the_file_left_alone(
    store: SqliteStore, path: Path, tmp_path: Path, with_log: bool
) -> None:
    keep_secrets(store)
    copy = tmp_path / "copy" / "nexus.db"
    copy.parent.mkdir()
    if not with_log:
        store.close()
    for name, content in files(path).items():
        copy.with_name(name).write_bytes(content)
    before = files(copy)
    assert len(before) == 1 + with_log
    with pytest.raises(StoreFailed, match="The key file does not belong to this database"):
        SqliteStore.open(copy, key=OTHER_KEY)
    assert files(copy) == before
    with closing(SqliteStore.open(copy, key=KEY)) as again, again.snapshot() as records:
        assert records.recipes.get(workspace().id) == WITH_CANARIES


def test_a_process_with_another_key_that_is_faster_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look before found no database; meanwhile another process has made it, with its own key."""
    look = key_check.refuse_another_key

    def look_and_be_overtaken(connection: sqlite3.Connection, sealing: Sealing) -> None:
        look(connection, sealing)
        monkeypatch.undo()
        SqliteStore.open(path, key=KEY).close()

    monkeypatch.setattr(key_check, "refuse_another_key", look_and_be_overtaken)
    with pytest.raises(StoreFailed, match="The key file does not belong"):
        SqliteStore.open(path, key=OTHER_KEY)
    SqliteStore.open(path, key=KEY).close()


def test_of_two_keys_at_the_same_moment_the_first_stays(path: Path) -> None:
    """Both found none, and both write theirs: the second write changes nothing."""
    SqliteStore.open(path, key=KEY).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(key_check.KEEP_CHECK_VALUE, (Sealing(OTHER_KEY).seal("", "server.key_check", "mark"),))
        connection.commit()
    SqliteStore.open(path, key=KEY).close()


def test_without_the_key_the_page_tells_how_to_go_on(store: SqliteStore, path: Path) -> None:
    keep_secrets(store)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema_page.FORGET_SECRETS)
    with closing(SqliteStore.open(path, key=OTHER_KEY)) as again, again.transaction() as records:
        (found,) = records.services.of_workspace(workspace().id)
        assert found == service(spec={"env": {}})
        assert records.recipes.get(workspace().id) == recipe(env={}, credentials=Credentials())
        records.recipes.set(workspace().id, recipe())
        assert records.recipes.get(workspace().id) == recipe()


# A database from before there were keys


@pytest.fixture
def old(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as the first version left it, with a workspace in it."""
    with monkeypatch.context() as then, closing(sqlite3.connect(path, isolation_level=None)) as connection:
        then.setattr(migrations, "STEPS", migrations.STEPS[:1])
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.migrate(connection)
        assert migrations.schema_version(connection) == 1
        connection.execute(
            "INSERT INTO users VALUES ('user-1', 'alice', 1, NULL, 'ssh-ed25519 AAAA', 'SHA256:1', 0, 0)"
        )
        connection.execute(
            "INSERT INTO workspaces (id, user_id, name, status, provider, image, cpu, memory, disk, container_id,"
            " provisioned, notes, created_at, updated_at) VALUES ('ws-1', 'user-1', 'shop', 'running', 'lxc',"
            """ 'ubuntu:22.04', 2, '4GiB', '20GiB', 'nexus-1', '["create_instance"]', '["one"]', 0, 0)"""
        )
        connection.execute("INSERT INTO events (workspace_id, kind, at, data) VALUES ('ws-1', 'status', 0, '{}')")
    return path


def test_a_database_of_the_first_schema_is_brought_up_to_date(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        (mark,) = connection.execute("SELECT id FROM server").fetchone()
    with closing(SqliteStore.open(old, key=KEY)) as store:
        assert store.status().schema_version == len(migrations.STEPS)
        assert store.server_id == mark
        with store.transaction() as records:
            found = records.workspaces.get("ws-1")
            assert found is not None
            assert (found.name, found.owner, found.notes, found.repository) == ("shop", "alice", ("one",), None)
            assert found.provisioned == {"create_instance"}
            assert records.services.of_workspace("ws-1") == []
            assert records.recipes.get("ws-1") == Recipe()
            assert len(records.events.after(0)) == 1
            records.services.replace("ws-1", [service(workspace_id="ws-1")])
            records.recipes.set("ws-1", recipe())
        assert store._writer.connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert store._writer.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(SqliteStore.open(old, key=KEY)) as store, store.snapshot() as records:
        assert records.services.of_workspace("ws-1") == [service(workspace_id="ws-1")]
        assert records.recipes.get("ws-1") == recipe()
    with pytest.raises(StoreFailed, match="does not belong"):
        SqliteStore.open(old, key=OTHER_KEY)


def test_the_schema_is_the_same_however_old_the_file_is(old: Path, tmp_path: Path) -> None:
    def schema(path: Path) -> list[tuple[str, str]]:
        with closing(SqliteStore.open(path, key=KEY)) as store:
            tables = store._writer.connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name")
            return tables.fetchall()

    assert schema(old) == schema(tmp_path / "new.db")


def test_a_change_of_the_schema_that_is_cut_short_leaves_the_old_one(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def m9999_fails(db: object) -> None:
        raise RuntimeError("no")

    shutil.copy(old, old.with_name("copy.db"))
    with monkeypatch.context() as then:
        then.setattr(migrations, "STEPS", (*migrations.STEPS, m9999_fails))
        with pytest.raises(RuntimeError, match="no"):
            SqliteStore.open(old, key=KEY)
    with closing(sqlite3.connect(old)) as connection:
        assert migrations.schema_version(connection) == 1
        assert connection.execute("SELECT name FROM workspaces").fetchall() == [("shop",)]
    # No key was kept, so that any will do for the next attempt.
    SqliteStore.open(old, key=os.urandom(32)).close()
