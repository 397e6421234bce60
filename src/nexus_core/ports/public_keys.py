"""Reading and making SSH keys."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nexus_core.domain.user import HostKeyPair, PublicKey


class PublicKeys(ABC):
    """Knows what an acceptable SSH key is."""

    @abstractmethod
    def parse(self, text: str) -> PublicKey:
        """The one public key in ``text``, normalised: without its comment, with its SHA-256 fingerprint.

        Taken: Ed25519, ECDSA P-256/384/521, RSA of 2,048 bits or more, and their ``sk-`` kinds.
        Raises `InvalidSshKey` for everything else: DSA, short RSA, private keys, several keys,
        options before the key, certificates, NUL or line breaks inside, and what does not parse.
        """

    @abstractmethod
    def generate_host_key(self) -> HostKeyPair:
        """A new Ed25519 host key; the private half in OpenSSH's own format."""
