"""What every `PublicKeys` promises, by ports/public_keys.py.

A test module of an adapter derives from `PublicKeysContract` and gives it a fixture ``keys``. It
asks nothing that takes cryptography to answer: that a point lies on its curve, say.
"""

from __future__ import annotations

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.ssh_keys import ACCEPTED, ED25519, REFUSED, fingerprint, wire
from nexus_core.errors import InvalidSshKey
from nexus_core.ports.public_keys import PublicKeys

_KINDS = sorted(text.split()[0] for text in ACCEPTED.values())


@st.composite
def almost_keys(draw: st.DrawFn) -> str:
    """Lines of the right form with anything at all inside."""
    kind = draw(st.sampled_from([*_KINDS, "ssh-dss", "ssh-ed25519-cert-v01@openssh.com"]))
    fields = draw(st.lists(st.binary(max_size=300), max_size=4))
    inside = wire(draw(st.sampled_from([kind, *_KINDS])).encode(), *fields) + draw(st.binary(max_size=2))
    tail = draw(st.sampled_from(["", " laptop", "\n", " ", "="]))
    return f"{kind} {base64.b64encode(inside).decode()}{tail}"


class PublicKeysContract:
    """Derive from it and provide ``keys``."""

    @pytest.mark.parametrize("kind", ACCEPTED)
    def test_every_sound_kind_is_taken(self, keys: PublicKeys, kind: str) -> None:
        parsed = keys.parse(ACCEPTED[kind])

        assert parsed.text == ACCEPTED[kind]
        assert parsed.fingerprint == fingerprint(ACCEPTED[kind])

    @pytest.mark.parametrize(
        "text",
        [
            f"{ED25519} laptop",
            f"{ED25519} a comment of several words, and 'quotes'",
            f"{ED25519} clé",
            f"{ED25519}\n",
            f"{ED25519}\r\n",
            f"  {ED25519}\t",
            ED25519.replace(" ", "  "),
            ED25519.replace(" ", "\t"),
        ],
    )
    def test_comment_and_blanks_are_dropped(self, keys: PublicKeys, text: str) -> None:
        assert keys.parse(text) == keys.parse(ED25519)

    @pytest.mark.parametrize("case", REFUSED)
    def test_everything_else_is_refused(self, keys: PublicKeys, case: str) -> None:
        with pytest.raises(InvalidSshKey) as refusal:
            keys.parse(REFUSED[case])

        assert refusal.value.fix
        assert refusal.value.details == {}

    def test_any_text_is_read_or_refused(self, keys: PublicKeys) -> None:
        # A function of its own: Hypothesis wants no test method that several classes inherit.
        @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
        @given(text=st.text() | almost_keys() | st.text().map(lambda comment: f"{ED25519} {comment}"))
        def read_or_refuse(text: str) -> None:
            try:
                parsed = keys.parse(text)
            except InvalidSshKey:
                return
            assert len(parsed.text.split(" ")) == 2
            assert parsed.text.isascii()
            assert parsed.text.isprintable()
            assert keys.parse(parsed.text) == parsed

        read_or_refuse()

    def test_generated_host_keys_are_new_ed25519_keys(self, keys: PublicKeys) -> None:
        one, two = keys.generate_host_key(), keys.generate_host_key()

        assert one.public != two.public
        assert one.private != two.private
        for pair in (one, two):
            assert pair.public.text.startswith("ssh-ed25519 ")
            assert keys.parse(pair.public.text) == pair.public
            assert pair.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
            assert pair.private.endswith("-----END OPENSSH PRIVATE KEY-----\n")
            assert pair.private not in repr(pair)
