"""What every `Store` promises, by ports/store.py and ports/records.py.

A test module of an adapter derives from `StoreContract` and gives it a fixture ``store``: a new one,
empty, that it closes itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, fields, replace
from datetime import timedelta, timezone

import pytest

from contracts.samples import (
    NOW,
    deleted,
    event,
    finished,
    idempotency_key,
    later,
    operation,
    recipe,
    repository,
    service,
    token,
    user,
    workspace,
)
from nexus_core.domain.host_ports import Lease, PortKind
from nexus_core.domain.lifecycle import Status
from nexus_core.domain.operation import OperationKind, OperationStatus, Step, StepName, StepStatus
from nexus_core.domain.recipe import Asked, Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.resources import Resources
from nexus_core.domain.service import Health, HealthCheck, Service, ServiceSpec, ServiceStatus
from nexus_core.domain.user import PublicKey
from nexus_core.domain.workspace import Failure, Workspace
from nexus_core.errors import (
    HostPortTaken,
    IdempotencyConflict,
    InvalidStatusTransition,
    SshKeyInUse,
    StoreFailed,
    UserAlreadyRegistered,
    UserNotFound,
    WorkspaceAlreadyExists,
    WorkspaceNotFound,
)
from nexus_core.ports.records import RecordedEvent, WorkspaceFilter
from nexus_core.ports.store import Records, Store


def fill(store: Store, *workspaces: Workspace) -> None:
    """Two users, and these workspaces."""
    with store.transaction() as records:
        for number in (1, 2):
            records.users.add(user(number))
        for each in workspaces:
            records.workspaces.add(each)


@contextmanager
def in_a_thread(work: Callable[[], None]) -> Generator[threading.Thread]:
    """Do the work meanwhile, and see on leaving that it was done."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # told to the test below; nothing may get lost in a thread
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(timeout=30)
    assert not thread.is_alive()
    assert failures == []


def ids(workspaces: Sequence[Workspace]) -> list[str]:
    """Their ids, in order."""
    return [each.id for each in workspaces]


def kinds(events: Sequence[RecordedEvent]) -> list[str]:
    """What kind each is of, in order."""
    return [each.kind for each in events]


def add_and_raise(records: Records, exc: BaseException) -> None:
    """Begin to do something and fail."""
    records.users.add(user())
    raise exc


def read_and_raise(records: Records, exc: BaseException) -> None:
    """Begin to read something and fail."""
    records.users.get("nobody")
    raise exc


OF_NOTHING: dict[str, Callable[[Records], None]] = {
    "workspace": lambda records: records.workspaces.add(workspace()),
    "lease": lambda records: records.leases.take(Lease(2222, PortKind.SSH, workspace().id, NOW)),
    "service": lambda records: records.services.replace(workspace().id, [service()]),
    "recipe": lambda records: records.recipes.set(workspace().id, recipe()),
    "operation": lambda records: records.operations.add(operation()),
    "event": lambda records: records.events.add(event()),
    "token": lambda records: records.tokens.add(token()),
    "idempotency key": lambda records: records.idempotency_keys.add(idempotency_key()),
}
RULE_BREAKING: dict[str, Callable[[Records], None]] = {
    "user id": lambda records: records.users.add(user(3, id=user(1).id)),
    "e-mail": lambda records: records.users.update(user(2, email=b"no text")),
    "workspace id": lambda records: records.workspaces.add(workspace(1, name="other")),
    "deletion": lambda records: records.workspaces.update(workspace(1, deleted_at=NOW)),
    "service name": lambda records: records.services.replace(workspace().id, [service(), service()]),
    "operation id": lambda records: records.operations.add(finished(1)),
    "key of no workspace": lambda records: records.idempotency_keys.add(idempotency_key(2, of=2)),
}


class StoreContract:
    """Every promise of the port, as tests."""

    # The store itself

    def test_server_id_is_twelve_lower_case_letters_and_digits(self, store: Store) -> None:
        assert re.fullmatch(r"[a-z0-9]{12}", store.server_id)
        assert store.server_id == store.server_id

    def test_status_has_a_version_and_a_size(self, store: Store) -> None:
        status = store.status()
        assert status.schema_version >= 1
        assert status.size_bytes > 0

    def test_a_transaction_is_seen_after_it(self, store: Store) -> None:
        with store.transaction() as records:
            records.users.add(user())
            assert records.users.get(user().id) == user()
        with store.snapshot() as records:
            assert records.users.get(user().id) == user()

    @pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, GeneratorExit])
    def test_after_an_exception_nothing_of_a_transaction_happened(
        self, store: Store, interruption: type[BaseException]
    ) -> None:
        with pytest.raises(interruption), store.transaction() as records:
            add_and_raise(records, interruption())
        with store.transaction() as records:
            assert records.users.get(user().id) is None
            records.users.add(user())

    def test_a_refused_record_does_not_end_the_transaction(self, store: Store) -> None:
        with store.transaction() as records:
            records.users.add(user())
            with pytest.raises(UserAlreadyRegistered):
                records.users.add(user())
            records.users.add(user(2))
        with store.snapshot() as records:
            assert records.users.get(user().id) == user()
            assert records.users.get(user(2).id) == user(2)

    def test_a_snapshot_cannot_write(self, store: Store) -> None:
        with pytest.raises(RuntimeError, match="snapshot"), store.snapshot() as records:
            records.users.add(user())
        with store.transaction() as records:
            assert records.users.get(user().id) is None
            records.users.add(user())

    def test_a_snapshot_keeps_to_one_moment(self, store: Store) -> None:
        fill(store)

        def write() -> None:
            with store.transaction() as records:
                records.workspaces.add(workspace())

        with ExitStack() as until_written, store.snapshot() as records:
            assert records.workspaces.get(workspace().id) is None
            writer = until_written.enter_context(in_a_thread(write))
            writer.join(timeout=0.2)  # a store may let the writer wait for the snapshot's end
            assert records.workspaces.get(workspace().id) is None
        with store.snapshot() as records:
            assert records.workspaces.get(workspace().id) is not None

    def test_a_snapshot_ends_after_an_exception(self, store: Store) -> None:
        with pytest.raises(ValueError, match="enough"), store.snapshot() as records:
            read_and_raise(records, ValueError("enough"))
        fill(store)
        with store.snapshot() as records:
            assert records.users.get(user().id) is not None

    def test_contexts_do_not_nest(self, store: Store) -> None:
        contexts = (store.transaction, store.snapshot)
        for outer in contexts:
            for inner in contexts:
                with outer(), pytest.raises(RuntimeError, match="do not nest"), inner():
                    raise AssertionError("got in")  # pragma: no cover  # the point of the test
        fill(store)

    def test_transactions_of_several_threads_take_turns(self, store: Store) -> None:
        fill(store, workspace())

        def add_notes() -> None:
            for number in range(20):
                with store.transaction() as records:
                    found = records.workspaces.get(workspace().id)
                    assert found is not None
                    records.workspaces.update(replace(found, notes=(*found.notes, str(number))))

        with in_a_thread(add_notes), in_a_thread(add_notes):
            add_notes()
        with store.snapshot() as records:
            found = records.workspaces.get(workspace().id)
        assert found is not None
        assert len(found.notes) == 60

    def test_snapshots_may_be_taken_from_any_thread(self, store: Store) -> None:
        fill(store)

        def read() -> None:
            for _ in range(20):
                with store.snapshot() as records:
                    assert records.users.get(user().id) == user()

        with in_a_thread(read), in_a_thread(read):
            read()

    def test_checking_that_it_can_write_changes_no_record(self, store: Store) -> None:
        fill(store, workspace())
        store.check_writable()
        store.check_writable()
        with store.snapshot() as records:
            assert records.workspaces.get(workspace().id) == workspace()
            assert records.events.after(0) == []

    def test_a_transaction_that_need_not_wait_is_as_any_other(self, store: Store) -> None:
        with store.transaction(wait=False) as records:
            records.users.add(user())
        with store.transaction() as records:
            assert records.users.get(user().id) == user()
        with pytest.raises(UserAlreadyRegistered), store.transaction(wait=False) as records:
            records.users.add(user())
        with store.snapshot() as records:
            assert records.users.get(user().id) == user()

    def test_of_one_that_is_whole_verifying_says_nothing(self, store: Store) -> None:
        fill(store, workspace())
        with in_a_thread(store.verify):
            store.verify()
        with store.snapshot() as records:
            assert records.workspaces.get(workspace().id) == workspace()

    def test_a_new_one_was_not_restored(self, store: Store) -> None:
        assert store.restored_at is None

    def test_a_closed_store_refuses_everything(self, store: Store) -> None:
        store.close()
        store.close()
        refused: tuple[Callable[[], object], ...] = (store.check_writable, store.status, store.verify)
        for call in refused:
            with pytest.raises(StoreFailed):
                call()
        for context in (store.transaction, store.snapshot):
            with pytest.raises(StoreFailed), context():
                raise AssertionError("got in")  # pragma: no cover  # the point of the test
        assert len(store.server_id) == 12

    def test_a_time_of_another_zone_is_the_same_moment(self, store: Store) -> None:
        there = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
        with store.transaction() as records:
            records.users.add(user(created_at=there))
            found = records.users.get(user().id)
        assert found is not None
        assert found.created_at == NOW
        assert found.created_at.utcoffset() == timedelta(0)

    # Users

    def test_users_are_found_by_id_and_by_name_in_any_case(self, store: Store) -> None:
        fill(store)
        with store.snapshot() as records:
            assert records.users.get(user(2).id) == user(2)
            assert records.users.by_name("pERSON-2") == user(2)
            assert records.users.get("user-nobody") is None
            assert records.users.by_name("person-3") is None

    def test_a_user_may_have_no_email(self, store: Store) -> None:
        with store.transaction() as records:
            records.users.add(user(email=None))
            assert records.users.get(user().id) == user(email=None)

    @pytest.mark.parametrize(
        "known",
        [
            {"github_username": "PERSON-1"},
            {"github_id": user(1).github_id},
            {"github_id": user(1).github_id, "public_key": user(1).public_key},
        ],
        ids=["name", "id", "id and key"],
    )
    def test_a_known_name_or_github_id_is_refused(self, store: Store, known: dict[str, object]) -> None:
        fill(store)
        with store.transaction() as records:
            with pytest.raises(UserAlreadyRegistered):
                records.users.add(user(3, **known))
            assert records.users.get(user(3).id) is None

    def test_another_users_key_is_refused(self, store: Store) -> None:
        fill(store)
        with store.transaction() as records:
            with pytest.raises(SshKeyInUse):
                records.users.add(user(3, public_key=user(1).public_key))
            with pytest.raises(SshKeyInUse):
                records.users.update(user(2, public_key=user(1).public_key))
            assert records.users.get(user(2).id) == user(2)

    def test_a_user_changes_key_and_email(self, store: Store) -> None:
        fill(store)
        changed = user(email=None, public_key=PublicKey("ssh-ed25519 BBBB", "SHA256:new"), updated_at=later(0.000001))
        with store.transaction() as records:
            records.users.update(changed)
        with store.snapshot() as records:
            assert records.users.get(user().id) == changed
            assert records.users.get(user(2).id) == user(2)

    def test_a_user_that_is_not_there_cannot_change(self, store: Store) -> None:
        with store.transaction() as records, pytest.raises(UserNotFound):
            records.users.update(user())

    # Workspaces

    def test_a_workspace_comes_back_as_it_was(self, store: Store) -> None:
        full = workspace(
            status=Status.ERROR,
            ssh_port=2222,
            node="node-1",
            repository=repository(),
            host_key=PublicKey("ssh-ed25519 HOST", "SHA256:host"),
            authorized_fingerprint="SHA256:1",
            provisioned=frozenset({"create_instance", "run_setup"}),
            error=Failure("ssh_not_ready", "It does not answer.", "wait_for_ssh"),
            notes=("one", 'two "quoted" ✓'),
            started_at=later(1),
            stopped_at=later(2),
            last_activity_at=later(3),
        )
        unset = {field.name for field in fields(full) if getattr(full, field.name) in (None, (), frozenset())}
        assert unset == {"deleted_at"}
        fill(store, full, workspace(2))
        with store.snapshot() as records:
            assert records.workspaces.get(full.id) == full
            assert records.workspaces.by_name(user().id, "work-1") == full
            assert records.workspaces.get(workspace(2).id) == workspace(2)
            assert records.workspaces.get("ws-nothing") is None
            assert records.workspaces.by_name(user(2).id, "work-1") is None

    def test_every_field_that_can_change_is_stored(self, store: Store) -> None:
        changed = workspace(
            status=Status.DELETED,
            resources=Resources(cpu=1, memory="1GiB", disk="2GB"),
            ssh_port=2223,
            container_id="nexus-other",
            node="node-2",
            updated_at=later(100),
            repository=repository(branch="other", commit="f" * 40),
            host_key=PublicKey("ssh-ed25519 HOST2", "SHA256:host2"),
            authorized_fingerprint="SHA256:2",
            provisioned=frozenset({"create_instance"}),
            error=Failure("provider_failed", "It did not work.", None),
            notes=("three",),
            started_at=later(101),
            stopped_at=later(102),
            last_activity_at=later(103),
            deleted_at=later(104),
        )
        same = {
            field.name for field in fields(changed) if getattr(changed, field.name) == getattr(workspace(), field.name)
        }
        assert same == {"id", "owner_id", "owner", "name", "provider", "image", "created_at"}
        fill(store, workspace(), workspace(2))
        with store.transaction() as records:
            records.workspaces.update(changed)
        with store.snapshot() as records:
            assert records.workspaces.get(changed.id) == changed
            assert records.workspaces.get(workspace(2).id) == workspace(2)

    def test_a_field_can_become_empty_again(self, store: Store) -> None:
        failure = Failure("internal_error", "Oh.", None)
        fill(store, workspace(status=Status.ERROR, ssh_port=2222, repository=repository(), error=failure))
        with store.transaction() as records:
            records.workspaces.update(workspace())
            assert records.workspaces.get(workspace().id) == workspace()

    @pytest.mark.parametrize(
        "known",
        [
            Repository(),
            Repository(bundle=True),
            Repository(url="https://example.com/alice/shop.git"),
            Repository(owner="alice", name="shop", is_fork=True),
        ],
        ids=["nothing", "upload", "address", "fork"],
    )
    def test_little_may_be_known_of_a_repository(self, store: Store, known: Repository) -> None:
        fill(store, workspace(1, repository=known), workspace(2))
        with store.snapshot() as records:
            assert records.workspaces.get(workspace(1).id) == workspace(1, repository=known)
            assert records.workspaces.get(workspace(2).id) == workspace(2)

    def test_a_clone_tells_commit_and_branch(self, store: Store) -> None:
        before = workspace(repository=repository(branch=None, commit=None))
        fill(store, before, workspace(2))
        with store.transaction() as records:
            records.workspaces.update(replace(before, repository=repository()))
        with store.snapshot() as records:
            found, _ = records.workspaces.page(WorkspaceFilter(), limit=50, offset=0)
        assert [each.repository for each in found] == [None, repository()]

    def test_a_workspace_that_is_not_there_cannot_change(self, store: Store) -> None:
        with store.transaction() as records, pytest.raises(WorkspaceNotFound):
            records.workspaces.update(workspace())

    def test_a_name_is_taken_once_by_an_owner(self, store: Store) -> None:
        fill(store, workspace())
        with store.transaction() as records:
            with pytest.raises(WorkspaceAlreadyExists) as refused:
                records.workspaces.add(workspace(2, name="work-1"))
            records.workspaces.add(workspace(3, owner=2, name="work-1"))
        assert refused.value.details == {"workspace_id": workspace().id}

    def test_a_name_is_free_again_after_deletion(self, store: Store) -> None:
        fill(store, deleted(1, name="again"), deleted(2, name="again"), workspace(3, name="again"))
        with store.snapshot() as records:
            found = records.workspaces.by_name(user().id, "again")
            assert found is not None
            assert found.id == workspace(3).id
            assert records.workspaces.get(workspace(1).id) == deleted(1, name="again")

    def test_pages_are_newest_first_without_deleted_ones(self, store: Store) -> None:
        same_moment = [workspace(number, created_at=later(50)) for number in (5, 6, 7)]
        fill(store, workspace(1), workspace(9), deleted(2), *same_moment, workspace(3, owner=2))
        every = [workspace(number).id for number in (7, 6, 5, 9, 3, 1)]
        with store.snapshot() as records:
            found, total = records.workspaces.page(WorkspaceFilter(), limit=50, offset=0)
            assert (ids(found), total) == (every, 6)
            pages = [records.workspaces.page(WorkspaceFilter(), limit=2, offset=offset) for offset in (0, 2, 4, 6)]
        assert [ids(page) for page, _ in pages] == [every[:2], every[2:4], every[4:], []]
        assert {total for _, total in pages} == {6}

    def test_pages_can_be_of_an_owner_and_of_a_status(self, store: Store) -> None:
        fill(
            store,
            workspace(1),
            workspace(2, status=Status.RUNNING),
            workspace(3, owner=2, status=Status.RUNNING),
            deleted(4),
            deleted(5, owner=2),
        )

        def page(owner_id: str | None, status: Status | None) -> list[str]:
            with store.snapshot() as records:
                found, total = records.workspaces.page(WorkspaceFilter(owner_id, status), limit=50, offset=0)
            assert len(found) == total
            return ids(found)

        assert page(user().id, None) == [workspace(2).id, workspace(1).id]
        assert page(None, Status.RUNNING) == [workspace(3).id, workspace(2).id]
        assert page(user(2).id, Status.RUNNING) == [workspace(3).id]
        assert page(None, Status.DELETED) == [workspace(5).id, workspace(4).id]
        assert page(user().id, Status.DELETED) == [workspace(4).id]
        assert page("user-nobody", None) == []

    def test_workspaces_are_found_by_status_and_by_owner(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2, status=Status.RUNNING), workspace(3, owner=2), deleted(4))
        with store.snapshot() as records:
            found = records.workspaces.with_status({Status.RUNNING, Status.PENDING})
            assert ids(found) == [workspace(3).id, workspace(2).id, workspace(1).id]
            assert ids(records.workspaces.with_status([Status.DELETED])) == [workspace(4).id]
            assert ids(records.workspaces.with_status(())) == []
            assert ids(records.workspaces.of_owner(user().id)) == [workspace(2).id, workspace(1).id]
            assert records.workspaces.ids_of_owner(user().id) == [workspace(2).id, workspace(1).id]

    def test_workspaces_are_counted_by_status(self, store: Store) -> None:
        with store.snapshot() as records:
            assert records.workspaces.count_by_status() == {}
        fill(store, workspace(1), workspace(2), workspace(3, status=Status.ERROR), deleted(4))
        with store.snapshot() as records:
            counted = records.workspaces.count_by_status()
        assert counted == {Status.PENDING: 2, Status.ERROR: 1, Status.DELETED: 1}

    def test_purging_forgets_what_was_deleted_and_all_that_hangs_on_it(self, store: Store) -> None:
        fill(store, deleted(1, at=later(10)), deleted(2, at=later(20)), workspace(3))
        with store.transaction() as records:
            for number in (1, 2, 3):
                records.operations.add(finished(number, number))
                records.events.add(event(number))
                records.idempotency_keys.add(idempotency_key(number, number))
                records.leases.take(Lease(2220 + number, PortKind.SSH, workspace(number).id, NOW))
                records.services.replace(workspace(number).id, [service(of=number)])
                records.recipes.set(workspace(number).id, recipe())
        with store.transaction() as records:
            assert records.workspaces.purge_deleted(later(20)) == 1
            assert records.workspaces.purge_deleted(later(20)) == 0
        with store.snapshot() as records:
            there = [number for number in (1, 2, 3) if records.workspaces.get(workspace(number).id)]
            assert there == [2, 3]
            assert [number for number in (1, 2, 3) if records.operations.get(operation(number).id)] == there
            assert [each.workspace_id for each in records.events.after(0)] == [workspace(n).id for n in there]
            assert [n for n in (1, 2, 3) if records.idempotency_keys.get(user().id, f"key-{n}")] == there
            assert records.leases.held(PortKind.SSH) == {2222, 2223}
            assert [n for n in (1, 2, 3) if records.services.of_workspace(workspace(n).id)] == there
            assert [n for n in (1, 2, 3) if records.recipes.get(workspace(n).id) != Recipe()] == there

    # Services

    def test_a_service_comes_back_as_it_was(self, store: Store) -> None:
        full = service(
            status=ServiceStatus.UNHEALTHY,
            health=Health.TIMEOUT,
            mapped_port=23000,
            last_check=later(5),
            error='It said "no" ✓\nand no more.',
        )
        bare = Service(workspace().id, ServiceSpec("db", None), later(1))
        assert {each.name for each in fields(full) if getattr(full, each.name) == getattr(bare, each.name)} == {
            "workspace_id"
        }
        for part, other in ((full.spec, bare.spec), (full.spec.health_check, HealthCheck())):
            assert not [each.name for each in fields(part) if getattr(part, each.name) == getattr(other, each.name)]
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            records.services.replace(workspace().id, [full, bare])
        for _ in range(2):  # the second time a store may remember
            with store.snapshot() as records:
                assert records.services.get(workspace().id, "web") == full
                assert records.services.get(workspace().id, "db") == bare
                assert records.services.of_workspace(workspace().id) == [full, bare]
                assert records.services.get(workspace().id, "WEB") is None
                assert records.services.get(workspace(2).id, "web") is None
                assert records.services.of_workspace(workspace(2).id) == []

    def test_services_keep_the_order_in_which_they_were_given(self, store: Store) -> None:
        fill(store, workspace())
        given = ["web", "api", "db", "Zeta", "alpha"]
        with store.transaction() as records:
            records.services.replace(workspace().id, [service(name) for name in given])
            records.services.update(service("db", status=ServiceStatus.RUNNING))
            assert [each.name for each in records.services.of_workspace(workspace().id)] == given
            records.services.replace(workspace().id, [service(name) for name in reversed(given)])
            assert [each.name for each in records.services.of_workspace(workspace().id)] == given[::-1]

    def test_replaced_services_are_those_of_one_workspace(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            for number in (1, 2):
                records.services.replace(workspace(number).id, [service("web", number), service("db", number)])
            new = service("db", spec={"command": "other", "env": {"PASSWORD": "changed"}})
            records.services.replace(workspace(1).id, [new])
            assert records.services.of_workspace(workspace(1).id) == [new]
            assert records.services.of_workspace(workspace(2).id) == [service("web", 2), service("db", 2)]
            records.services.replace(workspace(2).id, [])
            assert records.services.of_workspace(workspace(2).id) == []
            assert records.services.of_workspace(workspace(1).id) == [new]

    def test_how_a_service_fares_changes_and_how_it_runs_does_not(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        after = service(
            spec={"expose": False, "port": 8001},
            status=ServiceStatus.ERROR,
            health=Health.UNHEALTHY,
            mapped_port=23001,
            last_check=later(9),
            error="It ended.",
        )
        meddled = replace(after, spec=replace(after.spec, command="other", env={}, depends_on=()), created_at=later(1))
        with store.transaction() as records:
            for number in (1, 2):
                records.services.replace(workspace(number).id, [service("web", number), service("db", number)])
            records.services.update(meddled)
        with store.snapshot() as records:
            assert records.services.of_workspace(workspace(1).id) == [after, service("db")]
            assert records.services.of_workspace(workspace(2).id) == [service("web", 2), service("db", 2)]
        with store.transaction() as records:
            records.services.update(service())
            assert records.services.get(workspace(1).id, "web") == service()

    def test_a_service_that_is_gone_is_left_alone(self, store: Store) -> None:
        fill(store, workspace())
        with store.transaction() as records:
            records.services.replace(workspace().id, [service("db")])
            records.services.update(service("web", status=ServiceStatus.RUNNING))
            records.services.update(service("db", of=2, status=ServiceStatus.RUNNING))
            assert records.services.of_workspace(workspace().id) == [service("db")]

    def test_services_are_counted(self, store: Store) -> None:
        fill(store, *(workspace(number) for number in range(1, 201)))
        with store.transaction() as records:
            records.services.replace(workspace(1).id, [service("web"), service("db")])
            records.services.replace(workspace(200).id, [service("web", 200)])
            records.services.replace(workspace(3).id, [service("web", 3)])
            counted = records.services.count([workspace(number).id for number in range(1, 201) if number != 3])
            assert {of: count for of, count in counted.items() if count} == {workspace(1).id: 2, workspace(200).id: 1}
            assert not any(records.services.count({workspace(2).id, "ws-nothing"}).values())
            assert not any(records.services.count(()).values())

    def test_a_service_does_not_show_its_secrets(self, store: Store) -> None:
        fill(store, workspace())
        with store.transaction() as records:
            records.services.replace(workspace().id, [service()])
            found = records.services.of_workspace(workspace().id)
        assert found[0].spec.env["PASSWORD"] == "secret of web"
        assert "secret" not in f"{found!r} {found} {found[0]} {store!r} {store}"

    # Recipes

    def test_a_recipe_comes_back_as_it_was(self, store: Store) -> None:
        assert not [
            each.name for each in fields(Recipe) if getattr(recipe(), each.name) == getattr(Recipe(), each.name)
        ]
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            records.recipes.set(workspace(1).id, recipe())
        with store.snapshot() as records:
            assert records.recipes.get(workspace(1).id) == recipe()
            assert records.recipes.get(workspace(2).id) == Recipe()
            assert records.recipes.get("ws-nothing") == Recipe()

    @pytest.mark.parametrize(
        "changed",
        [
            recipe(credentials=Credentials()),
            recipe(credentials=Credentials(token="another")),
            recipe(credentials=Credentials(deploy_key="another"), env={}),
            recipe(env={"API_KEY": "another"}),
            recipe(setup=(), asked=Asked()),
            Recipe(),
        ],
        ids=["forgotten", "token", "key", "env", "scripts", "nothing"],
    )
    def test_a_recipe_is_set_again_as_a_whole(self, store: Store, changed: Recipe) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            for number in (1, 2):
                records.recipes.set(workspace(number).id, recipe())
            records.recipes.set(workspace(1).id, changed)
            assert records.recipes.get(workspace(1).id) == changed
            assert records.recipes.get(workspace(2).id) == recipe()

    def test_a_recipe_does_not_show_its_secrets(self, store: Store) -> None:
        fill(store, workspace())
        with store.transaction() as records:
            records.recipes.set(workspace().id, recipe())
            found = records.recipes.get(workspace().id)
        assert found.credentials.token == "secret token"
        assert "secret" not in f"{found!r} {found} {found.credentials!r} {found.credentials}"

    def test_services_and_secrets_go_with_the_deletion(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            for number in (1, 2):
                records.services.replace(workspace(number).id, [service(of=number)])
                records.recipes.set(workspace(number).id, recipe())
            records.workspaces.update(workspace(1, status=Status.DELETING))
            assert records.services.of_workspace(workspace(1).id) == [service()]
            assert records.recipes.get(workspace(1).id) == recipe()
            records.workspaces.update(deleted(1))
        with store.snapshot() as records:
            assert records.services.of_workspace(workspace(1).id) == []
            assert records.recipes.get(workspace(1).id) == Recipe()
            assert records.services.of_workspace(workspace(2).id) == [service(of=2)]
            assert records.recipes.get(workspace(2).id) == recipe()

    # Leases

    def test_a_port_is_held_until_it_is_given_back(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        ssh = Lease(2222, PortKind.SSH, workspace(1).id, NOW)
        service = Lease(23000, PortKind.SERVICE, workspace(1).id, later(1))
        with store.transaction() as records:
            records.leases.take(service)
            records.leases.take(ssh)
        with store.snapshot() as records:
            assert records.leases.held(PortKind.SSH) == {2222}
            assert records.leases.held(PortKind.SERVICE) == {23000}
            assert records.leases.of_workspace(workspace(1).id) == [ssh, service]
            assert records.leases.of_workspace(workspace(2).id) == []
        with store.transaction() as records:
            assert records.leases.release(workspace(1).id, later(2)) == [2222, 23000]
            assert records.leases.release(workspace(1).id, later(2)) == []
            assert records.leases.held(PortKind.SSH) == frozenset()
            assert records.leases.of_workspace(workspace(1).id) == []

    def test_a_leased_port_is_refused_even_to_its_holder(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            records.leases.take(Lease(2222, PortKind.SSH, workspace(1).id, NOW))
            for number in (1, 2):
                with pytest.raises(HostPortTaken):
                    records.leases.take(Lease(2222, PortKind.SERVICE, workspace(number).id, NOW))
            assert records.leases.of_workspace(workspace(1).id) == [Lease(2222, PortKind.SSH, workspace(1).id, NOW)]

    def test_a_port_given_back_can_be_taken_by_another(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        second = Lease(2222, PortKind.SERVICE, workspace(2).id, later(2))
        with store.transaction() as records:
            records.leases.take(Lease(2222, PortKind.SSH, workspace(1).id, NOW))
            records.leases.release(workspace(1).id, later(1))
            records.leases.take(second)
            assert records.leases.held(PortKind.SSH) == frozenset()
            assert records.leases.of_workspace(workspace(2).id) == [second]
            assert records.leases.release(workspace(1).id, later(3)) == []
            assert records.leases.held(PortKind.SERVICE) == {2222}

    def test_one_port_of_several_is_given_back(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            for port in (2222, 2223):
                records.leases.take(Lease(port, PortKind.SSH, workspace(1).id, NOW))
            records.leases.take(Lease(2224, PortKind.SSH, workspace(2).id, NOW))
            assert records.leases.release(workspace(1).id, NOW, port=2224) == []
            assert records.leases.release(workspace(1).id, NOW, port=2223) == [2223]
            assert records.leases.held(PortKind.SSH) == {2222, 2224}

    # Operations

    def test_an_operation_comes_back_as_it_was(self, store: Store) -> None:
        steps = (
            Step(StepName.WITHDRAW_SSH, StepStatus.FAILED, later(1), 1234, "It did not work."),
            Step(StepName.STOP_INSTANCE),
        )
        full = operation(
            kind=OperationKind.STOP,
            status=OperationStatus.FAILED,
            steps=steps,
            force=True,
            started_at=later(1),
            finished_at=later(2),
        )
        bare = operation(2, steps=())
        fill(store, workspace())
        with store.transaction() as records:
            records.operations.add(full)
            records.operations.add(bare)
        with store.snapshot() as records:
            assert records.operations.get(full.id) == full
            assert records.operations.get(bare.id) == bare
            assert records.operations.get("op-nothing") is None

    def test_status_times_and_steps_of_an_operation_change(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            records.operations.add(operation(1))
            records.operations.add(operation(2, of=2))
        running = replace(operation(1), status=OperationStatus.RUNNING, started_at=later(1))
        running = running.with_step(0, Step(StepName.CREATE_INSTANCE, StepStatus.DONE, later(1), 10))
        running = running.with_step(1, Step(StepName.PUBLISH_SSH, StepStatus.RUNNING, later(2)))
        with store.transaction() as records:
            records.operations.update(running)
        with store.snapshot() as records:
            assert records.operations.get(running.id) == running
            assert records.operations.get(operation(2).id) == operation(2, of=2)
        over = running.cancelled(later(3))
        with store.transaction() as records:
            records.operations.update(over)
            assert records.operations.get(over.id) == over

    def test_an_operation_that_is_not_there_cannot_change(self, store: Store) -> None:
        with store.transaction() as records, pytest.raises(WorkspaceNotFound):
            records.operations.update(operation())

    def test_a_workspace_has_one_unfinished_operation(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            records.operations.add(finished(1))
            records.operations.add(operation(2))
            with pytest.raises(InvalidStatusTransition):
                records.operations.add(operation(3, status=OperationStatus.RUNNING))
            with pytest.raises(InvalidStatusTransition):
                records.operations.update(operation(1))
            records.operations.add(operation(4, of=2))
            assert records.operations.unfinished(workspace(1).id) == operation(2)
            assert records.operations.get(operation(3).id) is None
            assert records.operations.get(operation(1).id) == finished(1)

    def test_the_latest_operation_is_the_one_under_way_or_the_last(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            assert records.operations.latest(workspace().id) is None
            assert records.operations.unfinished(workspace().id) is None
            records.operations.add(finished(1))
            # Made before the first one by a clock that was set back in between: still the later one.
            records.operations.add(operation(2, created_at=later(-60)))
            records.operations.add(finished(3, of=2))
            assert records.operations.latest(workspace().id) == operation(2, created_at=later(-60))
            records.operations.update(finished(2))
            latest = records.operations.latest(workspace().id)
            assert latest is not None
            assert latest.id == operation(2).id
            assert records.operations.unfinished(workspace().id) is None

    def test_queued_operations_wait_in_order(self, store: Store) -> None:
        fill(store, *(workspace(number) for number in range(1, 7)))
        with store.transaction() as records:
            # In the order in which they were added, wherever the clock was set meanwhile.
            records.operations.add(operation(1, of=1, created_at=later(30)))
            records.operations.add(operation(2, of=2, created_at=later(-86_400)))
            records.operations.add(operation(3, of=3, created_at=later(10)))
            records.operations.add(operation(4, of=4, kind=OperationKind.STOP))
            records.operations.add(operation(5, of=5, status=OperationStatus.RUNNING))
            records.operations.add(finished(6, of=6))
            queued = records.operations.queued([OperationKind.CREATE, OperationKind.START], limit=9)
            assert [each.id for each in queued] == [operation(number).id for number in (1, 2, 3)]
            assert queued[0] == operation(1, created_at=later(30))
            assert [each.id for each in records.operations.queued({OperationKind.STOP}, limit=9)] == [operation(4).id]
            assert records.operations.queued((), limit=9) == []
            [first] = records.operations.queued(frozenset(OperationKind), limit=1)
            assert first.id == operation(1).id
            waiting = records.operations.queued(frozenset(OperationKind), limit=9)
            assert [records.operations.queue_position(each.id) for each in waiting] == [1, 2, 3, 4]
            assert records.operations.count_unfinished() == (4, 1)

    def test_what_ran_is_queued_again(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2), workspace(3))
        half_done = operation(1, status=OperationStatus.RUNNING, started_at=later(1)).with_step(
            0, Step(StepName.CREATE_INSTANCE, StepStatus.DONE, later(1), 10)
        )
        with store.transaction() as records:
            assert records.operations.count_unfinished() == (0, 0)
            records.operations.add(half_done)
            records.operations.add(operation(2, of=2))
            records.operations.add(finished(3, of=3))
            assert records.operations.requeue_running() == 1
            assert records.operations.requeue_running() == 0
            assert records.operations.count_unfinished() == (2, 0)
            assert records.operations.get(half_done.id) == replace(half_done, status=OperationStatus.QUEUED)

    def test_durations_are_those_of_the_latest_successful_creations(self, store: Store) -> None:
        fill(
            store,
            deleted(1),
            workspace(2),
            workspace(3),
            workspace(4, image="debian/12"),
            workspace(5, provider="docker"),
            workspace(6),
        )
        with store.transaction() as records:
            for number, milliseconds in ((1, 1000), (2, 2001), (4, 4000), (5, 5000)):
                records.operations.add(finished(number, number, milliseconds=milliseconds))
            records.operations.add(finished(3, 3, status=OperationStatus.FAILED))
            records.operations.add(finished(13, 3, kind=OperationKind.START))
            records.operations.add(operation(6, 6))
            assert records.operations.creation_durations("lxc", "ubuntu:22.04", limit=9) == [2001, 1000]
            assert records.operations.creation_durations("lxc", "ubuntu:22.04", limit=1) == [2001]
            assert records.operations.creation_durations("lxc", "debian/12", limit=9) == [4000]
            assert records.operations.creation_durations("lxc", "unheard-of", limit=9) == []

    # Tokens

    def test_a_token_comes_back_as_it_was(self, store: Store) -> None:
        fill(store)
        full = token(scopes=("read",), expires_at=later(60), last_used_at=later(30))
        with store.transaction() as records:
            records.tokens.add(full)
            records.tokens.add(token(2, owner=None))
        with store.snapshot() as records:
            assert records.tokens.by_digest(full.digest) == full
            assert records.tokens.by_digest(token(2).digest) == token(2, owner=None)
            assert records.tokens.by_digest("0") is None

    def test_tokens_are_listed_newest_first_each_owners_alone(self, store: Store) -> None:
        fill(store)
        with store.transaction() as records:
            for number, owner in ((1, 1), (3, 1), (2, 1), (4, 2), (5, None), (6, None)):
                records.tokens.add(token(number, owner))
            records.tokens.add(token(7, created_at=later(3)))
        with store.snapshot() as records:
            assert [each.id for each in records.tokens.of_user(user().id)] == [token(n).id for n in (7, 3, 2, 1)]
            assert [each.id for each in records.tokens.of_user(user(2).id)] == [token(4).id]
            assert [each.id for each in records.tokens.of_user(None)] == [token(6).id, token(5).id]

    def test_a_removed_token_is_gone_and_may_be_removed_again(self, store: Store) -> None:
        fill(store)
        with store.transaction() as records:
            records.tokens.add(token(1))
            records.tokens.add(token(2))
            records.tokens.remove(token(1).id)
            records.tokens.remove(token(1).id)
            assert records.tokens.by_digest(token(1).digest) is None
            assert records.tokens.of_user(user().id) == [token(2)]

    def test_a_tokens_last_use_is_noted(self, store: Store) -> None:
        fill(store)
        with store.transaction() as records:
            records.tokens.add(token(1))
            records.tokens.add(token(2))
            records.tokens.used(token(1).id, later(99))
            records.tokens.used("token-nothing", later(99))
            assert records.tokens.by_digest(token(1).digest) == token(1, last_used_at=later(99))
            assert records.tokens.by_digest(token(2).digest) == token(2)

    def test_expired_tokens_are_purged(self, store: Store) -> None:
        fill(store)
        with store.transaction() as records:
            records.tokens.add(token(1, expires_at=later(10)))
            records.tokens.add(token(2, expires_at=later(20)))
            records.tokens.add(token(3))
            assert records.tokens.purge_expired(later(20)) == 1
            assert [each.id for each in records.tokens.of_user(user().id)] == [token(3).id, token(2).id]

    # Events

    def test_events_come_in_order_after_the_last_one_seen(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        with store.transaction() as records:
            for of, kind in ((1, "a"), (2, "b"), (1, "c"), (1, "d")):
                records.events.add(event(of, kind, data={"to": "✓", "n": [1, None]}))
        with store.snapshot() as records:
            every = records.events.after(0)
            numbers = [each.id for each in every]
            assert numbers == sorted(set(numbers))
            assert len(numbers) == 4
            written = event(1, "a", data={"to": "✓", "n": [1, None]})
            assert [getattr(every[0], one.name) for one in fields(written)] == [*astuple(written)]
            assert kinds(every) == ["a", "b", "c", "d"]
            assert [each.workspace_id for each in every][:2] == [workspace(1).id, workspace(2).id]
            assert {(each.owner, each.owner_id) for each in every} == {(user().github_username, user().id)}
            assert [each.name for each in every][:2] == [workspace(1).name, workspace(2).name]
            assert kinds(records.events.after(numbers[1])) == ["c", "d"]
            assert kinds(records.events.after(0, limit=3)) == ["a", "b", "c"]
            assert kinds(records.events.after(numbers[0], until=numbers[2])) == ["b", "c"]
            of_first = records.events.after(numbers[0], workspace_id=workspace(1).id)
            assert kinds(of_first) == ["c", "d"]
            assert records.events.after(0, workspace_id=workspace(1).id, limit=1) == every[:1]
            assert records.events.after(numbers[3]) == []
            assert (records.events.oldest_id(), records.events.newest_id()) == (numbers[0], numbers[3])

    def test_events_of_one_owner_are_those_of_its_workspaces(self, store: Store) -> None:
        fill(store, workspace(1), deleted(2))
        with store.transaction() as records:
            records.workspaces.add(workspace(3, owner=2))
            for of, kind in ((1, "a"), (3, "b"), (2, "c"), (3, "d")):
                records.events.add(event(of, kind))
        with store.snapshot() as records:
            events = records.events
            assert kinds(events.after(0, owner_id=user().id)) == ["a", "c"]
            assert kinds(events.after(0, owner_id=user(2).id)) == ["b", "d"]
            assert kinds(events.after(0, owner_id=user(2).id, limit=1)) == ["b"]
            assert {each.owner for each in events.after(0, owner_id=user(2).id)} == {user(2).github_username}
            assert events.after(0, owner_id="user-nobody") == []
            assert kinds(events.after(0, workspace_id=workspace(3).id, owner_id=user(2).id)) == ["b", "d"]
            assert events.after(0, workspace_id=workspace(3).id, owner_id=user().id) == []

    def test_events_tell_which_led_into_a_status_last(self, store: Store) -> None:
        fill(store, workspace(1), workspace(2))
        beginnings = {Status.PENDING, Status.STARTING}
        with store.transaction() as records:
            assert records.events.latest_status(workspace().id, beginnings) is None
            for of, kind, status in (
                (1, "status", "pending"),
                (1, "status", "starting"),
                (2, "status", "pending"),
                (1, "status", "running"),
                (1, "service", "starting"),
            ):
                records.events.add(event(of, kind, data={"status": status}))
            numbers = [each.id for each in records.events.after(0)]
            assert records.events.latest_status(workspace(1).id, beginnings) == numbers[1]
            assert records.events.latest_status(workspace(2).id, beginnings) == numbers[2]
            assert records.events.latest_status(workspace(1).id, {Status.RUNNING}) == numbers[3]
            assert records.events.latest_status(workspace(1).id, {Status.DELETED}) is None
            assert records.events.latest_status("ws-nothing", beginnings) is None

    def test_purged_events_are_gone_and_their_ids_are_not_given_out_again(self, store: Store) -> None:
        fill(store, workspace())
        with store.snapshot() as records:
            assert (records.events.oldest_id(), records.events.newest_id()) == (None, 0)
        with store.transaction() as records:
            records.events.add(event(at=later(10)))
            records.events.add(event(at=later(20)))
        with store.transaction() as records:
            last = records.events.after(0)[-1].id
            assert records.events.purge(later(20)) == 1
            assert len(records.events.after(0)) == 1
            assert records.events.oldest_id() == last
            assert records.events.purge(later(21)) == 1
            assert (records.events.oldest_id(), records.events.newest_id()) == (None, last)
            records.events.add(event(kind="next"))
            (following,) = records.events.after(last)
            assert following.kind == "next"
            assert records.events.newest_id() == following.id

    # Idempotency keys

    def test_an_idempotency_key_is_kept_for_each_caller(self, store: Store) -> None:
        fill(store, workspace())
        others = idempotency_key(1, caller="administrator")
        with store.transaction() as records:
            records.idempotency_keys.add(idempotency_key(1))
            records.idempotency_keys.add(others)
            with pytest.raises(IdempotencyConflict):
                records.idempotency_keys.add(idempotency_key(1, request_digest="other"))
        with store.snapshot() as records:
            assert records.idempotency_keys.get(user().id, "key-1") == idempotency_key(1)
            assert records.idempotency_keys.get("administrator", "key-1") == others
            assert records.idempotency_keys.get("administrator", "key-2") is None

    def test_old_idempotency_keys_are_purged(self, store: Store) -> None:
        fill(store, workspace())
        with store.transaction() as records:
            records.idempotency_keys.add(idempotency_key(1))
            records.idempotency_keys.add(idempotency_key(2))
            assert records.idempotency_keys.purge(later(2)) == 1
            assert records.idempotency_keys.get(user().id, "key-1") is None
            assert records.idempotency_keys.get(user().id, "key-2") == idempotency_key(2)

    # What refers to something must find it

    @pytest.mark.parametrize("add", OF_NOTHING.values(), ids=OF_NOTHING)
    def test_a_record_of_nothing_is_refused(self, store: Store, add: Callable[[Records], None]) -> None:
        with pytest.raises(StoreFailed), store.transaction() as records:
            add(records)

    @pytest.mark.parametrize("add", RULE_BREAKING.values(), ids=RULE_BREAKING)
    def test_a_record_that_breaks_a_rule_without_a_name_is_refused(
        self, store: Store, add: Callable[[Records], None]
    ) -> None:
        fill(store, workspace())
        with store.transaction() as records:
            records.operations.add(finished(1))
        with pytest.raises(StoreFailed), store.transaction() as records:
            add(records)
