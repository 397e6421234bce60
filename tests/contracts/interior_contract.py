"""What every `Interior` promises, by ports/interior.py.

A test module of an adapter derives from `InteriorContract` and gives it a fixture ``stage``. The commands that are
run are `true`, `echo`, `cat`, `sleep`, `stat`, `sha256sum` and short scripts for `sh`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus_core.errors import InstanceMissing, InstanceStopped, NexusError, ProviderFailed, ProviderUnavailable
from nexus_core.ports.interior import Completed, Interior

MIB = 1024**2


@dataclass(frozen=True)
class InteriorStage:
    """One machine, and on it instances that tests share."""

    interior: Interior
    away: Interior  # one whose machine does not answer
    running: str
    stopped: str
    frozen: str
    foreign: str  # another server's, running


Call = Callable[[Interior, str], Awaitable[object]]


async def _first(interior: Interior, name: str) -> object:
    return await anext(interior.stream(name, ["true"]))


CALLS: dict[str, Call] = {
    "run": lambda interior, name: interior.run(name, ["true"], within=10),
    "stream": _first,
    "write": lambda interior, name: interior.write(name, "/root/written", b"x"),
    "upload": lambda interior, name: interior.upload(name, "/root/sent", __file__),
    "read": lambda interior, name: interior.read(name, "/etc/hostname", limit=100),
    "connect": lambda interior, name: interior.connect(name, 22),
}


# What takes somebody inside; files can be put into an instance that does not run.
NEEDS_IT_RUNNING = [(name, where) for name in ("run", "stream", "connect") for where in ("stopped", "frozen")]


class InteriorContract(ABC):
    """The promises, one test each."""

    @abstractmethod
    async def listen(self, stage: InteriorStage, address: str, port: int) -> None:
        """Let a program in the running instance listen there, and greet whoever comes with ``hello``."""

    @abstractmethod
    async def runs(self, stage: InteriorStage, command: str) -> bool:
        """Whether a command of that text runs in the running instance."""

    # --- whose it is ---

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_an_instance_that_is_not_there_is_missing(self, stage: InteriorStage, call: Call) -> None:
        with pytest.raises(InstanceMissing):
            await call(stage.interior, "nexus-nothing")

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_another_servers_instance_is_as_if_it_were_not_there(self, stage: InteriorStage, call: Call) -> None:
        with pytest.raises(InstanceMissing):
            await call(stage.interior, stage.foreign)

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_a_machine_that_does_not_answer_is_away(self, stage: InteriorStage, call: Call) -> None:
        with pytest.raises(ProviderUnavailable):
            await call(stage.away, stage.running)

    @pytest.mark.parametrize(("call", "where"), [*NEEDS_IT_RUNNING, ("read", "frozen")])
    async def test_in_an_instance_that_does_not_run_nothing_is_done_and_that_is_said_at_once(
        self, stage: InteriorStage, call: str, where: str
    ) -> None:
        name = getattr(stage, where)
        async with asyncio.timeout(5):
            try:
                done = await CALLS[call](stage.interior, name)
            except InstanceStopped:
                pass
            else:
                assert (call, done) == ("connect", None)  # a provider that runs elsewhere

    # --- commands ---

    async def test_a_command_ends_with_its_code_and_output(self, stage: InteriorStage) -> None:
        assert await stage.interior.run(stage.running, ["true"], within=10) == Completed(0, "")
        assert await stage.interior.run(stage.running, ["echo", "hello"], within=10) == Completed(0, "hello\n")
        failed = await stage.interior.run(stage.running, ["sh", "-c", "echo why; exit 7"], within=10)
        assert failed == Completed(7, "why\n")

    async def test_both_outputs_are_one(self, stage: InteriorStage) -> None:
        done = await stage.interior.run(stage.running, ["sh", "-c", "echo one; echo two >&2"], within=10)
        assert sorted(done.output.split()) == ["one", "two"]

    async def test_arguments_meet_no_shell(self, stage: InteriorStage) -> None:
        odd = "$HOME; `id` 'a\" *\n"
        assert (await stage.interior.run(stage.running, ["echo", odd], within=10)).output == f"{odd}\n"

    async def test_a_command_has_no_input(self, stage: InteriorStage) -> None:
        assert await stage.interior.run(stage.running, ["cat"], within=10) == Completed(0, "")

    async def test_a_command_that_is_not_there_is_one_that_failed(self, stage: InteriorStage) -> None:
        assert (await stage.interior.run(stage.running, ["no-such-command"], within=10)).exit_code == 127

    async def test_output_that_is_no_text_is_no_obstacle(self, stage: InteriorStage) -> None:
        done = await stage.interior.run(stage.running, ["sh", "-c", r"printf 'a\377b'"], within=10)
        assert done.output == "a\N{REPLACEMENT CHARACTER}b"

    async def test_of_a_long_output_the_end_is_kept(self, stage: InteriorStage) -> None:
        script = "i=0; while [ $i -lt 200000 ]; do echo line $i; i=$((i + 1)); done"
        output = (await stage.interior.run(stage.running, ["sh", "-c", script], within=60)).output
        assert output.endswith("line 199998\nline 199999\n")
        assert 1000 < len(output) < MIB

    async def test_many_at_once_get_each_their_own(self, stage: InteriorStage) -> None:
        done = await asyncio.gather(
            *(stage.interior.run(stage.running, ["echo", str(each)], within=30) for each in range(20))
        )
        assert [one.output for one in done] == [f"{each}\n" for each in range(20)]

    async def test_a_command_whose_time_is_over_is_killed(self, stage: InteriorStage) -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await stage.interior.run(stage.running, ["sh", "-c", "sleep 61.25; echo never"], within=0.5)
        assert 0.4 < time.monotonic() - began < 5
        assert not await self.runs(stage, "sleep 61.25")

    async def test_a_command_whose_caller_is_cancelled_is_ended(self, stage: InteriorStage) -> None:
        call = asyncio.create_task(stage.interior.run(stage.running, ["sleep", "62.25"], within=60))
        for _ in range(100):
            if await self.runs(stage, "sleep 62.25"):
                break
        began = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - began < 10
        assert not await self.runs(stage, "sleep 62.25")

    # --- streams ---

    async def test_a_stream_gives_what_is_written_to_the_end(self, stage: InteriorStage) -> None:
        stream = stage.interior.stream(stage.running, ["sh", "-c", "echo one; sleep 0.2; echo two; exit 3"])
        assert b"".join([piece async for piece in stream]) == b"one\ntwo\n"

    async def test_a_stream_gives_what_there_is_and_ends_when_it_is_closed(self, stage: InteriorStage) -> None:
        stream = stage.interior.stream(stage.running, ["sh", "-c", "echo now; sleep 63.25; echo never"])
        assert await asyncio.wait_for(anext(stream), 5) == b"now\n"
        began = time.monotonic()
        await stream.aclose()
        assert time.monotonic() - began < 10
        assert not await self.runs(stage, "sleep 63.25")

    async def test_a_stream_that_nobody_takes_from_is_no_harm(self, stage: InteriorStage) -> None:
        stream = stage.interior.stream(stage.running, ["cat", "/dev/zero"])
        assert set(await anext(stream)) == {0}
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await stream.aclose()
        assert time.monotonic() - began < 5
        assert not await self.runs(stage, "cat /dev/zero")

    # --- files ---

    @pytest.mark.parametrize("where", ["running", "stopped"])
    async def test_what_is_written_is_read(self, stage: InteriorStage, where: str) -> None:
        name, content = getattr(stage, where), os.urandom(5000)
        await stage.interior.write(name, "/root/a file", content)
        assert await stage.interior.read(name, "/root/a file", limit=5000) == content
        await stage.interior.write(name, "/root/a file", b"")
        assert await stage.interior.read(name, "/root/a file", limit=0) == b""

    @pytest.mark.parametrize("where", ["running", "stopped"])
    async def test_what_cannot_be_read(self, stage: InteriorStage, where: str) -> None:
        name = getattr(stage, where)
        for path in ("/root/nothing", "/no/folder/either", "/etc/hostname/beneath-a-file"):
            assert await stage.interior.read(name, path, limit=100) is None
        with pytest.raises(ProviderFailed):
            await stage.interior.read(name, "/etc", limit=100)
        await stage.interior.write(name, "/root/long", b"12345")
        with pytest.raises(ProviderFailed):
            await stage.interior.read(name, "/root/long", limit=4)

    async def test_a_file_has_its_mode_and_owner_also_in_place_of_another(self, stage: InteriorStage) -> None:
        for mode, uid in ((0o600, 1000), (0o755, 0)):
            await stage.interior.write(stage.running, "/root/owned", b"x", mode=mode, uid=uid)
            done = await stage.interior.run(stage.running, ["stat", "-c", "%a %u %g", "/root/owned"], within=10)
            assert done.output == f"{mode:o} {uid} {uid}\n"

    async def test_a_file_in_a_folder_that_is_not_there_is_refused(self, stage: InteriorStage) -> None:
        with pytest.raises(ProviderFailed):
            await stage.interior.write(stage.running, "/no/folder/file", b"x")

    @pytest.mark.parametrize("where", ["running", "stopped"])
    async def test_a_file_of_the_host_is_uploaded(self, stage: InteriorStage, where: str, tmp_path: Path) -> None:
        name, content = getattr(stage, where), os.urandom(3 * MIB + 1)
        source = tmp_path / "source"
        source.write_bytes(content)
        await stage.interior.upload(name, "/root/uploaded", str(source), mode=0o640, uid=1000)
        assert await stage.interior.read(name, "/root/uploaded", limit=len(content)) == content
        if where == "running":
            done = await stage.interior.run(name, ["stat", "-c", "%a %u", "/root/uploaded"], within=10)
            assert done.output == "640 1000\n"
            done = await stage.interior.run(name, ["sha256sum", "/root/uploaded"], within=10)
            assert done.output.split()[0] == hashlib.sha256(content).hexdigest()

    async def test_a_file_of_the_host_that_is_not_there_is_an_error(self, stage: InteriorStage, tmp_path: Path) -> None:
        with pytest.raises(ProviderFailed) as refusal:
            await stage.interior.upload(stage.running, "/root/uploaded", str(tmp_path / "nothing"))
        assert str(tmp_path) not in refusal.value.message

    # --- ports ---

    @pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 4101), ("::1", 4102)])
    async def test_a_port_on_loopback_is_reached(self, stage: InteriorStage, address: str, port: int) -> None:
        await self.listen(stage, address, port)
        for _ in range(3):
            connected = await stage.interior.connect(stage.running, port)
            if connected is None:
                pytest.skip("this provider runs elsewhere")
            reader, writer = connected
            assert await reader.readline() == b"hello\n"
            writer.close()
            await writer.wait_closed()

    async def test_a_port_where_nobody_listens_refuses(self, stage: InteriorStage) -> None:
        for _ in range(2):
            try:
                connected = await stage.interior.connect(stage.running, 4103)
            except NexusError as error:
                pytest.fail(f"not as a program inside would meet it: {error}")
            except OSError as error:
                assert isinstance(error, ConnectionRefusedError)  # noqa: PT017  # one of several outcomes
            else:
                assert connected is None
