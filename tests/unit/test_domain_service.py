"""Services as values: what can be run, what is refused, and where the refusal points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.samples import NOW
from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import (
    LONGEST_SCRIPT,
    MOST_SERVICES,
    CheckType,
    HealthCheck,
    Service,
    ServiceSpec,
    check_env,
    check_script,
    check_services,
    graph_of,
    in_start_order,
)
from nexus_core.errors import InvalidRequest, InvalidServiceGraph
from worlds import spec


def refusal_of(service: ServiceSpec) -> dict[str, Any]:
    """Where and why this one service is refused."""
    with pytest.raises(InvalidRequest) as refused:
        check_services([service])
    assert len(refused.value.message) < 500
    return refused.value.details


class TestServices:
    def test_sound_ones_are_put_in_order(self) -> None:
        services = [spec("web", "api", port=3000), spec("api", "db", port=4000), spec("db"), spec("mail", command=None)]
        assert check_services(services).levels == (("db", "mail"), ("api",), ("web",))

    def test_none_at_all_are_fine(self) -> None:
        assert check_services([]).start_order == ()

    @pytest.mark.parametrize("name", ["a", "A.b_c-9", "0", "x" * 63])
    def test_names(self, name: str) -> None:
        assert check_services([spec(name)]).start_order == (name,)

    @pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a/b", "a:b", "é", "a\n", "x" * 64, "x" * 9999])
    def test_what_is_no_name(self, name: str) -> None:
        assert list(refusal_of(spec(name))) == ["$.services[0].name"]

    @pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
    def test_what_is_no_port(self, port: int) -> None:
        assert list(refusal_of(spec("a", port=port))) == ["$.services[0].port"]

    def test_only_what_has_a_port_is_exposed(self) -> None:
        assert list(refusal_of(spec("a", expose=True))) == ["$.services[0].expose"]

    @pytest.mark.parametrize("command", ["", "  \n", "a\0b", "\ud800", "x" * (LONGEST_SCRIPT + 1)])
    def test_what_is_no_command(self, command: str) -> None:
        assert list(refusal_of(spec("a", command=command))) == ["$.services[0].command"]

    def test_any_other_text_is_a_command(self) -> None:
        text = "echo \"$HOME\" '; rm -rf /' | cat <<'X'\n`é`\nX\n"
        assert check_script(text, at="$.setup[0]") == text

    @pytest.mark.parametrize(
        ("env", "where"),
        [
            ({"1A": "x"}, "1A"),
            ({"A-B": "x"}, "A-B"),
            ({"": "x"}, ""),
            ({"A": "\0"}, "A"),
            ({"A": "\ud800"}, "A"),
            ({"UID": "5"}, "UID"),
        ],
    )
    def test_what_cannot_be_put_into_an_environment(self, env: dict[str, str], where: str) -> None:
        assert list(refusal_of(spec("a", env=env))) == [f"$.services[0].env.{where}"]

    def test_any_text_is_a_value(self) -> None:
        assert check_services([spec("a", env={"A": "x y\n'$HOME'", "_b2": ""})])

    def test_a_refused_variable_keeps_its_value_to_itself(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            check_env({"PASSWORD": "hunter2\0"}, at="$.env")
        assert "hunter2" not in f"{refused.value} {refused.value.details}"

    def test_the_second_service_is_pointed_at(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            check_services([spec("a"), spec("b", command="")])
        assert list(refused.value.details) == ["$.services[1].command"]

    def test_too_many_are_refused(self) -> None:
        assert check_services([spec(f"s{number}") for number in range(MOST_SERVICES)])
        with pytest.raises(InvalidRequest, match="101 services"):
            check_services([spec(f"s{number}") for number in range(MOST_SERVICES + 1)])

    def test_names_are_there_once(self) -> None:
        with pytest.raises(InvalidServiceGraph, match="two services named 'a'") as refused:
            check_services([spec("a"), spec("a")])
        assert refused.value.details == {"duplicate": "a"}

    def test_ports_are_there_once(self) -> None:
        with pytest.raises(InvalidServiceGraph, match="'a' and 'b' both have port 80") as refused:
            check_services([spec("a", port=80), spec("b", port=80)])
        assert refused.value.details == {"duplicate": 80, "services": ["a", "b"]}

    def test_a_service_that_needs_itself_is_a_circle(self) -> None:
        with pytest.raises(InvalidServiceGraph) as refused:
            check_services([spec("a", "a")])
        assert refused.value.details == {"cycle": ["a", "a"]}


class TestHealthChecks:
    @pytest.mark.parametrize(
        "check",
        [
            HealthCheck(CheckType.HTTP, path="/health?a=1", expected_status=204),
            HealthCheck(CheckType.TCP, interval=0.5, timeout=0.1, retries=1),
            HealthCheck(CheckType.EXEC, command="pg_isready", interval=3600, timeout=3600, start_period=3600),
            HealthCheck(CheckType.CUSTOM, command="true", retries=1000),
            HealthCheck(CheckType.NONE),
        ],
    )
    def test_sound_ones(self, check: HealthCheck) -> None:
        assert check_services([spec("a", port=80, health_check=check)])

    @pytest.mark.parametrize(
        ("check", "where"),
        [
            ({"type": CheckType.EXEC}, "command"),
            ({"type": CheckType.CUSTOM, "command": ""}, "command"),
            ({"type": CheckType.EXEC, "command": " "}, "command"),
            ({"command": "\0"}, "command"),
            ({"path": "health"}, "path"),
            ({"path": "/a b"}, "path"),
            ({"path": "/é"}, "path"),
            ({"path": "/\r\nHost: b"}, "path"),
            ({"expected_status": 99}, "expected_status"),
            ({"expected_status": 600}, "expected_status"),
            ({"interval": 0.4}, "interval"),
            ({"interval": float("nan")}, "interval"),
            ({"timeout": 0}, "timeout"),
            ({"timeout": 3601}, "timeout"),
            ({"start_period": -1}, "start_period"),
            ({"start_period": float("inf")}, "start_period"),
            ({"retries": 0}, "retries"),
            ({"retries": 1001}, "retries"),
        ],
    )
    def test_what_cannot_be_done(self, check: dict[str, Any], where: str) -> None:
        assert list(refusal_of(spec("a", health_check=HealthCheck(**check)))) == [f"$.services[0].health_check.{where}"]

    @pytest.mark.parametrize("kind", [CheckType.HTTP, CheckType.TCP])
    def test_a_look_at_a_port_needs_one(self, kind: CheckType) -> None:
        refused = refusal_of(spec("a", health_check=HealthCheck(kind)))
        assert refused == {"$.services[0].health_check.type": f"{kind} needs the service to have a port"}

    def test_everything_wrong_is_told_at_once(self) -> None:
        check = HealthCheck(CheckType.TCP, path="x", interval=0, timeout=0, retries=0, start_period=-1)
        assert len(refusal_of(spec("a", health_check=check))) == 6

    def test_patience_is_the_time_of_all_retries(self) -> None:
        check = HealthCheck(CheckType.TCP, interval=5, timeout=3, retries=12, start_period=10)
        assert check.patience == 10 + 12 * 5 + 3

    def test_a_check_that_is_never_made_to_wait_has_its_timeout_at_least(self) -> None:
        assert HealthCheck(interval=-1, timeout=2).patience == 2


@given(st.text(max_size=80))
def test_whatever_is_taken_for_a_name_is_one_word_of_a_unit(name: str) -> None:
    try:
        check_services([ServiceSpec(name, "x")])
    except InvalidRequest:
        return
    assert name.isascii()
    assert not set(name) & set(" /:\\@%\n'\"$;")


def test_a_service_is_forwarded_if_it_is_exposed_or_was_forwarded_by_hand() -> None:
    exposed, hidden = spec("a", port=80), spec("b", port=81, expose=False)
    assert Service("ws-1", exposed, NOW).wants_forward
    assert not Service("ws-1", hidden, NOW).wants_forward
    assert Service("ws-1", hidden, NOW, mapped_port=23000).wants_forward
    assert not Service("ws-1", replace(exposed, port=None), NOW, mapped_port=23000).wants_forward


def test_services_are_sorted_as_they_start() -> None:
    services = [Service("ws-1", one, NOW) for one in (spec("web", "api"), spec("api", "db"), spec("db"))]
    assert [one.name for one in in_start_order(services)] == ["db", "api", "web"]
    assert graph_of([one.spec for one in services]).stop_order == ("web", "api", "db")


def test_variables_are_in_no_description() -> None:
    assert "hunter2" not in repr(spec("a", env={"PASSWORD": "hunter2"}))
    assert "hunter2" not in repr(Recipe(env={"PASSWORD": "hunter2"}))


@pytest.mark.parametrize(
    ("recipe", "something"),
    [
        (Recipe(), False),
        (Recipe(setup=("a",)), False),
        (Recipe(post_start=("a",)), True),
        (Recipe(pre_stop=("a",)), True),
        (Recipe(env={"A": "b"}), True),
    ],
)
def test_what_of_a_recipe_goes_with_services(recipe: Recipe, something: bool) -> None:
    assert recipe.goes_with_services is something
