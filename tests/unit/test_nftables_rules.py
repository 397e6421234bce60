"""Reading other people's tables, writing our own, and who listens: without a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_core.errors import PublishFailed
from nexus_core.ports.port_publisher import Target
from nexus_nftables.host import Loopback, address_of, listening_ports
from nexus_nftables.rules import Seen, Table

TABLE = Table("k3v9", "br0")
HERE = Target("10.1.2.3", 22)

DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
DNAT = {"dnat": {"family": "ip", "addr": "10.0.0.9", "port": 22}}


def matching(value: Any, *, operator: str = "==", left: Any = DPORT) -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": value}}


def rule(*expressions: Any, table: str = "lxd", family: str = "inet", chain: str = "prert") -> dict[str, Any]:
    return {"rule": {"family": family, "table": table, "chain": chain, "expr": list(expressions)}}


def a_map(
    *elements: Any,
    table: str = "theirs",
    name: str = "ports",
    key: Any = "inet_service",
    data: Any = "ipv4_addr . inet_service",
) -> Any:
    body = {"family": "ip", "table": table, "name": name, "type": key, "map": data}
    return {"map": {**body, "elem": list(elements)} if elements else body}


def element(port: Any, address: str = "10.1.2.3", inner: int = 22) -> list[Any]:
    return [port, {"concat": [address, inner]}]


def bound(on: str, port: int, address: str = "10.1.2.3", inner: int = 22) -> list[Any]:
    return [{"concat": [on, port]}, {"concat": [address, inner]}]


def own(*elements: Any, at_one: Sequence[Any] = (), bridge: str = "br0", without: str = "") -> list[dict[str, Any]]:
    """What `nft -j list ruleset` shows of the server's own table."""
    guarding = matching(bridge, left={"meta": {"key": "iifname"}})
    leading = [DNAT, DNAT]
    chains = {
        "guard": [guarding, guarding],
        "arriving": leading,
        "outgoing": leading,
        "leaving": [{"masquerade": None}],
    }
    return [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": "ip", "name": TABLE.name, "handle": 1}},
        a_map(*elements, table=TABLE.name),
        a_map(*at_one, table=TABLE.name, name="bound", key=["ipv4_addr", "inet_service"]),
        *({"chain": {"family": "ip", "table": TABLE.name, "name": chain}} for chain in chains),
        *(
            rule(each, table=TABLE.name, family="ip", chain=chain)
            for chain, rules in chains.items()
            for each in rules
            if chain != without
        ),
    ]


class TestReading:
    def test_an_empty_host(self) -> None:
        assert Seen.read([], TABLE) == Seen({}, intact=False, foreign=frozenset(), shares_bridge=False)

    def test_the_own_table(self) -> None:
        seen = Seen.read(own(element(2222), element(2223, "10.1.2.4", 2200)), TABLE)

        assert seen.ports == {2222: HERE, 2223: Target("10.1.2.4", 2200)}
        assert seen.intact
        assert seen.foreign == frozenset()
        assert not seen.shares_bridge

    def test_the_address_that_what_leaves_gets(self) -> None:
        leaving = rule({"snat": {"addr": "10.1.0.1"}}, table=TABLE.name, family="ip", chain="leaving")
        seen = Seen.read([*own(element(2222), without="leaving"), leaving], TABLE)

        assert seen.intact
        assert seen.source == "10.1.0.1"
        assert "snat to 10.1.0.1\n" in TABLE.building({}, "10.1.0.1")
        # The kernel finds it out where it is not known.
        assert "masquerade\n" in TABLE.building({})

    def test_a_port_at_one_address(self) -> None:
        seen = Seen.read(own(element(2222), at_one=[bound("127.0.0.1", 8080, "10.1.2.4", 80)]), TABLE)

        assert seen.ports == {2222: HERE, 8080: Target("10.1.2.4", 80, "127.0.0.1")}
        assert seen.intact
        assert seen.foreign == frozenset()

    def test_a_table_without_the_second_map_is_not_as_it_should_be(self) -> None:
        of_before = [each for each in own(element(2222)) if each.get("map", {}).get("name") != "bound"]

        seen = Seen.read(of_before, TABLE)

        assert not seen.intact
        assert seen.ports == {2222: HERE}

    def test_the_own_table_without_ports(self) -> None:
        assert Seen.read(own(), TABLE) == Seen({}, intact=True, foreign=frozenset(), shares_bridge=False)

    @pytest.mark.parametrize("chain", ["guard", "arriving", "outgoing", "leaving"])
    def test_a_rule_that_is_gone_is_noticed(self, chain: str) -> None:
        assert not Seen.read(own(element(2222), without=chain), TABLE).intact

    def test_a_rule_too_many_is_noticed(self) -> None:
        meddled = [*own(), rule(DNAT, table=TABLE.name, family="ip", chain="another")]

        assert not Seen.read(meddled, TABLE).intact

    def test_a_table_for_another_bridge_is_not_ours_as_it_should_be(self) -> None:
        assert not Seen.read(own(bridge="br1"), TABLE).intact

    def test_elements_not_of_our_making_are_passed_over(self) -> None:
        odd = [[{"range": [1, 2]}, {"concat": ["10.1.2.3", 22]}], [2300, "10.1.2.3"], 2400]

        assert Seen.read(own(element(2222), *odd), TABLE).ports == {2222: HERE}

    @pytest.mark.parametrize(
        ("entry", "ports"),
        [
            pytest.param(a_map(element(2222), element(2223)), {2222, 2223}, id="another server's map"),
            pytest.param(a_map(), set(), id="an empty map"),
            pytest.param(
                a_map(bound("127.0.0.1", 2222), name="bound", key=["ipv4_addr", "inet_service"]),
                {2222},
                id="another server's map by address and port",
            ),
            pytest.param(a_map(element(2222), table=TABLE.name), set(), id="our own map"),
            pytest.param(
                a_map([{"concat": ["127.0.0.1", 2222]}, "10.1.2.3"], key=["ipv4_addr", "inet_service"]),
                {2222},
                id="a map by address and port",
            ),
            pytest.param(a_map([{"range": [30, 32]}, "10.1.2.3"], data="ipv4_addr"), {30, 31, 32}, id="a map by range"),
            pytest.param(
                a_map([{"elem": {"val": 2222, "comment": "x"}}, "10.1.2.3"]), {2222}, id="a map with comments"
            ),
            pytest.param(a_map([22, {"accept": None}], data="verdict"), set(), id="a map of verdicts"),
            pytest.param(a_map([7, "10.1.2.3"], key="mark"), set(), id="a map by something else"),
            pytest.param(rule(matching(2222), DNAT), {2222}, id="LXD's proxy with nat=true"),
            pytest.param(
                rule(matching({"set": [80, {"range": [8000, 8002]}]}), DNAT), {80, 8000, 8001, 8002}, id="a set"
            ),
            pytest.param(
                rule(matching({"range": [1, 65535]}), {"redirect": {"port": 15001}}), set(), id="a proxy of all"
            ),
            pytest.param(
                rule(
                    matching(53, left={"payload": {"protocol": "th", "field": "dport"}}), {"redirect": {"port": 5353}}
                ),
                {53},
                id="whatever transport",
            ),
            pytest.param(
                rule(matching(53, left={"payload": {"protocol": "udp", "field": "dport"}}), DNAT), set(), id="UDP"
            ),
            pytest.param(rule(matching(2222, operator="!="), DNAT), set(), id="all but one port"),
            pytest.param(rule(matching("@web"), DNAT), set(), id="a named set"),
            pytest.param(rule(matching(2222), {"accept": None}), set(), id="a rule that only lets through"),
            pytest.param(rule({"xt": None}, {"counter": None}), set(), id="what nft cannot read"),
            pytest.param(
                rule({"dnat": {"addr": {"map": {"key": DPORT, "data": {"set": [[2222, "10.0.0.9"], "odd"]}}}}}),
                {2222},
                id="a map written into the rule",
            ),
            pytest.param(
                rule({"dnat": {"addr": {"map": {"key": DPORT, "data": "@ports"}}}}), set(), id="a map seen by itself"
            ),
        ],
    )
    def test_ports_others_lead_elsewhere(self, entry: dict[str, Any], ports: set[int]) -> None:
        assert Seen.read([*own(), entry], TABLE).foreign == ports

    def test_another_servers_guard_on_the_same_bridge(self) -> None:
        def guard(table: str, bridge: str) -> dict[str, Any]:
            watching = matching(bridge, left={"meta": {"key": "iifname"}})
            return rule(watching, {"drop": None}, table=table, family="ip", chain="guard")

        assert Seen.read([guard("nexus_other", "br0")], TABLE).shares_bridge
        assert not Seen.read([guard("nexus_other", "br1")], TABLE).shares_bridge
        assert not Seen.read([guard("lxd", "br0")], TABLE).shares_bridge


class TestWriting:
    def test_ids_make_names_nft_takes_and_no_two_alike(self) -> None:
        assert Table("k3-v9", "br0").name == "nexus_k3_v9"
        for bad in ("", "a_b", "a b", "a;b", 'a"', "a" * 41):
            with pytest.raises(ValueError, match="server's id"):
                Table(bad, "br0")

    @pytest.mark.parametrize("bad", ["", "-br", "br 0", 'br"', "br;", "a" * 16, "br0\n"])
    def test_bridges_are_names_of_interfaces(self, bad: str) -> None:
        with pytest.raises(ValueError, match="interface"):
            Table("k3v9", bad)

    def test_a_change_says_only_what_differs(self) -> None:
        there = Target("10.1.2.4", 22)

        script = TABLE.changing({1: HERE, 2: HERE, 3: HERE}, {1: HERE, 2: there, 4: HERE})

        assert script.splitlines() == [
            "delete element ip nexus_k3v9 ports { 2, 3 }",
            "add element ip nexus_k3v9 ports { 2 : 10.1.2.4 . 22, 4 : 10.1.2.3 . 22 }",
        ]
        assert TABLE.changing({1: HERE}, {1: HERE}) == ""

    def test_a_port_changes_from_one_map_to_the_other(self) -> None:
        at_one = Target(HERE.address, HERE.port, "127.0.0.1")

        assert TABLE.changing({1: HERE, 2: at_one}, {1: at_one, 2: HERE}).splitlines() == [
            "delete element ip nexus_k3v9 ports { 1 }",
            "delete element ip nexus_k3v9 bound { 127.0.0.1 . 2 }",
            "add element ip nexus_k3v9 ports { 2 : 10.1.2.3 . 22 }",
            "add element ip nexus_k3v9 bound { 127.0.0.1 . 1 : 10.1.2.3 . 22 }",
        ]

    @pytest.mark.parametrize("on", ["", "0.0.0.0", "::1", "localhost", "127.0.0.1 . 1 }; flush ruleset; {"])  # noqa: S104  # to be refused
    def test_only_one_address_can_be_published_on(self, on: str) -> None:
        with pytest.raises(PublishFailed, match="published on"):
            TABLE.changing({}, {1: Target(HERE.address, 22, on)})

    @given(address=st.text() | st.ip_addresses().map(str), inner=st.integers(), port=st.integers())
    def test_nothing_but_addresses_and_ports_gets_into_a_script(self, address: str, inner: int, port: int) -> None:
        try:
            script = TABLE.changing({}, {port: Target(address, inner)})
        except PublishFailed:
            return
        assert script == f"add element ip nexus_k3v9 ports {{ {port} : {address} . {inner} }}\n"
        assert set(address) <= set("0123456789.")
        assert 1 <= port <= 65535
        assert 1 <= inner <= 65535


HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def socket_line(port: int, state: str, address: str = "0100007F") -> str:
    rest = "00000000:00000000 00:00000000 00000000     0        0 23351 1 0000000000000000 100 0 0 10 0"
    return f"   0: {address}:{port:04X} 00000000:0000 {state} {rest}\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with nobody listening and the bridge br0."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(HEADER)
    (tmp_path / "sys/net/ipv4/conf/br0").mkdir(parents=True)
    (tmp_path / "sys/net/ipv4/conf/br0/route_localnet").write_text("0\n")
    return tmp_path


class TestListening:
    def test_nobody(self, proc: Path) -> None:
        assert listening_ports(proc) == frozenset()

    def test_listeners_on_either_family(self, proc: Path) -> None:
        (proc / "net/tcp").write_text(HEADER + socket_line(3001, "0A") + socket_line(22, "0A", "00000000"))
        (proc / "net/tcp6").write_text(HEADER + socket_line(8080, "0A", "0" * 32))

        assert listening_ports(proc) == {3001, 22, 8080}

    def test_connections_are_not_listeners_and_end_the_reading(self, proc: Path) -> None:
        lines = [socket_line(22, "0A"), socket_line(40000, "01"), "this line is never looked at\n"]
        (proc / "net/tcp").write_text(HEADER + "".join(lines))

        assert listening_ports(proc) == {22}

    def test_an_empty_table(self, proc: Path) -> None:
        (proc / "net/tcp").write_text("")

        assert listening_ports(proc) == frozenset()


class TestLoopback:
    def test_it_is_opened_and_shut(self, proc: Path) -> None:
        loopback = Loopback("br0", proc)
        assert loopback.is_shut()

        loopback.open()
        assert not loopback.is_shut()
        loopback.open()
        assert not loopback.is_shut()

        loopback.shut()
        assert loopback.is_shut()

    def test_without_a_bridge_there_is_nothing_to_do(self, proc: Path) -> None:
        loopback = Loopback("absent", proc)

        loopback.open()
        loopback.shut()

        assert not loopback.is_shut()
        assert not (proc / "sys/net/ipv4/conf/absent").exists()

    def test_a_refusal_says_what_to_do(self, proc: Path) -> None:
        setting = proc / "sys/net/ipv4/conf/br0/route_localnet"
        setting.unlink()
        setting.mkdir()  # cannot be written, for root neither

        with pytest.raises(PublishFailed, match="route_localnet") as refusal:
            Loopback("br0", proc).shut()

        assert "CAP_NET_ADMIN" in refusal.value.fix


def test_an_interface_has_an_address_or_none() -> None:
    assert address_of("lo") == "127.0.0.1"
    assert address_of("nxnothere") is None
