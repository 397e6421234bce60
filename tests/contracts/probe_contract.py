"""What every `SshProbe` promises, by ports/ssh_probe.py.

A test module of an adapter derives from `ProbeContract` and gives it a fixture ``stage``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from nexus_core.domain.user import HostKeyPair
from nexus_core.errors import HostKeyMismatch, SshNotReady
from nexus_core.ports.public_keys import PublicKeys
from nexus_core.ports.ssh_probe import SshProbe


@dataclass(frozen=True)
class ProbeStage:
    """A probe, and SSH servers for it to find."""

    probe: SshProbe
    keys: PublicKeys
    serve: Callable[[HostKeyPair], Awaitable[int]]  # the port at which a server with this host key now answers
    silent: int  # a port at which nothing answers


class ProbeContract:
    """Derive from it and provide ``stage``."""

    async def test_the_expected_key_is_recognised_every_time(self, stage: ProbeStage) -> None:
        pair = stage.keys.generate_host_key()
        port = await stage.serve(pair)

        await stage.probe.handshake(port, pair.public)
        await stage.probe.handshake(port, pair.public)

    async def test_another_key_is_noticed(self, stage: ProbeStage) -> None:
        pair, other = stage.keys.generate_host_key(), stage.keys.generate_host_key()
        port = await stage.serve(pair)

        with pytest.raises(HostKeyMismatch) as mismatch:
            await stage.probe.handshake(port, other.public)

        assert str(port) in mismatch.value.what

    async def test_a_port_where_nothing_answers_is_not_ready(self, stage: ProbeStage) -> None:
        with pytest.raises(SshNotReady) as refusal:
            await stage.probe.handshake(stage.silent, stage.keys.generate_host_key().public)

        assert str(stage.silent) in refusal.value.what
