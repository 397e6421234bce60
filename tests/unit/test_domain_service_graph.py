"""The order of services, for any graph."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_core.domain.service_graph import ServiceGraph
from nexus_core.errors import InvalidServiceGraph

Dependencies = dict[str, list[str]]


@st.composite
def ordered(draw: st.DrawFn) -> Dependencies:
    """Graphs in which each service needs only some of those before it, told in any order."""
    names = draw(st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, max_size=12))
    needs = {
        name: draw(st.lists(st.sampled_from(names[:index]), max_size=5)) if index else []
        for index, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


@st.composite
def any_graph(draw: st.DrawFn) -> Dependencies:
    """Graphs with every kind of dependency: on itself, in circles, twice, but on services that exist."""
    names = draw(st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, min_size=1, max_size=8))
    return {name: draw(st.lists(st.sampled_from(names), max_size=3)) for name in names}


def ancestors(dependencies: Dependencies, name: str) -> set[str]:
    """Everything the service needs, directly or not."""
    found: set[str] = set()
    frontier = {name}
    while frontier:
        frontier = {need for each in frontier for need in dependencies[each]} - found
        found |= frontier
    return found


@given(dependencies=ordered())
def test_everything_starts_once_and_after_what_it_needs(dependencies: Dependencies) -> None:
    graph = ServiceGraph(dependencies)
    place = {name: index for index, name in enumerate(graph.start_order)}

    assert sorted(graph.start_order) == sorted(dependencies)
    assert all(place[need] < place[name] for name, needs in dependencies.items() for need in needs)


@given(dependencies=ordered())
def test_everything_stops_once_and_before_what_it_needs(dependencies: Dependencies) -> None:
    graph = ServiceGraph(dependencies)
    place = {name: index for index, name in enumerate(graph.stop_order)}

    assert sorted(graph.stop_order) == sorted(dependencies)
    assert all(place[need] > place[name] for name, needs in dependencies.items() for need in needs)


@given(dependencies=ordered())
def test_levels_are_as_early_as_can_be(dependencies: Dependencies) -> None:
    @cache
    def depth(name: str) -> int:
        return 1 + max((depth(need) for need in dependencies[name]), default=-1)

    levels = ServiceGraph(dependencies).levels

    assert [set(level) for level in levels] == [
        {name for name in dependencies if depth(name) == number} for number in range(len(levels))
    ]
    assert all(level == tuple(sorted(level)) for level in levels)


@given(dependencies=ordered(), data=st.data())
def test_the_order_in_which_services_are_told_is_no_matter(dependencies: Dependencies, data: st.DataObject) -> None:
    shuffled = {name: dependencies[name] for name in data.draw(st.permutations(list(dependencies)))}

    assert ServiceGraph(shuffled).levels == ServiceGraph(dependencies).levels


@given(dependencies=ordered())
def test_dependents_are_dependencies_seen_from_the_other_end(dependencies: Dependencies) -> None:
    graph = ServiceGraph(dependencies)

    for name in dependencies:
        assert set(graph.dependencies(name)) == set(dependencies[name])
        assert len(graph.dependencies(name)) == len(set(dependencies[name]))
        assert graph.dependents(name) == {other for other in dependencies if name in ancestors(dependencies, other)}


@given(dependencies=any_graph())
def test_a_graph_has_an_order_or_a_real_cycle(dependencies: Dependencies) -> None:
    on_a_cycle = {name for name in dependencies if name in ancestors(dependencies, name)}
    if not on_a_cycle:
        ServiceGraph(dependencies)
        return
    with pytest.raises(InvalidServiceGraph) as refusal:
        ServiceGraph(dependencies)
    cycle = refusal.value.details["cycle"]
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == len(cycle) - 1 >= 1
    assert all(need in dependencies[name] for name, need in pairwise(cycle))
    assert " -> ".join(cycle) in refusal.value.message


@given(dependencies=ordered(), data=st.data())
def test_a_dependency_on_nobody_is_named(dependencies: Dependencies, data: st.DataObject) -> None:
    dependencies = {**dependencies, "web": []}
    name = data.draw(st.sampled_from(sorted(dependencies)))
    dependencies[name] = [*dependencies[name], "nobody"]

    with pytest.raises(InvalidServiceGraph) as refusal:
        ServiceGraph(dependencies)

    assert refusal.value.details == {"service": name, "unknown": "nobody"}


def test_no_services_at_all() -> None:
    graph = ServiceGraph({})

    assert graph.levels == ()
    assert graph.start_order == graph.stop_order == ()


def test_a_service_that_needs_itself_is_a_cycle_of_one() -> None:
    with pytest.raises(InvalidServiceGraph) as refusal:
        ServiceGraph({"web": ["web"]})

    assert refusal.value.details == {"cycle": ["web", "web"]}


def test_long_chains_are_no_trouble() -> None:
    chain = {f"s{number:04}": [f"s{number - 1:04}"] if number else [] for number in range(1500)}

    assert ServiceGraph(chain).start_order == tuple(chain)
