"""Leases of host ports under every order of events that Hypothesis can think of."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.samples import NOW, deleted, workspace
from contracts.store_contract import fill
from nexus_core.domain.host_ports import Lease, PortKind, PortRange
from nexus_core.errors import HostPortsExhausted, HostPortTaken
from nexus_core.ports.store import Records
from nexus_sqlite import SqliteStore

RANGES = {PortKind.SSH: PortRange(2222, 2226), PortKind.SERVICE: PortRange(23000, 23002)}
WORKSPACES = range(1, 6)

kinds = st.sampled_from(PortKind)
numbers = st.sampled_from(WORKSPACES)
every_port = st.sampled_from([port for ports in RANGES.values() for port in ports])


class GivenUp(Exception):
    """A transaction that is undone."""


class LeasesMachine(RuleBasedStateMachine):
    """Workspaces take and give back ports; a plain dictionary knows who must hold what."""

    def __init__(self) -> None:
        super().__init__()
        self.store = SqliteStore.in_memory()
        self.holders: dict[int, tuple[PortKind, int]] = {}
        self.now = NOW

    @initialize()
    def workspaces(self) -> None:
        fill(self.store, *(workspace(number) for number in WORKSPACES))

    def teardown(self) -> None:
        """In the end everything can be given back, and nothing is left."""
        with self.store.transaction() as records:
            for number in WORKSPACES:
                records.leases.release(workspace(number).id, self.now)
            assert not any(records.leases.held(kind) for kind in PortKind)
        self.store.close()

    def free(self, kind: PortKind, occupied: set[int]) -> list[int]:
        """Ports that could be leased, lowest first."""
        return [port for port in RANGES[kind] if port not in self.holders and port not in occupied]

    def lease(self, records: Records, kind: PortKind, number: int, occupied: set[int]) -> int:
        """What a use case does: take the lowest port that is free."""
        port = RANGES[kind].lowest_free(records.leases.held(kind), occupied)
        records.leases.take(Lease(port, kind, workspace(number).id, self.now))
        return port

    @rule(kind=kinds, number=numbers, occupied=st.sets(every_port, max_size=2))
    def take_the_lowest_free_one(self, kind: PortKind, number: int, occupied: set[int]) -> None:
        free = self.free(kind, occupied)
        try:
            with self.store.transaction() as records:
                taken = self.lease(records, kind, number, occupied)
        except HostPortsExhausted:
            assert free == []
        else:
            assert taken == free[0]
            self.holders[taken] = (kind, number)

    @rule(kind=kinds, number=numbers)
    def take_and_give_up(self, kind: PortKind, number: int) -> None:
        """A creation that fails after it took its port: the port was never taken."""
        try:
            with self.store.transaction() as records:
                self.lease(records, kind, number, set())
                raise GivenUp
        except (GivenUp, HostPortsExhausted):
            pass

    @precondition(lambda self: bool(self.holders))
    @rule(number=numbers, kind=kinds, data=st.data())
    def take_one_that_is_held(self, number: int, kind: PortKind, data: st.DataObject) -> None:
        port = data.draw(st.sampled_from(sorted(self.holders)))
        with self.store.transaction() as records:
            try:
                records.leases.take(Lease(port, kind, workspace(number).id, self.now))
            except HostPortTaken:
                return
        raise AssertionError(f"{port} has two holders")

    @rule(number=numbers, port=every_port)
    def give_one_back(self, number: int, port: int) -> None:
        held = port in self.holders and self.holders[port][1] == number
        with self.store.transaction() as records:
            assert records.leases.release(workspace(number).id, self.now, port=port) == ([port] if held else [])
        if held:
            del self.holders[port]

    @rule(number=numbers)
    def give_all_back(self, number: int) -> None:
        mine = sorted(port for port, (_, holder) in self.holders.items() if holder == number)
        with self.store.transaction() as records:
            assert records.leases.release(workspace(number).id, self.now) == mine
        for port in mine:
            del self.holders[port]

    @rule(number=numbers)
    def forget_the_workspace(self, number: int) -> None:
        """Deleted, purged and made anew: what it held is free."""
        with self.store.transaction() as records:
            records.workspaces.update(deleted(number, at=self.now))
            assert records.workspaces.purge_deleted(self.now + timedelta(seconds=1)) == 1
            records.workspaces.add(workspace(number))
        self.holders = {port: held for port, held in self.holders.items() if held[1] != number}

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(seconds=1)

    @invariant()
    def the_store_agrees(self) -> None:
        with self.store.snapshot() as records:
            for kind in PortKind:
                assert records.leases.held(kind) == {port for port, held in self.holders.items() if held[0] is kind}
            found = {
                lease.port: (lease.kind, number)
                for number in WORKSPACES
                for lease in records.leases.of_workspace(workspace(number).id)
            }
        assert found == self.holders


# The first example also pays for opening a database: no deadline for one example's time.
LeasesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLeases = LeasesMachine.TestCase
