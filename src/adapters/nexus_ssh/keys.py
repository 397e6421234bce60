"""Reading and making SSH keys with asyncssh."""

from __future__ import annotations

import base64
import re

import asyncssh

from nexus_core.domain.user import HostKeyPair, PublicKey
from nexus_core.errors import InvalidSshKey
from nexus_core.ports.public_keys import PublicKeys
from nexus_ssh.errors import unreadable_key

ACCEPTED = frozenset(
    {
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 16384  # OpenSSH's own limit; sshd would ignore a longer key
_MAX_LENGTH = 8192  # the longest RSA key there may be takes 2,760 characters; the rest is comment


class AsyncsshKeys(PublicKeys):
    """`PublicKeys` that let asyncssh decide what is a key, having decided first what may be asked.

    asyncssh alone takes private keys, several lines, NUL and RSA keys of any size for a public
    key. So it is shown the first two words of one printable line, nothing more, and what is kept
    is what it writes, never what was sent.
    """

    def parse(self, text: str) -> PublicKey:
        algorithm, encoded = _words(text)
        try:
            base64.b64decode(encoded, validate=True)  # asyncssh skips over characters that are not base64
            key = asyncssh.import_public_key(f"{algorithm} {encoded}")
        except Exception as exc:
            raise unreadable_key(exc) from exc
        if algorithm == "ssh-rsa":
            _check_rsa_size(key)
        return describe(key)

    def generate_host_key(self) -> HostKeyPair:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return HostKeyPair(private=key.export_private_key("openssh").decode(), public=describe(key))


def describe(key: asyncssh.SSHKey) -> PublicKey:
    """The public half of ``key``, without its comment, and its fingerprint."""
    algorithm, encoded, *_ = key.export_public_key("openssh").decode().split()
    return PublicKey(text=f"{algorithm} {encoded}", fingerprint=key.get_fingerprint("sha256"))


def _words(text: str) -> tuple[str, str]:
    """The algorithm and the encoded key of the one line that ``text`` is; refuses all that has another form."""
    if "-----BEGIN" in text:
        raise InvalidSshKey(
            "This is not the public half of an SSH key",
            why="A block that begins with -----BEGIN is a private key, a certificate or another format.",
            fix="Send the one line of the .pub file. If a private key left your machine, replace it.",
        )
    if len(text) > _MAX_LENGTH:
        raise InvalidSshKey("The text is too long for an SSH key", why=f"It has more than {_MAX_LENGTH} characters.")
    line = re.sub(r"\r?\n\Z", "", text).strip(" \t")
    if len(line.splitlines()) > 1:
        raise InvalidSshKey("The text has several lines", why="One user has one key, which is one line.")
    if not line.replace("\t", " ").isprintable():
        raise InvalidSshKey("The text contains characters that cannot be printed")
    words = line.split()
    if not words or words[0] not in ACCEPTED:
        raise InvalidSshKey(
            "The text does not begin with an accepted kind of key",
            why="Options, certificates and DSA keys are not taken; Ed25519, ECDSA, RSA and the sk- kinds are.",
        )
    if not ACCEPTED.isdisjoint(words[1:]):
        raise InvalidSshKey("The text holds several keys", why="A second one follows on the same line.")
    return words[0], words[1] if len(words) > 1 else ""


def _check_rsa_size(key: asyncssh.SSHKey) -> None:
    bits = _rsa_bits(key.public_data)
    if not _MIN_RSA_BITS <= bits <= _MAX_RSA_BITS:
        raise InvalidSshKey(
            f"The RSA key has {bits} bits",
            why=f"Between {_MIN_RSA_BITS} and {_MAX_RSA_BITS} are taken.",
            fix="Make a new key: `ssh-keygen -t ed25519`.",
        )


def _rsa_bits(blob: bytes) -> int:
    """The size of the modulus: the third of the length-prefixed fields (name, exponent, modulus)."""
    field = b""
    for _ in range(3):
        end = 4 + int.from_bytes(blob[:4], "big")
        field, blob = blob[4:end], blob[end:]
    return int.from_bytes(field, "big").bit_length()
