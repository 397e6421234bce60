"""SSH keys and handshakes, on asyncssh."""

from __future__ import annotations

from nexus_ssh.keys import AsyncsshKeys
from nexus_ssh.probe import AsyncsshProbe

__all__ = ["AsyncsshKeys", "AsyncsshProbe"]
