"""What asyncssh raises, said in Nexus's own words.

Both functions take any exception. asyncssh documents some thirty classes, lets those of the
modules beneath it through, and hands on whatever its protocol code trips over when a peer sends
nonsense; so the adapters catch everything that comes out of their one call into the library.
"""

from __future__ import annotations

import asyncssh

from nexus_core.errors import InvalidSshKey, SshNotReady

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    # The first class that fits decides; TimeoutError is an OSError.
    (TimeoutError, "Nothing answered in time."),
    (ConnectionRefusedError, "The connection was refused: nothing listens there yet."),
    (ConnectionError, "The connection broke off."),
    (OSError, "There is no way to it."),
    (asyncssh.ConnectionLost, "The connection broke off before the key exchange was over."),
    (asyncssh.KeyExchangeFailed, "The server proved no key, or shares no algorithm with this one."),
    (asyncssh.ProtocolError, "What answered does not keep to the SSH protocol."),
    (asyncssh.ProtocolNotSupported, "What answered does not speak SSH version 2."),
    (asyncssh.DisconnectError, "The server ended the connection."),
)


def not_ready(port: int, exc: Exception) -> SshNotReady:
    """The handshake through ``port`` did not come about."""
    fitting = (reason for kind, reason in _REASONS if isinstance(exc, kind))
    reason = next(fitting, f"The handshake failed ({type(exc).__name__}).")
    return SshNotReady(f"No SSH server answers on port {port} of the host", why=reason)


def unreadable_key(exc: Exception) -> InvalidSshKey:
    """The text has the form of a key, and its content is none.

    The library's own words are left out: some quote bytes of the key.
    """
    return InvalidSshKey("The SSH key cannot be read", why=f"What it contains is no key ({type(exc).__name__}).")
