"""The workbench's texts: units, settings, events, marks, archives."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.repository import Credentials, Repository
from nexus_core.domain.service import CheckType, HealthCheck, ServiceSpec
from nexus_core.ports.workbench import Happening, Run, ServiceEvent, Source
from nexus_systemd import repository
from nexus_systemd.archive import DEV, File, pack, tool
from nexus_systemd.events import Account, begin_line, lines_of
from nexus_systemd.installed import Installed
from nexus_systemd.tasks import unit_file
from nexus_systemd.units import files_of

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
RUN = Run("op-1", 60)


def service(name: str = "api", **more: Any) -> ServiceSpec:
    return ServiceSpec(name, more.pop("command", "exec sleep 1"), **more)


def installed(*services: ServiceSpec, recipe: Recipe | None = None) -> dict[str, File]:
    return {one.path: one for one in files_of(services, recipe or Recipe())}


def test_a_service_comes_after_what_it_depends_on() -> None:
    files = installed(service("db"), service("api", depends_on=("db", "db")), service("elsewhere", command=None))
    unit = files["/etc/systemd/system/nexus-service-api.service"].content
    [after] = [line for line in unit.splitlines() if line.startswith("After=")]
    assert after.count("nexus-service-db.service") == 1
    assert "depends=(db)" in files["/etc/nexus/services/api/settings"].content
    assert "/etc/systemd/system/nexus-service-elsewhere.service" not in files


def test_what_is_run_elsewhere_is_not_waited_for() -> None:
    files = installed(service("api", depends_on=("elsewhere",)), service("elsewhere", command=None, port=9000))
    assert "depends=()" in files["/etc/nexus/services/api/settings"].content
    assert "9000" in files["/etc/nexus/redirect.nft"].content


def test_commands_lie_in_files_of_their_own_that_only_dev_can_read() -> None:
    check = HealthCheck(CheckType.CUSTOM, command="pg_isready -q")
    files = installed(service(command="a 'b' $c\n%d", env={"KEY": "se'cret"}, health_check=check))
    command = files["/etc/nexus/services/api/command"]
    assert (command.content, command.mode, command.uid) == ("a 'b' $c\n%d", 0o700, DEV)
    env = files["/etc/nexus/services/api/env"]
    assert (env.mode, env.uid) == (0o600, DEV)
    assert files["/etc/nexus/services/api/check-command"].content == "pg_isready -q"
    assert "kind=exec" in files["/etc/nexus/services/api/settings"].content
    others = [one for path, one in files.items() if not path.endswith("/env")]
    assert not any("se'cret" in one.content for one in others)


@given(name=st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True).map("X_{}".format), value=TEXT)
def test_any_value_reaches_a_shell_as_it_is(name: str, value: str) -> None:
    env = installed(service(env={name: value}))["/etc/nexus/services/api/env"].content
    script = f'{env}\nprintf %s "${name}"'
    said = subprocess.run(["/bin/bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert said.stdout.decode() == value


def test_scripts_around_the_services_are_one_unit() -> None:
    recipe = Recipe(post_start=("echo up",), pre_stop=("echo down",), env={"A": "b"})
    files = installed(service("a"), service("b"), recipe=recipe)
    unit = files["/etc/systemd/system/nexus-lifecycle.service"].content
    assert "lifecycle post_start a b" in unit
    assert "lifecycle pre_stop" in unit
    assert files["/etc/nexus/post_start/000.script"].content == "echo up"
    assert files["/etc/nexus/env"].mode == 0o600
    assert "post_start a\n" in installed(service("a"))["/etc/systemd/system/nexus-lifecycle.service"].content


@pytest.mark.parametrize("name", ["service.sh", "run.sh", "scripts.sh", "lifecycle.sh", "clone.sh"])
def test_the_programs_are_sound_shell(name: str, tmp_path: Path) -> None:
    program = tool(name)
    assert program.mode == 0o755
    (tmp_path / name).write_text(program.content)
    subprocess.run(["/bin/bash", "-n", str(tmp_path / name)], check=True)


def test_an_archive_keeps_owners_modes_and_links() -> None:
    contents = [File("/a/b", "ü", mode=0o600, uid=DEV), File("/a/c", link="../b")]
    archive = pack(contents)
    assert archive == pack(contents)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        first, second = opened.getmembers()
        content = opened.extractfile(first)
        assert content is not None
        assert content.read() == "ü".encode()
    assert (first.name, first.mode, first.uid, first.gid) == ("a/b", 0o600, DEV, DEV)
    assert (second.issym(), second.linkname) == (True, "../b")


def told(run_id: str, *lines: str) -> list[ServiceEvent]:
    account = Account(run_id)
    return [event for line in lines for event in account.take_in(line)]


def test_only_what_this_run_brought_about_is_told() -> None:
    lines = ("begin: op-0", "db starting", "db healthy", "api ended exit-code exited 1", "- scripts_done")
    events = told("op-1", *lines, begin_line("op-1"), "api starting", begin_line("op-2"), "api healthy")
    assert events == [
        ServiceEvent(Happening.HEALTHY, "db"),
        ServiceEvent(Happening.SCRIPTS_DONE),
        ServiceEvent(Happening.STARTING, "api"),
        ServiceEvent(Happening.HEALTHY, "api"),
    ]


def test_what_did_its_work_is_told_of_again() -> None:
    finished = ServiceEvent(Happening.ENDED, "migration", "It did its work", exit_code=0)
    assert told("op-1", "migration finished", begin_line("op-1")) == [finished]
    assert told("op-1", "migration finished", "migration starting", begin_line("op-1")) == []


def test_what_has_ended_since_is_not_healthy() -> None:
    assert told("op-1", "db healthy", "db ended signal killed KILL", begin_line("op-1")) == []
    assert told("op-1", "- scripts_done", "- script_failed 0 1", begin_line("op-1")) == []


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("db starting", ServiceEvent(Happening.STARTING, "db")),
        ("db failed 3 checks", ServiceEvent(Happening.FAILED, "db", "3 checks")),
        (
            "db ended exit-code exited 3",
            ServiceEvent(Happening.ENDED, "db", "It ended by itself with exit code 3", exit_code=3),
        ),
        (
            "db ended success exited 0",
            ServiceEvent(
                Happening.ENDED,
                "db",
                "It ended by itself with exit code 0; a service has to stay in the foreground",
                exit_code=0,
            ),
        ),
        ("db ended signal killed KILL", ServiceEvent(Happening.ENDED, "db", "It was ended by the signal KILL")),
        ("db ended resources none none", ServiceEvent(Happening.ENDED, "db", "It could not be run (resources)")),
        ("- scripts_done", ServiceEvent(Happening.SCRIPTS_DONE)),
        (
            "- script_failed 1 7",
            ServiceEvent(Happening.SCRIPT_FAILED, reason="The post_start script number 2 ended with exit code 7"),
        ),
    ],
)
def test_each_line_has_a_meaning(line: str, event: ServiceEvent) -> None:
    assert told("op-1", begin_line("op-1"), line) == [event]


@given(st.lists(TEXT))
def test_whatever_else_is_written_there_is_passed_over(lines: list[str]) -> None:
    for event in told("op-1", begin_line("op-1"), *lines, "db ended", "- odd", "- script_failed x 1"):
        assert event.kind in Happening


async def test_lines_are_put_together_from_pieces() -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        for piece in (b"db st", b"arting\ndb healthy\n\xc3", b"\xbc\xff\nrest"):
            yield piece

    assert [line async for line in lines_of(pieces())] == ["db starting", "db healthy", "ü�"]


def test_a_change_of_a_service_is_noticed_and_nothing_is_given_away() -> None:
    one, other = service(env={"KEY": "canary"}), service(env={"KEY": "other"})
    first, second = Installed.of(b"archive", [one]), Installed.of(b"archive", [other])
    assert first.services != second.services
    assert Installed.parse(first.text()) == first
    assert b"canary" not in first.text()
    exposed = service(env={"KEY": "canary"}, port=80, expose=True)
    hidden = service(env={"KEY": "canary"}, port=80)
    assert Installed.of(b"", [exposed]) == Installed.of(b"", [hidden])


@pytest.mark.parametrize("text", [None, b"", b"{", b"[]", b'{"mark": 1}', b'{"mark": "", "services": 3}', b"\xff"])
def test_marks_that_cannot_be_read_are_none(text: bytes | None) -> None:
    assert Installed.parse(text).services == {}


def clone_files(url: str | None, **credentials: str) -> dict[str, File]:
    source = Source(Repository(url=url, branch="main"), Credentials(**credentials))
    return {one.path: one for one in repository._files(source, RUN)}


def test_a_token_lies_where_git_looks_and_nowhere_else() -> None:
    files = clone_files("https://bob@git.example.com:8443/x.git", token="a/b:c")
    line = files["/home/dev/.nexus/git-credentials"]
    assert line.content == "https://bob:a%2Fb%3Ac@git.example.com:8443\n"
    assert (line.mode, line.uid) == (0o600, DEV)
    assert not any("a/b:c" in one.content or "a%2Fb" in one.content for one in files.values() if one is not line)
    assert clone_files("https://github.com/x/y", token="t")["/home/dev/.nexus/git-credentials"].content.startswith(
        "https://x-access-token:t@github.com"
    )


def test_a_deploy_key_is_all_that_ssh_offers() -> None:
    files = clone_files("git@github.com:x/y.git", deploy_key="-----BEGIN X\r\nAAAA\r\n-----END X")
    assert files["/home/dev/.nexus/deploy_key"].content == "-----BEGIN X\nAAAA\n-----END X\n"
    assert "IdentitiesOnly=yes" in files["/etc/nexus/clone/ssh"].content
    without = clone_files("ssh://git@github.com/x/y.git")["/etc/nexus/clone/ssh"].content
    assert "BatchMode=yes" in without
    assert "deploy_key" not in without
    assert clone_files("https://github.com/x/y")["/etc/nexus/clone/ssh"].content == ""
    assert clone_files(None)["/etc/nexus/clone/url"].content == ""


def test_a_unit_ends_itself_when_it_is_out_of_time() -> None:
    file = unit_file("setup", "/bin/true", Run("op-1", 12.4))
    assert file.path == "/etc/systemd/system/nexus-setup@.service"
    assert "TimeoutStartSec=12\n" in file.content
