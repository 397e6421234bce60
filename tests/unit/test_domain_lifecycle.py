"""The life of a workspace: the table, what people may ask, and walks through all of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.samples import NOW, workspace
from nexus_core.domain.lifecycle import IN_TRANSIT, TRANSITIONS, Move, Status, allowed_moves, begin, check, diagram
from nexus_core.domain.workspace import Failure
from nexus_core.errors import InvalidStatusTransition, WorkspaceAlreadyStopped

S = Status
AT_REST = frozenset(Status) - IN_TRANSIT
FAILURE = Failure("ssh_not_ready", "No SSH server answers.", "wait_for_ssh")


class LifeOfAWorkspace(RuleBasedStateMachine):
    """Moves are asked for and work ends as the table says; everything else is refused and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.workspace = workspace(status=S.PENDING)
        self.now = NOW

    @rule(move=st.sampled_from(Move))
    def ask(self, move: Move) -> None:
        status = self.workspace.status
        if move in allowed_moves(status):
            self.become(begin(status, move))
            return
        with pytest.raises((InvalidStatusTransition, WorkspaceAlreadyStopped)):
            begin(status, move)

    @precondition(lambda self: bool(TRANSITIONS[self.workspace.status]))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        self.become(data.draw(st.sampled_from(sorted(TRANSITIONS[self.workspace.status]))))

    @rule(status=st.sampled_from(Status))
    def try_to_become(self, status: Status) -> None:
        if status in TRANSITIONS[self.workspace.status]:
            return
        with pytest.raises(InvalidStatusTransition) as refusal:
            self.workspace.become(status, self.now)
        assert refusal.value.details == {
            "from": self.workspace.status,
            "to": status,
            "allowed": sorted(TRANSITIONS[self.workspace.status]),
        }

    def become(self, status: Status) -> None:
        before = self.workspace
        self.now += timedelta(seconds=1)
        self.workspace = before.become(status, self.now, error=FAILURE if status is S.ERROR else None)
        assert self.workspace.status is status
        assert self.workspace.updated_at == self.now
        assert self.workspace.started_at == (self.now if status is S.RUNNING else before.started_at)
        assert self.workspace.stopped_at == (self.now if status is S.STOPPED else before.stopped_at)

    @invariant()
    def an_error_is_told_exactly_while_there_is_one(self) -> None:
        assert (self.workspace.error is not None) == (self.workspace.status is S.ERROR)

    @invariant()
    def it_is_deleted_once_and_for_all(self) -> None:
        assert (self.workspace.deleted_at is not None) == (self.workspace.status is S.DELETED)

    @invariant()
    def it_can_be_deleted_unless_it_is_being_deleted(self) -> None:
        deletable = Move.DELETE in allowed_moves(self.workspace.status)
        assert deletable == (self.workspace.status not in {S.DELETING, S.DELETED})

    @invariant()
    def whatever_is_under_way_can_come_to_rest(self) -> None:
        if self.workspace.status in IN_TRANSIT:
            reachable = reachable_from(self.workspace.status)
            assert reachable & AT_REST


TestLifeOfAWorkspace = LifeOfAWorkspace.TestCase


def reachable_from(status: Status) -> set[Status]:
    found: set[Status] = set()
    frontier = {status}
    while frontier:
        frontier = {new for old in frontier for new in TRANSITIONS[old]} - found
        found |= frontier
    return found


def test_the_table_knows_every_status_and_leads_to_each() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert reachable_from(S.PENDING) == set(Status) - {S.PENDING}


def test_only_deleted_is_final_and_nothing_follows_itself() -> None:
    assert [status for status, following in TRANSITIONS.items() if not following] == [S.DELETED]
    assert all(status not in following for status, following in TRANSITIONS.items())


def test_every_end_is_reached_from_everywhere_else() -> None:
    for status in set(Status) - {S.DELETED}:
        assert S.DELETED in reachable_from(status)


def test_a_move_begins_where_its_name_leads() -> None:
    assert begin(S.STOPPED, Move.START) is S.STARTING
    assert begin(S.ERROR, Move.START) is S.STARTING
    assert begin(S.CREATING, Move.STOP) is S.STOPPING
    assert begin(S.ERROR, Move.STOP) is S.STOPPING
    assert begin(S.STOPPING, Move.DELETE) is S.DELETING


def test_stopping_what_is_stopped_has_an_error_of_its_own() -> None:
    with pytest.raises(WorkspaceAlreadyStopped):
        begin(S.STOPPED, Move.STOP)


def test_a_move_that_is_not_allowed_names_those_that_are() -> None:
    with pytest.raises(InvalidStatusTransition) as refusal:
        begin(S.CREATING, Move.START)

    assert refusal.value.details == {"from": "creating", "to": "running", "allowed": ["stopped", "deleted"]}


def test_check_answers_the_new_status() -> None:
    assert check(S.CREATING, S.RUNNING) is S.RUNNING


def test_the_diagram_shows_every_change_of_the_table_and_no_other() -> None:
    lines = diagram().splitlines()

    assert lines[0] == "stateDiagram-v2"
    assert set(lines[1:]) == {
        "    [*] --> pending",
        "    deleted --> [*]",
        *(f"    {status} --> {new}" for status, following in TRANSITIONS.items() for new in following),
    }
    assert len(lines) == len(set(lines))
