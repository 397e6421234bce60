"""What is wrong between services, told where the file says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nexus_config.problems import MOST_TOLD, Place
from nexus_config.spelling import did_you_mean
from nexus_config.tree import Node, Table
from nexus_core.domain.service import ServiceSpec, check_services
from nexus_core.errors import InvalidServiceGraph


@dataclass(frozen=True, slots=True)
class ServiceAt:
    """A service of the file; ``name`` and ``spec`` are None where they have to be corrected."""

    name: str | None
    place: Place
    node: Node
    spec: ServiceSpec | None

    def at(self, key: str) -> Place:
        """Where its key is, or where it is itself."""
        entries = self.node.entries if isinstance(self.node, Table) else ()
        return next((self.place.below(entry) for entry in entries if entry.key == key), self.place)


def check_together(found: Sequence[ServiceAt]) -> None:
    """Tell what the core says against these services running together.

    It stops at the first thing; so that is taken out here, and it is asked again. A service that is wrong by
    itself counts as being there, so that nothing is said of those that need it.
    """
    remaining = [(one, one.spec or ServiceSpec(one.name, None)) for one in found if one.name is not None]
    for _ in range(MOST_TOLD):
        try:
            check_services([spec for _, spec in remaining])
        except InvalidServiceGraph as exc:
            remaining = _without(exc, remaining)
        else:
            return


def _without(
    exc: InvalidServiceGraph, services: Sequence[tuple[ServiceAt, ServiceSpec]]
) -> list[tuple[ServiceAt, ServiceSpec]]:
    """The services without what is wrong, which is told."""
    known = {spec.name: one for one, spec in services}
    match exc.details:
        case {"service": str(name), "unknown": str(need)}:
            meant = did_you_mean(need, [other for other in known if other != name])
            known[name].at("depends_on").refuse(f"{need} is not among the services{meant}")
            return _changed(services, name, need)
        case {"cycle": [str(name), str(need), *_] as cycle}:
            path = " -> ".join(map(str, cycle))
            known[name].at("depends_on").refuse(f"services depend on each other in a circle: {path}")
            return _changed(services, name, need)
        case {"duplicate": int(port), "services": [str(first), str(second)]}:
            known[second].at("port").refuse(f"port {port} is that of {first} already")
            return [
                (one, ServiceSpec(second, None, depends_on=spec.depends_on) if spec.name == second else spec)
                for one, spec in services
            ]
        case _:
            name = str(exc.details["duplicate"])
            known[name].at("name").refuse(f"there is another service named {name}")
            return [pair for pair in services if pair[0] is not known[name]]


def _changed(
    services: Sequence[tuple[ServiceAt, ServiceSpec]], name: str, need: str
) -> list[tuple[ServiceAt, ServiceSpec]]:
    return [
        (one, replace(spec, depends_on=tuple(other for other in spec.depends_on if other != need)))
        if spec.name == name
        else (one, spec)
        for one, spec in services
    ]
