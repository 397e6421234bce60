"""The order in which services start: level by level, each after all it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nexus_core.errors import InvalidServiceGraph


class ServiceGraph:
    """A set of named services and what each depends on, known to have an order.

    Building one raises `InvalidServiceGraph` for an unknown dependency (``details.service``,
    ``details.unknown``) or a cycle (``details.cycle`` lists it in order and ends where it began).

    >>> graph = ServiceGraph({"web": ["api"], "api": ["db"], "db": [], "mail": []})
    >>> graph.levels
    (('db', 'mail'), ('api',), ('web',))
    >>> graph.stop_order
    ('web', 'api', 'db', 'mail')
    """

    def __init__(self, dependencies: Mapping[str, Iterable[str]]) -> None:
        self._dependencies = {name: tuple(dict.fromkeys(needs)) for name, needs in dependencies.items()}
        self._refuse_unknown()
        self.levels: tuple[tuple[str, ...], ...] = self._levels()

    @property
    def start_order(self) -> tuple[str, ...]:
        """Every service once, each after all it depends on; names in order within a level."""
        return tuple(name for level in self.levels for name in level)

    @property
    def stop_order(self) -> tuple[str, ...]:
        """Levels reversed: nothing stops while something that needs it still runs."""
        return tuple(name for level in reversed(self.levels) for name in level)

    def dependencies(self, name: str) -> tuple[str, ...]:
        """What the service depends on directly."""
        return self._dependencies[name]

    def dependents(self, name: str) -> frozenset[str]:
        """Every service that needs this one, directly or through others."""
        found: set[str] = set()
        frontier = {name}
        while frontier:
            frontier = {
                other for other, needs in self._dependencies.items() if other not in found and frontier & set(needs)
            }
            found |= frontier
        return frozenset(found)

    def _refuse_unknown(self) -> None:
        for name, needs in self._dependencies.items():
            for need in needs:
                if need not in self._dependencies:
                    raise InvalidServiceGraph(
                        f"Service {name!r} depends on {need!r}, which is not among the services",
                        details={"service": name, "unknown": need},
                    )

    def _levels(self) -> tuple[tuple[str, ...], ...]:
        waiting = {name: set(needs) for name, needs in self._dependencies.items()}
        levels: list[tuple[str, ...]] = []
        while waiting:
            ready = tuple(sorted(name for name, needs in waiting.items() if not needs))
            if not ready:
                cycle = _find_cycle(waiting)
                raise InvalidServiceGraph(
                    f"Services depend on each other in a circle: {' -> '.join(cycle)}",
                    details={"cycle": list(cycle)},
                )
            levels.append(ready)
            for name in ready:
                del waiting[name]
            for needs in waiting.values():
                needs.difference_update(ready)
        return tuple(levels)


def _find_cycle(waiting: Mapping[str, set[str]]) -> Sequence[str]:
    """Walk from the first name along first dependencies until one repeats: every name here has one."""
    path: list[str] = []
    name = min(waiting)
    while name not in path:
        path.append(name)
        name = min(waiting[name])
    return [*path[path.index(name) :], name]
