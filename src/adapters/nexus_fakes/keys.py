"""SSH keys of the right shape, made and read without any cryptography."""

from __future__ import annotations

import base64
import hashlib

from nexus_core.domain.user import HostKeyPair, PublicKey
from nexus_core.errors import InvalidSshKey
from nexus_core.ports.public_keys import PublicKeys

_FIELDS = {
    # How many fields follow the algorithm's name in the key's binary form.
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


class FakeKeys(PublicKeys):
    """`PublicKeys` that look at a key's form only: algorithm, number of fields, RSA's size.

    Text, fingerprint and refusals are those of the real thing; a point that is not on its curve,
    say, passes here and does not there. Host keys count up and their private halves open nothing.
    """

    def __init__(self) -> None:
        self._made = 0

    def parse(self, text: str) -> PublicKey:
        line = text.removesuffix("\n").removesuffix("\r").strip(" \t").replace("\t", " ")
        if not line.isprintable():
            raise InvalidSshKey("The text is not one printable line")
        algorithm, encoded, *comment = [*line.split(), "", ""]
        if algorithm not in _FIELDS:
            raise InvalidSshKey("The text does not begin with an accepted kind of key")
        if not _FIELDS.keys().isdisjoint([encoded, *comment]):
            raise InvalidSshKey("The text holds several keys")
        try:
            blob = base64.b64decode(encoded, validate=True)
        except ValueError as exc:
            raise InvalidSshKey("The key is not base64") from exc
        fields = _fields(blob)
        if len(fields) != _FIELDS[algorithm] + 1 or fields[0] != algorithm.encode():
            raise InvalidSshKey("The key does not contain what its kind calls for")
        if algorithm == "ssh-rsa" and int.from_bytes(fields[2], "big").bit_length() < 2048:
            raise InvalidSshKey("The RSA key has fewer than 2,048 bits")
        return _public_key(algorithm, blob)

    def generate_host_key(self) -> HostKeyPair:
        self._made += 1
        private = f"-----BEGIN OPENSSH PRIVATE KEY-----\nfake {self._made}\n-----END OPENSSH PRIVATE KEY-----\n"
        return HostKeyPair(private=private, public=self.sample(f"host key {self._made}"))

    @staticmethod
    def sample(seed: str = "alice") -> PublicKey:
        """An Ed25519 key that anyone's parser takes; the same seed gives the same key."""
        point = hashlib.sha256(seed.encode()).digest()
        return _public_key("ssh-ed25519", _string(b"ssh-ed25519") + _string(point))


def _public_key(algorithm: str, blob: bytes) -> PublicKey:
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return PublicKey(text=f"{algorithm} {base64.b64encode(blob).decode()}", fingerprint=f"SHA256:{fingerprint}")


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed strings the blob is made of, or nothing if it does not come out even."""
    fields: list[bytes] = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < end:
            return []
        fields.append(blob[4:end])
        blob = blob[end:]
    return fields
