"""The workbench above an interior that answers from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.repository import Repository
from nexus_core.domain.service import CheckType, Health, HealthCheck, ServiceSpec
from nexus_core.errors import (
    BundleMissing,
    CloneFailed,
    DeadlineExceeded,
    InvalidConfig,
    ProviderFailed,
    SetupFailed,
)
from nexus_core.ports.interior import Completed, Interior
from nexus_core.ports.workbench import Checkout, Happening, Look, Run, Source
from nexus_systemd import SystemdWorkbench

RUN = Run("op-1", 60)
DONE = "ActiveState=active\nResult=success\nExecMainStatus=0\n"
FAILED = "ActiveState=failed\nResult=exit-code\nExecMainStatus=1\n"
NO_REPOSITORY = Completed(3, "")

Answer = Completed | BaseException


@dataclass
class ScriptedInterior(Interior):
    """Answers commands by a word in them, files by their path; what was done to it is kept."""

    commands: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    files: dict[str, bytes | BaseException] = field(default_factory=dict[str, bytes | BaseException])
    chunks: list[bytes] = field(default_factory=list[bytes])
    asked: list[Sequence[str]] = field(default_factory=list[Sequence[str]])
    closed: bool = False

    async def run(self, name: str, command: Sequence[str], *, within: float) -> Completed:
        self.asked.append(command)
        text = " ".join(command)
        for word, answers in self.commands.items():
            if word in text:
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, BaseException):
                    raise answer
                return answer
        return Completed(0, "")

    async def stream(self, name: str, command: Sequence[str]) -> AsyncGenerator[bytes, None]:
        self.asked.append(command)
        try:
            for chunk in self.chunks:
                yield chunk
        finally:
            self.closed = True

    async def write(self, name: str, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0) -> None:
        self.files[path] = content

    async def upload(self, name: str, path: str, source: str, *, mode: int = 0o644, uid: int = 0) -> None:
        self.files[path] = source.encode()

    async def read(self, name: str, path: str, *, limit: int) -> bytes | None:
        content = self.files.get(path)
        if isinstance(content, BaseException):
            raise content
        return content

    async def connect(self, name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        return None


@pytest.fixture
def interior() -> ScriptedInterior:
    return ScriptedInterior()


@pytest.fixture
def workbench(interior: ScriptedInterior) -> SystemdWorkbench:
    return SystemdWorkbench(interior)


def source(**more: Any) -> Source:
    return Source(replace(Repository(url="https://example.com/x"), **more))


async def test_a_repository_that_is_there_is_not_cloned(
    workbench: SystemdWorkbench, interior: ScriptedInterior
) -> None:
    interior.commands["symbolic-ref"] = [Completed(0, "branch=main\ncommit=abc\n")]
    assert await workbench.clone("i", source(), RUN) == Checkout("main", "abc")
    assert len(interior.asked) == 1


async def test_an_empty_repository_has_no_commit(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["symbolic-ref"] = [NO_REPOSITORY, Completed(0, "branch=main\ncommit=\n")]
    interior.commands["nexus-clone@op-1"] = [Completed(0, DONE)]
    assert await workbench.clone("i", source(), RUN) == Checkout("main", None)


async def test_git_that_does_not_answer_is_said(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["symbolic-ref"] = [Completed(127, "git: not found")]
    with pytest.raises(ProviderFailed, match="git: not found"):
        await workbench.clone("i", source(), RUN)


async def test_a_bundle_is_put_inside(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["symbolic-ref"] = [NO_REPOSITORY, NO_REPOSITORY, Completed(0, "branch=main\ncommit=abc\n")]
    interior.commands["nexus-clone@op-1"] = [Completed(0, DONE)]
    with pytest.raises(BundleMissing):
        await workbench.clone("i", source(url=None, bundle=True), RUN)
    await workbench.clone("i", Source(Repository(bundle=True), bundle_path="/kept/x"), RUN)
    assert interior.files["/home/dev/.nexus/repository.bundle"] == b"/kept/x"


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("fatal: Remote branch nope not found in upstream origin", "There is no branch 'nope'"),
        ("git@github.com: Permission denied (publickey).", "repo.deploy_key"),
        ("fatal: could not read Username for 'https://github.com'", "repo.token"),
        ("fatal: Authentication failed for 'https://x'", "repo.token"),
        ("remote: Repository not found.", "Check the address"),
        ("fatal: unable to access: Could not resolve host: nowhere", "Check the host's name"),
        ("fatal: /home/dev/workspace is not empty; move it aside", "Move away"),
        ("fatal: something new", "what opens it"),
    ],
)
async def test_gits_reason_comes_with_a_way_out(
    workbench: SystemdWorkbench, interior: ScriptedInterior, said: str, way_out: str
) -> None:
    interior.commands["symbolic-ref"] = [NO_REPOSITORY]
    interior.commands["nexus-clone@op-1"] = [Completed(0, FAILED)]
    interior.files["/home/dev/.nexus/output"] = f"Cloning into 'x'...\n{said}\n".encode()
    with pytest.raises(CloneFailed) as failure:
        await workbench.clone("i", source(branch="nope"), RUN)
    assert said in failure.value.message
    assert way_out in failure.value.message
    assert "Cloning into" not in failure.value.message


async def test_a_bundle_that_is_none_is_to_be_sent_again(
    workbench: SystemdWorkbench, interior: ScriptedInterior
) -> None:
    interior.commands["symbolic-ref"] = [NO_REPOSITORY]
    interior.commands["nexus-clone@op-1"] = [Completed(0, FAILED)]
    interior.files["/home/dev/.nexus/output"] = b"fatal: does not look like a v2 or v3 bundle file\n"
    with pytest.raises(CloneFailed, match="send it again"):
        await workbench.clone("i", Source(Repository(bundle=True), bundle_path="/kept/x"), RUN)


@pytest.mark.parametrize(
    "answer", [Completed(0, "ActiveState=failed\nResult=timeout\nExecMainStatus=15\n"), TimeoutError()]
)
async def test_work_that_is_out_of_time_is_said(
    workbench: SystemdWorkbench, interior: ScriptedInterior, answer: Answer
) -> None:
    interior.commands["nexus-setup@op-1"] = [answer]
    with pytest.raises(DeadlineExceeded, match="60 seconds"):
        await workbench.run_setup("i", Recipe(setup=("true",)), RUN)


async def test_a_systemd_that_does_not_answer_is_said(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["nexus-setup@op-1"] = [Completed(1, "Failed to connect to bus")]
    with pytest.raises(ProviderFailed, match="Failed to connect to bus"):
        await workbench.run_setup("i", Recipe(setup=("true",)), RUN)


async def test_a_failed_script_is_named_with_its_output(
    workbench: SystemdWorkbench, interior: ScriptedInterior
) -> None:
    interior.commands["nexus-setup@op-1"] = [Completed(0, FAILED)]
    interior.files["/home/dev/.nexus/failed"] = b"1 7\n"
    interior.commands["--lines"] = [ProviderFailed("it does not run")]
    interior.files["/var/log/nexus/setup.log"] = b"==> a\nfine\n==> b\nthe reason\n==> ended with exit code 7\n"
    with pytest.raises(SetupFailed) as failure:
        await workbench.run_setup("i", Recipe(setup=("a", "#!/bin/sh\n# about\nb")), RUN)
    assert "2 of 2 (`b`) ended with exit code 7" in failure.value.what
    assert "the reason" in failure.value.why
    assert "fine" not in failure.value.why
    interior.files["/var/log/nexus/setup.log"] = b""
    with pytest.raises(SetupFailed, match="wrote nothing"):
        await workbench.run_setup("i", Recipe(setup=("a", "b")), RUN)


async def test_a_setup_that_was_broken_off_is_said(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["nexus-setup@op-1"] = [Completed(0, FAILED)]
    with pytest.raises(SetupFailed, match="broken off"):
        await workbench.run_setup("i", Recipe(setup=("a",)), RUN)


async def test_only_the_first_file_is_read(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    assert await workbench.read_files("i", ["a", "b"]) == {}
    interior.commands["first-of"] = [Completed(0, "b")]
    assert await workbench.read_files("i", ["a", "b"]) == {}
    path = "/home/dev/workspace/b"
    interior.files[path] = "\ufefftext".encode()
    assert await workbench.read_files("i", ["a", "b"]) == {"b": "text"}
    interior.files[path] = b"one\n\xff"
    with pytest.raises(InvalidConfig, match="b, line 2"):
        await workbench.read_files("i", ["a", "b"])
    interior.files[path] = ProviderFailed("it is longer than 1 byte")
    with pytest.raises(InvalidConfig, match="longer"):
        await workbench.read_files("i", ["a", "b"])


async def test_only_what_changed_is_stopped_and_put_there_again(
    workbench: SystemdWorkbench, interior: ScriptedInterior
) -> None:
    one, two = ServiceSpec("one", "sleep 1"), ServiceSpec("two", "sleep 1")
    await workbench.install("i", [one, two], Recipe())
    interior.asked.clear()
    await workbench.install("i", [one, two], Recipe())
    assert interior.asked == []
    await workbench.install("i", [one], Recipe())
    assert interior.asked[0][-2:] == ["stop", "two"]


async def test_what_cannot_be_put_in_place_is_said(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["tar --extract"] = [Completed(2, "tar: No space left on device")]
    with pytest.raises(ProviderFailed, match="No space left"):
        await workbench.install("i", [ServiceSpec("one", "sleep 1")], Recipe())


async def test_events_are_followed_and_let_go(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.chunks = [b"begin: op-1\ndb star", b"ting\ndb healthy\n"]
    events = workbench.start("i", RUN)
    assert [(await anext(events)).kind, (await anext(events)).kind] == [Happening.STARTING, Happening.HEALTHY]
    await events.aclose()
    assert interior.closed


@pytest.mark.parametrize(("code", "is_fine"), [(0, True), (5, True), (1, False)])
async def test_stopping_what_is_not_there_is_fine(
    workbench: SystemdWorkbench, interior: ScriptedInterior, code: int, is_fine: bool
) -> None:
    interior.commands['systemctl stop "${units'] = [Completed(code, "why not")]
    if is_fine:
        await workbench.stop("i", ["one"])
    else:
        with pytest.raises(ProviderFailed, match="why not"):
            await workbench.stop("i", ["one"])


async def test_a_restart_that_is_refused_is_said(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    await workbench.restart("i", "one")
    assert interior.asked[-1][-1] == "nexus-service-one.service"
    interior.commands["restart one"] = [Completed(1, "Unit is masked")]
    with pytest.raises(ProviderFailed, match="masked"):
        await workbench.restart("i", "one")


def checked(kind: CheckType) -> ServiceSpec:
    command = "true" if kind in (CheckType.EXEC, CheckType.CUSTOM) else None
    return ServiceSpec("one", "sleep 1", port=80, health_check=HealthCheck(kind, command=command, timeout=2))


@pytest.mark.parametrize("kind", [CheckType.TCP, CheckType.HTTP, CheckType.EXEC, CheckType.CUSTOM])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Completed(0, ""), Look(Health.HEALTHY)),
        (Completed(124, ""), Look(Health.TIMEOUT, "No answer within 2 seconds")),
        (TimeoutError(), Look(Health.TIMEOUT, "No answer within 2 seconds")),
        (
            Completed(2, "first\nno such table\n"),
            Look(Health.UNHEALTHY, "The check ended with exit code 2: no such table"),
        ),
        (Completed(2, ""), Look(Health.UNHEALTHY, "The check ended with exit code 2")),
    ],
)
async def test_a_look_by_a_command_inside(
    workbench: SystemdWorkbench,
    interior: ScriptedInterior,
    kind: CheckType,
    answer: Answer,
    expected: Look,
) -> None:
    interior.commands["service look one"] = [answer]
    assert await workbench.look("i", checked(kind)) == expected


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (Completed(0, "active\n"), Health.HEALTHY),
        (Completed(0, "activating\n"), Health.UNHEALTHY),
        (Completed(0, "finished\n"), Health.UNKNOWN),
        (TimeoutError(), Health.TIMEOUT),
    ],
)
async def test_a_look_at_whether_the_command_runs(
    workbench: SystemdWorkbench, interior: ScriptedInterior, answer: Answer, health: Health
) -> None:
    interior.commands["ActiveState"] = [answer]
    assert (await workbench.look("i", checked(CheckType.NONE))).health is health


async def test_logs_come_from_the_journal_or_the_log(workbench: SystemdWorkbench, interior: ScriptedInterior) -> None:
    interior.commands["journalctl"] = [Completed(0, "said\n")]
    assert await workbench.tail("i", "one", lines=5) == "said\n"
    interior.commands["tail --lines"] = [Completed(0, "b\n")]
    assert await workbench.tail("i", None, lines=1) == "b\n"
    interior.commands["tail --lines"] = [ProviderFailed("it does not run")]
    interior.files["/var/log/nexus/setup.log"] = b"a\nb\n\xff\n"
    assert await workbench.tail("i", None, lines=2) == "b\n�\n"
    assert await workbench.tail("i", None, lines=0) == ""


@pytest.mark.parametrize(("service", "word"), [(None, "/var/log/nexus/setup.log"), ("one", "--follow")])
async def test_logs_are_followed(
    workbench: SystemdWorkbench, interior: ScriptedInterior, service: str | None, word: str
) -> None:
    interior.chunks = [b"a", b"b"]
    assert [chunk async for chunk in workbench.follow("i", service, lines=3)] == [b"a", b"b"]
    assert any(word in part for part in interior.asked[-1])
