"""The server's table as text for `nft`, and other people's tables as `nft` shows them. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from nexus_core.errors import PublishFailed
from nexus_core.ports.port_publisher import Target

_PREFIX: Final = "nexus_"
_SERVER_ID = re.compile(r"[A-Za-z0-9-]{1,40}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")

_RULES_IN: Final = {"guard": 2, "arriving": 2, "outgoing": 2, "leaving": 1}
"""Every chain of the table and how many rules it has when nobody has meddled with it."""

_EVERYWHERE: Final = "ports"
_BOUND: Final = "bound"
"""The maps of ports that are published at every address of the host, and of those that are at one of them."""

_WIDEST_PUBLICATION: Final = 1024
"""A rule that redirects a wider range of ports is a proxy for traffic that passes through, and takes no port."""


@dataclass(frozen=True, slots=True)
class Table:
    """The name of one server's table, and the bridge its workspaces are on."""

    server_id: str
    bridge: str

    def __post_init__(self) -> None:
        if not _SERVER_ID.fullmatch(self.server_id):
            raise ValueError(f"{self.server_id!r} is not a server's id")
        if not _BRIDGE.fullmatch(self.bridge):
            raise ValueError(f"{self.bridge!r} is not the name of a network interface")

    @property
    def name(self) -> str:
        # nft takes no hyphen in a name; the ids have no underscore, so two ids never share a table.
        return _PREFIX + self.server_id.replace("-", "_")

    def building(self, ports: Mapping[int, Target], source: str | None = None) -> str:
        """The script that puts the whole table in place, with exactly these ports, whatever was there.

        To connections it is as if the table had always been so: those that are open are known to
        the kernel by their own entries, and new ones meet the old table or the new, never neither.

        A port bound to loopback is looked for only where the host itself connects: a neighbour on the host's network
        can send packets that say 127.0.0.1, and the kernel would turn them away only after this had led them on.

        What leaves from loopback gets ``source``, the bridge's address. The kernel finds that out itself where it is
        None, but then forgets these connections whenever the bridge loses its address, as it does when LXD starts.
        """
        leaving = "masquerade" if source is None else f"snat to {source}"
        return f"""\
add table ip {self.name}
delete table ip {self.name}
table ip {self.name} {{
    map {_EVERYWHERE} {{ type inet_service : ipv4_addr . inet_service; }}
    map {_BOUND} {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{self.bridge}" ip saddr 127.0.0.0/8 drop
        iifname "{self.bridge}" ip daddr 127.0.0.0/8 drop
    }}
    chain arriving {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname != "{self.bridge}" fib daddr type local ip daddr != 127.0.0.0/8 \\
            dnat ip addr . port to ip daddr . tcp dport map @{_BOUND}
        iifname != "{self.bridge}" fib daddr type local dnat ip addr . port to tcp dport map @{_EVERYWHERE}
    }}
    chain outgoing {{
        type nat hook output priority -100; policy accept;
        fib daddr type local dnat ip addr . port to ip daddr . tcp dport map @{_BOUND}
        fib daddr type local dnat ip addr . port to tcp dport map @{_EVERYWHERE}
    }}
    chain leaving {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{self.bridge}" ip saddr 127.0.0.0/8 {leaving}
    }}
}}
{self._elements("add", ports, _element)}"""

    def changing(self, present: Mapping[int, Target], wanted: Mapping[int, Target]) -> str:
        """The script that brings the ports from what they are to what they shall be, from one moment to the next."""
        outdated = {port: target for port, target in present.items() if wanted.get(port) != target}
        fresh = {port: target for port, target in wanted.items() if present.get(port) != target}
        return self._elements("delete", outdated, _key) + self._elements("add", fresh, _element)

    def removing(self) -> str:
        """The script after which there is no table, whether there was one or not."""
        return f"add table ip {self.name}\ndelete table ip {self.name}\n"

    def _elements(self, verb: str, ports: Mapping[int, Target], text: Callable[[int, Target], str]) -> str:
        """A line for each of the maps, if any of the ports is in it."""
        lines = ""
        for name in (_EVERYWHERE, _BOUND):
            elements = [text(port, target) for port, target in ports.items() if _map_of(target) == name]
            if elements:
                lines += f"{verb} element ip {self.name} {name} {{ {', '.join(elements)} }}\n"
        return lines


@dataclass(frozen=True, slots=True)
class Seen:
    """What a ruleset says about one server's table and about everybody else's.

    ``ports`` is what the server's maps hold, ``intact`` whether all its rules are in place,
    ``foreign`` the ports that other tables lead elsewhere, ``shares_bridge`` whether another
    server's guard watches the same bridge, and ``source`` the address that what leaves from loopback gets.
    """

    ports: Mapping[int, Target]
    intact: bool
    foreign: frozenset[int]
    shares_bridge: bool
    source: str | None = None

    @classmethod
    def read(cls, ruleset: Iterable[Mapping[str, Any]], table: Table) -> Seen:
        """Sort what `nft -j list ruleset` answered."""
        ports: dict[int, Target] = {}
        rules = dict.fromkeys(_RULES_IN, 0)
        guards_bridge = shares_bridge = False
        maps: set[str] = set()
        foreign: set[int] = set()
        source: str | None = None
        for entry in ruleset:
            for kind, body in entry.items():
                own = (body.get("family"), body.get("table")) == ("ip", table.name)
                if own and kind == "map":
                    maps.add(body["name"])
                    ports.update(_targets(body.get("elem", [])))
                elif own and kind == "rule":
                    rules[body["chain"]] = rules.get(body["chain"], 0) + 1
                    guards_bridge |= _is_guard_of(table.bridge, body)
                    source = _source_of(body) or source
                elif kind == "map":
                    foreign.update(_ports_of_map(body))
                elif kind == "rule":
                    foreign.update(_ports_of_rule(body["expr"]))
                    shares_bridge |= _is_guard_of(table.bridge, body)
        intact = maps >= {_EVERYWHERE, _BOUND} and guards_bridge and rules == _RULES_IN
        return cls(ports, intact, frozenset(foreign), shares_bridge, source)


def check_element(port: int, target: Target) -> None:
    """Return if the map can lead this port to this target, else raise `PublishFailed`."""
    for address in (target.address, target.on):
        try:
            sound = address is None or not IPv4Address(address).is_unspecified
        except ValueError:
            sound = False
        if not sound:
            verb = "lead to" if address == target.address else "be published on"
            raise PublishFailed(f"Port {port} cannot {verb} {address!r}", why="Only IPv4 addresses can be published.")
    if not (1 <= port <= 65535 and 1 <= target.port <= 65535):
        raise PublishFailed(f"Port {port} cannot lead to port {target.port}", why="Ports go from 1 to 65535.")


def _map_of(target: Target) -> str:
    return _EVERYWHERE if target.on is None else _BOUND


def _key(port: int, target: Target) -> str:
    return str(port) if target.on is None else f"{target.on} . {port}"


def _element(port: int, target: Target) -> str:
    check_element(port, target)
    return f"{_key(port, target)} : {target.address} . {target.port}"


def _targets(elements: Iterable[Any]) -> Iterator[tuple[int, Target]]:
    for element in elements:
        match element:
            case [int(port), {"concat": [str(address), int(inner)]}]:
                yield port, Target(address, inner)
            case [{"concat": [str(on), int(port)]}, {"concat": [str(address), int(inner)]}]:
                yield port, Target(address, inner, on)
            case _:
                pass  # not of our making, and nothing a rule of ours could use


def _source_of(body: Mapping[str, Any]) -> str | None:
    """The address that a rule of ours gives to what leaves."""
    for expression in body["expr"]:
        match expression:
            case {"snat": {"addr": str(address)}}:
                return address
            case _:
                pass
    return None


def _ports_of_map(body: Mapping[str, Any]) -> Iterator[int]:
    """The ports a map leads to addresses; maps of any other kind lead nowhere."""
    if "inet_service" in str(body.get("type")) and "_addr" in str(body.get("map")):
        yield from _keys(body.get("elem", []))


def _ports_of_rule(expressions: Sequence[Any]) -> Iterator[int]:
    """The ports a rule leads elsewhere: those it matches, and the keys of a map written into it."""
    if not any("dnat" in part or "redirect" in part for part in expressions):
        return
    for part in expressions:
        match part:
            case {"match": {"op": "==", "left": {"payload": {"protocol": "tcp" | "th", "field": "dport"}}, "right": r}}:
                yield from _numbers(r)
            case {"dnat": {"addr": {"map": {"data": {"set": list(elements)}}}}}:
                yield from _keys(elements)
            case _:
                pass


def _keys(elements: Iterable[Any]) -> Iterator[int]:
    for element in elements:
        match element:
            case [key, _]:
                yield from _numbers(key)
            case _:
                pass


def _numbers(value: Any) -> Iterator[int]:
    """Every port in a value of nft's JSON: a number, a range, a set, or part of a concatenation."""
    match value:
        case int():
            yield value
        case {"range": [int(first), int(last)]} if last - first < _WIDEST_PUBLICATION:
            yield from range(first, last + 1)
        case {"set": list(parts)} | {"concat": list(parts)}:
            for part in parts:
                yield from _numbers(part)
        case {"elem": {"val": inner}}:
            yield from _numbers(inner)
        case _:
            pass


def _is_guard_of(bridge: str, body: Mapping[str, Any]) -> bool:
    if not (body["table"].startswith(_PREFIX) and body["chain"] == "guard"):
        return False
    return any(part.get("match", {}).get("right") == bridge for part in body["expr"])
