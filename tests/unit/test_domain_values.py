"""Users, workspaces, operations and tokens as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.samples import NOW, later, token, user, workspace
from nexus_core.domain.lifecycle import TRANSITIONS, Status
from nexus_core.domain.operation import (
    BEGINS_AS,
    DEADLINES,
    ENDS_AS,
    ONCE,
    PROVISIONING,
    Operation,
    OperationKind,
    OperationStatus,
    Step,
    StepName,
    StepStatus,
    plan,
)
from nexus_core.domain.token import digest
from nexus_core.domain.user import (
    Caller,
    HostKeyPair,
    PublicKey,
    check_email,
    check_github_username,
)
from nexus_core.domain.workspace import check_image, check_workspace_name, container_name
from nexus_core.errors import Forbidden, InvalidRequest

N = StepName


class TestNames:
    @pytest.mark.parametrize("name", ["a", "Octo-Cat", "x" * 39, "0", "a-b-c"])
    def test_github_names(self, name: str) -> None:
        assert check_github_username(name) == name

    @pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "x" * 40, "a b", "a_b", "é", "a\n", "a" * 10_000])
    def test_what_is_no_github_name(self, name: str) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            check_github_username(name)

        assert list(refusal.value.details) == ["$.github_username"]
        assert len(refusal.value.message) < 400

    @given(name=st.text("abAB09-", max_size=45))
    def test_github_names_follow_githubs_own_rule(self, name: str) -> None:
        sound = 1 <= len(name) <= 39 and not name.startswith("-") and not name.endswith("-") and "--" not in name
        try:
            check_github_username(name)
        except InvalidRequest:
            assert not sound
        else:
            assert sound

    @pytest.mark.parametrize("name", ["a", "web", "my-project-2", "a--b", "x" * 63])
    def test_workspace_names(self, name: str) -> None:
        assert check_workspace_name(name) == name

    @pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "A", "a_b", "a.b", "x" * 64, "a\n", "é"])
    def test_what_is_no_workspace_name(self, name: str) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            check_workspace_name(name)

        assert list(refusal.value.details) == ["$.workspace_name"]

    @pytest.mark.parametrize("reference", ["nexus-base", "ubuntu:22.04", "images:debian/12", "a" * 255, "3f9a0c"])
    def test_images(self, reference: str) -> None:
        assert check_image(reference) == reference

    @pytest.mark.parametrize("reference", ["", "-x", "/etc/passwd", "a b", "a\n", "a" * 256, "ü"])
    def test_what_is_no_image(self, reference: str) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            check_image(reference)

        assert list(refusal.value.details) == ["$.image"]

    @pytest.mark.parametrize("address", [None, "a@b", "first.last+tag@mail.example.com"])
    def test_addresses(self, address: str | None) -> None:
        assert check_email(address) == address

    @pytest.mark.parametrize(
        "address", ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "x" * 65 + "@b", "a@" + "x" * 190]
    )
    def test_what_is_no_address(self, address: str) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            check_email(address)

        assert list(refusal.value.details) == ["$.email"]

    def test_a_container_is_named_for_its_workspace(self) -> None:
        assert container_name("ws-8f3k2m9q4t1z") == "nexus-8f3k2m9q4t1z"


class TestKeys:
    def test_a_private_key_is_not_shown(self) -> None:
        pair = HostKeyPair(private="-----BEGIN secret", public=PublicKey("ssh-ed25519 AAAA", "SHA256:abc"))

        assert repr(pair) == "HostKeyPair(public=SHA256:abc)"


class TestCaller:
    def test_the_administrator_sees_everything_and_names_the_owner(self) -> None:
        admin = Caller(user=None)

        assert admin.is_admin
        assert admin.may_see("anybody")
        assert admin.acting_for("Person-1") == "Person-1"
        with pytest.raises(InvalidRequest) as refusal:
            admin.acting_for(None, field="owner")
        assert list(refusal.value.details) == ["$.owner"]

    def test_a_user_sees_and_acts_for_itself_alone(self) -> None:
        one = user(1)
        caller = Caller(user=one)

        assert one.name == "Person-1"
        assert not caller.is_admin
        assert caller.may_see(one.id)
        assert not caller.may_see(user(2).id)
        assert caller.acting_for(None) == caller.acting_for("pERSON-1") == "Person-1"
        with pytest.raises(Forbidden):
            caller.acting_for("Person-2")


class TestTokens:
    def test_only_the_digest_is_kept(self) -> None:
        # As `printf nxs_abc | sha256sum` has it.
        assert digest("nxs_abc") == "8c5a7045df20b0649f7fff09aa7dd09680e09cc559c40ab95e5491cb8ef9cf15"

    def test_one_without_an_end_is_valid_for_ever(self) -> None:
        assert replace(token(), expires_at=None).is_valid(later(10**9))

    def test_one_with_an_end_is_valid_until_then(self) -> None:
        ending = replace(token(), expires_at=later(60))

        assert ending.is_valid(later(59.999))
        assert not ending.is_valid(later(60))


class TestWorkspace:
    def test_becoming_something_keeps_the_rest(self) -> None:
        before = workspace(status=Status.CREATING)

        after = before.become(Status.RUNNING, later(1))

        assert after == replace(before, status=Status.RUNNING, updated_at=later(1), started_at=later(1))


def operation(*steps: Step, status: OperationStatus = OperationStatus.RUNNING) -> Operation:
    return Operation("op-1", "ws-1", OperationKind.CREATE, status, steps, created_at=NOW, started_at=NOW)


class TestOperations:
    @pytest.mark.parametrize("kind", OperationKind)
    def test_what_an_operation_passes_through_is_in_the_lifecycle(self, kind: OperationKind) -> None:
        during, after = BEGINS_AS[kind], ENDS_AS[kind]

        assert (during is None) == (after is None)
        if during is not None:
            assert after in TRANSITIONS[during]

    @pytest.mark.parametrize("kind", OperationKind)
    def test_every_step_that_runs_has_a_deadline(self, kind: OperationKind) -> None:
        for step in plan(kind, workspace()):
            assert step.status is StepStatus.SKIPPED or DEADLINES[step.name] > 0

    @pytest.mark.parametrize("kind", OperationKind)
    def test_a_plan_lists_each_step_once_and_skips_what_there_is_none_of(self, kind: OperationKind) -> None:
        names = [step.name for step in plan(kind, workspace())]

        assert len(set(names)) == len(names) >= 1

    def test_a_creation_shows_every_step_of_the_way(self) -> None:
        assert tuple(step.name for step in plan(OperationKind.CREATE, workspace())) == PROVISIONING

    def test_what_was_done_once_is_not_done_again(self) -> None:
        made = workspace(provisioned=frozenset({N.CREATE_INSTANCE, N.START_INSTANCE}))

        statuses = {step.name: step.status for step in plan(OperationKind.START, made)}

        assert statuses[N.CREATE_INSTANCE] is StepStatus.SKIPPED
        assert statuses[N.START_INSTANCE] is StepStatus.PENDING  # not one of those that last
        assert N.START_INSTANCE not in ONCE

    def test_work_goes_on_at_the_first_step_that_is_not_over(self) -> None:
        done, skipped = Step(N.CREATE_INSTANCE, StepStatus.DONE), Step(N.RUN_SETUP, StepStatus.SKIPPED)
        running, pending = Step(N.PUBLISH_SSH, StepStatus.RUNNING), Step(N.WAIT_FOR_SSH)

        assert operation(done, skipped, running, pending).next_step == 2
        assert operation(pending, done).next_step == 0
        assert operation(done, skipped, Step(N.PUBLISH_SSH, StepStatus.FAILED)).next_step is None

    def test_a_step_can_be_replaced(self) -> None:
        one, two, three = (Step(name) for name in (N.CREATE_INSTANCE, N.PUBLISH_SSH, N.START_INSTANCE))
        done = replace(two, status=StepStatus.DONE)

        assert operation(one, two, three).with_step(1, done).steps == (one, done, three)

    def test_it_lasts_from_being_taken_up_to_its_end(self) -> None:
        running = operation(Step(N.CREATE_INSTANCE))

        assert running.duration_ms is None
        assert replace(running, finished_at=later(1.5)).duration_ms == 1500
        assert replace(running, started_at=None, finished_at=later(1.5)).duration_ms is None

    def test_what_is_given_up_is_marked_so_and_what_was_over_stays(self) -> None:
        done = Step(N.CREATE_INSTANCE, StepStatus.DONE, NOW, 10)
        running = Step(N.PUBLISH_SSH, StepStatus.RUNNING, later(1))
        ahead = Step(N.START_INSTANCE, StepStatus.RUNNING, later(1) + timedelta(hours=1))  # the clock was set back
        pending = Step(N.WAIT_FOR_SSH)

        given_up = operation(done, running, ahead, pending).cancelled(later(3))

        assert given_up.status is OperationStatus.CANCELLED
        assert given_up.finished_at == later(3)
        assert given_up.steps == (
            done,
            replace(running, status=StepStatus.CANCELLED, duration_ms=2000),
            replace(ahead, status=StepStatus.CANCELLED, duration_ms=0),
            replace(pending, status=StepStatus.CANCELLED),
        )
        assert given_up.next_step is None
