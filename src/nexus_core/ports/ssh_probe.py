"""Whether a workspace's SSH server can really be reached."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nexus_core.domain.user import PublicKey


class SshProbe(ABC):
    """Shakes hands with an SSH server."""

    @abstractmethod
    async def handshake(self, port: int, expected: PublicKey) -> None:
        """Return once the server behind this published host port has proved to hold the host key.

        Raises `SshNotReady` when nothing answers within a few seconds, the connection is refused or
        it breaks off; `HostKeyMismatch` when another key is proved. Logs in as nobody, reads no
        configuration or agent of the account it runs under, and leaves no connection open.
        """
