"""The state directory: what the server keeps on disk, readable by nobody else."""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nexus_core.domain.token import PREFIX
from nexus_core.errors import Conflict, Failed
from nexus_core.ports.ids import Ids

_KEY_BYTES = 32


class StateDirectoryInUse(Conflict):
    """Another server runs on the same state directory."""

    code: ClassVar[str] = "state_directory_in_use"
    remedy: ClassVar[str] = "Stop the other server, or give this one a directory of its own with --state-dir."


class StateDirectoryFailed(Failed):
    """The state directory cannot be made, read or written."""

    code: ClassVar[str] = "state_directory_failed"
    remedy: ClassVar[str] = "Check the path, its permissions and the free space, or choose another with --state-dir."


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """``nexus.db`` and the key to its secrets, ``admin-token``, and the lock that keeps a second server out."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "nexus.db"

    @property
    def admin_token(self) -> Path:
        return self.path / "admin-token"

    @property
    def bundles(self) -> Path:
        return self.path / "bundles"

    @property
    def key_file(self) -> Path:
        return self.path / "database-key"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    def database_key(self) -> bytes:
        """The key that the secrets in the database are sealed with, from ``database-key``; made where there is none.

        A copy of the database without this file gives none of them away. Raises `StateDirectoryFailed`.
        """
        key = self.present_key()
        if key is None:
            key = secrets.token_bytes(_KEY_BYTES)
            self._write(self.key_file, key.hex())
            return key
        try:
            self.key_file.chmod(0o600)
        except OSError as exc:
            raise StateDirectoryFailed(f"{self.key_file} cannot be closed to others", why=f"{exc.strerror}.") from exc
        return key

    def present_key(self) -> bytes | None:
        """The key as `database_key` gives it, with nothing changed; None where there is none."""
        file = self.key_file
        try:
            key = bytes.fromhex(file.read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise StateDirectoryFailed(f"{file} cannot be read") from exc
        if len(key) != _KEY_BYTES:
            raise StateDirectoryFailed(
                f"{file} does not hold a key of {_KEY_BYTES} bytes", fix="Put the right one back."
            )
        return key

    def hold(self) -> int:
        """Make the directory if need be, close it to others, and lock it; the lock's file descriptor.

        The lock ends with the process, however it ends. A directory that holds other things and is
        open to others is left alone. Raises `StateDirectoryInUse` or `StateDirectoryFailed`.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_mode & 0o077:
                self._check_ours()
                self.path.chmod(0o700)
            lock = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StateDirectoryFailed(
                f"The state directory {self.path} cannot be used", why=f"{exc.strerror}."
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(lock)
            raise StateDirectoryInUse(f"Another server runs on {self.path}") from exc
        return lock

    def _check_ours(self) -> None:
        """Raise if closing the directory would take it away from somebody: /tmp, say, or a home."""
        if not (self.database.exists() or self.key_file.exists()) and any(self.path.iterdir()):
            raise StateDirectoryFailed(
                f"{self.path} holds other things and is open to other users",
                fix="Name a directory of its own with --state-dir; it is made if it is missing.",
            )

    def administrator_secret(self, ids: Ids) -> str:
        """The secret in ``admin-token``; where there is no such file, a new one is written (mode 0600).

        Deleting the file and starting the server again is how an administrator changes the token.
        """
        try:
            secret = self.admin_token.read_text(encoding="ascii").strip()
            self.admin_token.chmod(0o600)
        except FileNotFoundError:
            return self._write_secret(ids.secret())
        except (OSError, UnicodeDecodeError) as exc:
            raise StateDirectoryFailed(f"{self.admin_token} cannot be read") from exc
        if not secret.startswith(PREFIX) or len(secret) < len(PREFIX) + 40:
            raise StateDirectoryFailed(
                f"{self.admin_token} does not hold a token", fix="Delete the file: the next start writes a new token."
            )
        return secret

    def _write_secret(self, secret: str) -> str:
        self._write(self.admin_token, secret)
        return secret

    def _write(self, file: Path, text: str) -> None:
        # Written beside and renamed, so that a crash leaves either no file or a whole one.
        fresh = file.with_name(f"{file.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
                opened.write(text + "\n")
                opened.flush()
                os.fsync(opened.fileno())
            fresh.rename(file)
        except OSError as exc:
            raise StateDirectoryFailed(f"{file} cannot be written", why=f"{exc.strerror}.") from exc
