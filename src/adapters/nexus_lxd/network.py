"""Which address an instance gets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from nexus_core.errors import ProviderFailed
from nexus_lxd.connection import Connection

_TRIES = 64


@dataclass(frozen=True, slots=True)
class Site:
    """Where the project's instances live: its default profile's network and storage pool."""

    network: str
    gateway: IPv4Interface
    pool: str
    dynamic: tuple[tuple[IPv4Address, IPv4Address], ...] = ()  # ranges that DHCP hands out

    def devices(self, address: IPv4Address, *, disk_bytes: int | None = None) -> dict[str, dict[str, str]]:
        """The network card and disk of an instance with this address.

        Neighbours can neither be impersonated nor reached directly: workspaces belong to different
        people and have root inside.
        """
        root = {"type": "disk", "path": "/", "pool": self.pool}
        return {
            "eth0": {
                "type": "nic",
                "name": "eth0",
                "network": self.network,
                "ipv4.address": str(address),
                "hwaddr": hwaddr(address),
                "security.mac_filtering": "true",
                "security.ipv4_filtering": "true",
                "security.port_isolation": "true",
            },
            "root": root if disk_bytes is None else {**root, "size": str(disk_bytes)},
        }

    def settings(self, address: IPv4Address) -> dict[str, str]:
        """The address in the form that the image's templates read."""
        return {
            "user.nexus.address": f"{address}/{self.gateway.network.prefixlen}",
            "user.nexus.gateway": str(self.gateway.ip),
        }

    def candidates(self, key: str) -> Iterator[IPv4Address]:
        """Addresses for this key, best first: spread over the subnet, the same ones every time.

        Two servers that choose at the same moment, without knowing of each other, choose differently.
        """
        network = self.gateway.network
        hosts = network.num_addresses - 2
        for attempt in range(_TRIES * 4):
            digest = hashlib.sha256(f"{key}/{attempt}".encode()).digest()
            address = network[1 + int.from_bytes(digest[:8]) % hosts]
            if address != self.gateway.ip and not any(low <= address <= high for low, high in self.dynamic):
                yield address


def hwaddr(address: IPv4Address) -> str:
    """The MAC address that always goes with this IPv4 address.

    An address that is used again then answers with the MAC its neighbours remember; a new one
    stalls the first connections for many seconds.
    """
    return "02:6e:" + address.packed.hex(":")


async def read_site(connection: Connection) -> Site:
    """What the project's default profile and its network say; raises `ProviderFailed` if they will not do."""
    devices: dict[str, dict[str, str]] = (await connection.get("profiles", "default"))["devices"]
    nic = next((device for device in devices.values() if device.get("name") == "eth0" or "network" in device), {})
    disk = next((device for device in devices.values() if device.get("path") == "/"), {})
    if "network" not in nic or "pool" not in disk:
        raise ProviderFailed(
            "The LXD project is not set up for workspaces",
            why="Its default profile has no root disk, or no network card on a managed network.",
            fix="Run `make setup` on the host.",
        )
    network: dict[str, Any] = await connection.get("networks", nic["network"])
    gateway: str = network["config"].get("ipv4.address", "none")
    if network["type"] != "bridge" or "/" not in gateway:
        raise ProviderFailed(
            f"The network {nic['network']} cannot carry workspaces",
            why="It is not a managed bridge with an IPv4 address.",
            fix="Run `make setup` on the host, which makes one.",
        )
    return Site(
        nic["network"], IPv4Interface(gateway), disk["pool"], _ranges(network["config"].get("ipv4.dhcp.ranges", ""))
    )


async def is_taken(connection: Connection, address: IPv4Address, *, but: str) -> bool:
    """Whether an instance other than ``but``, in any project, was given this address."""
    owners = await connection.get(
        "instances", all_projects=True, params={"filter": f"expanded_devices.eth0.ipv4.address eq {address}"}
    )
    return any(url.partition("?")[0].rpartition("/")[2] != but for url in owners)


def _ranges(text: str) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
    pairs = (part.strip().partition("-") for part in text.split(",") if "-" in part)
    return tuple((IPv4Address(low.strip()), IPv4Address(high.strip())) for low, _, high in pairs)
