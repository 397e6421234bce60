"""SSH public keys of every kind, built by hand from the format's description: nobody holds their other halves."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def wire(*fields: bytes) -> bytes:
    """The fields as SSH writes them: each after its length."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def line(kind: str, *fields: bytes) -> str:
    """A public key file's line, without a comment."""
    return f"{kind} {base64.b64encode(wire(kind.encode(), *fields)).decode()}"


def fingerprint(text: str) -> str:
    """What `ssh-keygen -lf` shows: the SHA-256 of the decoded second word, without padding."""
    digest = hashlib.sha256(base64.b64decode(text.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def rsa(bits: int) -> str:
    """An RSA key of this size, whose modulus is nobody's product of two primes."""
    modulus = (1 << (bits - 1)) + 1
    return line("ssh-rsa", (65537).to_bytes(3, "big"), modulus.to_bytes(bits // 8 + 1, "big"))


def _ecdsa(curve: ec.EllipticCurve, name: str) -> tuple[bytes, bytes]:
    point = ec.derive_private_key(1, curve).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return name.encode(), point


_POINT: Final = hashlib.sha256(b"any 32 bytes will do").digest()
_P256 = _ecdsa(ec.SECP256R1(), "nistp256")

ED25519: Final = line("ssh-ed25519", _POINT)
OTHER: Final = line("ssh-ed25519", hashlib.sha256(b"any other").digest())

ACCEPTED: Final = {
    "ed25519": ED25519,
    "ecdsa-256": line("ecdsa-sha2-nistp256", *_P256),
    "ecdsa-384": line("ecdsa-sha2-nistp384", *_ecdsa(ec.SECP384R1(), "nistp384")),
    "ecdsa-521": line("ecdsa-sha2-nistp521", *_ecdsa(ec.SECP521R1(), "nistp521")),
    "rsa-2048": rsa(2048),
    "rsa-4096": rsa(4096),
    "sk-ed25519": line("sk-ssh-ed25519@openssh.com", _POINT, b"ssh:"),
    "sk-ecdsa": line("sk-ecdsa-sha2-nistp256@openssh.com", *_P256, b"ssh:"),
}

_PRIVATE: Final = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
_KIND, _ENCODED = ED25519.split()

REFUSED: Final = {
    "nothing": "",
    "blank": " \n",
    "prose": "please let me in",
    "kind alone": "ssh-ed25519",
    "base64 alone": _ENCODED,
    "kind misspelt": f"ssh-ed25518 {_ENCODED}",
    "kind in capitals": f"SSH-ED25519 {_ENCODED}",
    "kind and content differ": f"ssh-rsa {_ENCODED}",
    "content cut short": f"{_KIND} {_ENCODED[:40]}",
    "content too long": f"{_KIND} {base64.b64encode(wire(b'ssh-ed25519', _POINT, b'more')).decode()}",
    "content not base64": f"{_KIND} {'!' * 68}",
    "content with a stranger in it": f"{_KIND} {_ENCODED[:30]}!{_ENCODED[30:]}",
    "content without its padding": ACCEPTED["ecdsa-384"].rstrip("="),
    "content empty": f"{_KIND} ====",
    "rsa-1024": rsa(1024),
    "rsa-2047": rsa(2047),
    "dsa": line("ssh-dss", b"\x03", b"\x05", b"\x07", b"\x0b"),
    "ed448": line("ssh-ed448", bytes(57)),
    "certificate": line("ssh-ed25519-cert-v01@openssh.com", _POINT),
    "private key": _PRIVATE,
    "private key after a public one": f"{ED25519} {_PRIVATE}",
    "PEM": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
    "RFC 4716": f"---- BEGIN SSH2 PUBLIC KEY ----\n{_ENCODED}\n---- END SSH2 PUBLIC KEY ----\n",
    "options": f'command="true",no-pty {ED25519}',
    "one option": f"restrict {ED25519}",
    "known_hosts line": f"example.com {ED25519}",
    "two keys on two lines": f"{ED25519}\n{OTHER}\n",
    "two keys on one line": f"{ED25519} laptop {OTHER}",
    "blank second line": f"{ED25519}\n\n",
    "line break in the key": f"{_KIND}\n{_ENCODED}",
    "carriage return in the comment": f"{ED25519} lap\rtop",
    "line separator in the comment": f"{ED25519} lap\u2028top",
    "NUL in the comment": f"{ED25519} lap\0top",
    "NUL in the key": f"{_KIND} {_ENCODED[:20]}\0{_ENCODED[20:]}",
    "NUL at the end": f"{ED25519}\0",
    "escape in the comment": f"{ED25519} \x1b[2J",
    "a comment in front": f"# {ED25519}",
}
