"""Shaking hands with a workspace's SSH server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncssh

from nexus_core.domain.user import PublicKey
from nexus_core.errors import HostKeyMismatch
from nexus_core.ports.ssh_probe import SshProbe
from nexus_ssh.errors import not_ready
from nexus_ssh.keys import describe

_HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class AsyncsshProbe(SshProbe):
    """An `SshProbe` that goes as far as the key exchange and hangs up.

    It dials loopback, which every published port answers on, so that what it has seen working is
    the port as people use it and not only the container behind it.
    """

    def __init__(self, *, timeout_seconds: float = 3.0) -> None:
        self._timeout = timeout_seconds

    async def handshake(self, port: int, expected: PublicKey) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                key = await asyncssh.get_server_host_key(
                    "127.0.0.1",
                    port,
                    config=None,
                    server_host_key_algs=_preferring(expected),
                    # Nothing of the account the server runs under: no agent, keys, certificates or trust.
                    options=asyncssh.SSHClientConnectionOptions(
                        config=None,
                        username="nexus-probe",
                        agent_path=None,
                        client_keys=None,
                        known_hosts=None,
                        x509_trusted_certs=None,
                        x509_trusted_cert_paths=None,
                    ),
                )
        except Exception as exc:
            raise not_ready(port, exc) from exc
        found = None if key is None else describe(key)
        if found is None or found.text != expected.text:
            raise HostKeyMismatch(
                f"Port {port} of the host is answered by an SSH server that is not the workspace's",
                why=f"It proved {found.fingerprint if found else 'no key'} instead of {expected.fingerprint}.",
            )


def _preferring(expected: PublicKey) -> Sequence[str]:
    """Every algorithm, that of the expected key first: a server with several keys shows the one asked for."""
    kind = expected.text.split()[0]
    return sorted(_HOST_KEY_ALGORITHMS, key=lambda name: name != kind and not (kind == "ssh-rsa" and "rsa-" in name))
