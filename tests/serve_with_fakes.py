"""``nexus serve`` on fakes: everything is real but LXD, the kernel's port table and the SSH handshake.

Takes the command's own options, and of these words any: ``away`` (LXD does not answer), ``broken``
(no container can be made), ``slow`` (making and stopping one take two seconds).
"""

from __future__ import annotations

import sys

from dependency_injector import providers

from nexus_cli import serve
from nexus_cli.main import main
from nexus_core.errors import ProviderFailed
from nexus_fakes import FakeProbe, FakeProvider, FakePublisher, FakeWorkbench
from nexus_host.clock import SystemClock
from nexus_wiring.container import Container
from nexus_wiring.settings import Settings


def exchange(container: Container, words: set[str]) -> FakeProvider:
    """Put fakes in the place of what a test machine may not have; the provider among them."""
    publisher = FakePublisher()
    provider = FakeProvider()
    provider.available = "away" not in words
    if "broken" in words:
        broken = ProviderFailed("LXD cannot make the container", why="The disk is full.", fix="Make room.")
        provider.faults.fail("create", broken, times=None)
    if "slow" in words:
        for method in ("create", "stop"):
            provider.faults.slow(method, 2.0, SystemClock())
    container.provider.override(providers.Object(provider))
    container.publisher.override(providers.Object(publisher))
    container.workbench.override(providers.Object(FakeWorkbench(provider)))
    container.probe.override(providers.Object(FakeProbe(publisher)))
    return provider


def wired_with_fakes(settings: Settings, words: set[str]) -> Container:
    """The container with its fakes."""
    container = Container(settings=providers.Object(settings))
    exchange(container, words)
    return container


if __name__ == "__main__":
    misbehaviour = {"away", "broken", "slow"} & set(sys.argv)
    serve.wire = lambda settings: wired_with_fakes(settings, misbehaviour)
    sys.exit(main(["serve", *(word for word in sys.argv[1:] if word not in misbehaviour)]))
