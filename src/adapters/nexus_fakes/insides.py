"""What is inside containers that exist in memory only, and goes on there whether a server looks or not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nexus_core.domain.recipe import Recipe
from nexus_core.domain.service import CheckType, ServiceSpec
from nexus_core.domain.service_graph import ServiceGraph
from nexus_core.errors import NexusError
from nexus_core.ports.workbench import Checkout, Happening, ServiceEvent

_TRIES = 3  # how often a crashing service is tried until somebody asks for it again


_FINISHED = "It did its work"


@dataclass(frozen=True, slots=True)
class FakeRepository:
    """A repository that can be cloned: its branches' commits, and the files of all of them.

    Nobody gets in without its ``token`` or ``deploy_key``, if it has one.
    """

    branches: Mapping[str, str] = field(default_factory=lambda: {"main": "1" * 40})
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    token: str | None = field(default=None, repr=False)
    deploy_key: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Inside:
    """What is inside one container; from ``up`` on until it stops."""

    checkout: Checkout | None = None
    files: dict[str, str] = field(default_factory=dict[str, str])
    log: str = ""
    scripts_done: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    outcomes: dict[tuple[str, str], NexusError | None] = field(default_factory=dict[tuple[str, str], NexusError | None])
    services: dict[str, ServiceSpec] = field(default_factory=dict[str, ServiceSpec])
    recipe: Recipe = field(default_factory=Recipe)
    outputs: dict[str, str] = field(default_factory=dict[str, str])  # what the services wrote
    life: int | None = None  # which one of the container's it is in; None while it does not run
    up: list[str] = field(default_factory=list[str])  # in the order in which they came up
    finished: set[str] = field(default_factory=set[str])  # did their work and ended well
    starting: set[str] = field(default_factory=set[str])
    resting: set[str] = field(default_factory=set[str])  # stopped, or given up, until they are asked for again
    is_installed: bool = False
    scripts_over: bool | None = None  # those after the start: ended well, or not
    events: list[ServiceEvent] = field(default_factory=list[ServiceEvent])
    runs: dict[str, int] = field(default_factory=dict[str, int])  # where in the events each begins

    @property
    def ready(self) -> set[str]:
        """What is up or has done its work: whatever waits for it may go on."""
        return self.finished.union(self.up)

    def begin_life(self, life: int | None) -> None:
        """Forget what does not outlive a stop."""
        self.life = life
        self.scripts_over = None
        for gone in (self.up, self.finished, self.starting, self.resting, self.events, self.runs):
            gone.clear()

    def begin(self, run_id: str) -> int:
        """Ask for everything that does not run; where the run's story begins among the events."""
        self.resting.clear()
        if self.scripts_over is False:
            self.scripts_over = None
        if run_id not in self.runs:
            self.runs[run_id] = len(self.events)
            self.events += [ServiceEvent(Happening.HEALTHY, name) for name in self.up]
            self.events += [
                ServiceEvent(Happening.ENDED, name, _FINISHED, exit_code=0) for name in sorted(self.finished)
            ]
            self.events += [ServiceEvent(Happening.SCRIPTS_DONE)] if self.scripts_over else []
        return self.runs[run_id]

    def end(self, services: Iterable[str], *, rest: bool) -> None:
        """Stop these; those that are to ``rest`` stay so."""
        names = set(services)
        self.up = [name for name in self.up if name not in names]
        self.starting -= names
        self.finished -= names
        self.resting = self.resting | names if rest else self.resting - names

    def tell(self, kind: Happening, service: str = "", reason: str = "", exit_code: int | None = None) -> None:
        """Let this have happened."""
        self.events.append(ServiceEvent(kind, service, reason, exit_code))


class FakeInsides:
    """Everything inside the containers of one node, and how it shall behave. Share it between workbenches.

    ``repositories`` are found by address, the uploaded ones by their path. Scripts in ``failing`` end with
    that exit code. Services in ``crashing`` end whenever they start, those in ``flaky`` so many times, those in
    ``finishing`` end well at once, those in ``sick`` run and are never healthy, and those in ``slow`` come up
    only when they are let (`release`).
    """

    def __init__(self) -> None:
        self.repositories: dict[str, FakeRepository] = {}
        self.failing: dict[str, int] = {}
        self.crashing: set[str] = set()
        self.flaky: dict[str, int] = {}
        self.finishing: set[str] = set()
        self.sick: set[str] = set()
        self.slow: set[str] = set()
        self.by_name: dict[str, Inside] = {}
        self.pulse = asyncio.Event()

    def release(self, service: str) -> None:
        """Let a slow service come up."""
        self.slow.discard(service)
        self.wake()

    def wake(self) -> None:
        """Let everyone who follows something see what there is now; a container that stopped ends it."""
        self.pulse.set()
        self.pulse = asyncio.Event()

    def go_on(self, inside: Inside) -> None:
        """Let happen what can: each service starts when all it needs is up, and then the scripts run."""
        # For what is not run here nothing can be waited.
        needs = {name: inside.services.keys() & one.depends_on for name, one in inside.services.items()}
        for name in ServiceGraph(needs).start_order:
            idle = name not in inside.up and name not in inside.finished and name not in inside.resting
            if idle and needs[name] <= inside.ready:
                self._start(inside, name)
        if inside.is_installed and inside.scripts_over is None and inside.services.keys() <= inside.ready:
            self._run_scripts(inside)

    def perform(self, inside: Inside, script: str) -> int:
        """The exit code of a script; ``echo TEXT`` and ``exit CODE`` are all that is understood of one."""
        inside.log += f"==> {script}\n"
        word, _, rest = script.partition(" ")
        if word == "echo":
            inside.log += f"{rest}\n"
        self.wake()
        return self.failing.get(script, int(rest) if word == "exit" else 0)

    def _start(self, inside: Inside, name: str) -> None:
        if name not in inside.starting:
            inside.starting.add(name)
            inside.tell(Happening.STARTING, name)
            inside.outputs[name] = inside.outputs.get(name, "") + f"hello from {name}\n"
        if name in self.slow:
            return
        inside.starting.discard(name)
        if name in self.crashing or self.flaky.get(name, 0):
            tries = _TRIES if name in self.crashing else self.flaky.pop(name)
            for again in range(tries):
                if again:
                    inside.tell(Happening.STARTING, name)
                inside.tell(Happening.ENDED, name, "It ended by itself with exit code 3", exit_code=3)
            if name in self.crashing:
                inside.resting.add(name)
                return
            inside.tell(Happening.STARTING, name)
        if name in self.finishing and inside.services[name].health_check.type is CheckType.NONE:
            inside.finished.add(name)
            inside.tell(Happening.ENDED, name, _FINISHED, exit_code=0)
        elif name in self.finishing:
            inside.resting.add(name)
            inside.tell(Happening.ENDED, name, "It ended by itself with exit code 0", exit_code=0)
        elif name in self.sick:
            inside.resting.add(name)
            inside.tell(Happening.FAILED, name, "12 checks in a row found it not healthy")
        else:
            inside.up.append(name)
            inside.tell(Happening.HEALTHY, name)

    def _run_scripts(self, inside: Inside) -> None:
        for number, script in enumerate(inside.recipe.post_start, start=1):
            code = self.perform(inside, script)
            if code:
                inside.scripts_over = False
                reason = f"The post_start script number {number} ended with exit code {code}"
                return inside.tell(Happening.SCRIPT_FAILED, reason=reason)
        inside.scripts_over = True
        return inside.tell(Happening.SCRIPTS_DONE)
