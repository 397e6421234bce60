"""The systematic part: the server dies at every named fault point, and again while it recovers from that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos import bodies
from chaos.asking import Asker
from chaos.ledger import Asked, Move
from chaos.verdict import settle
from chaos.world import World
from nexus_core.domain.operation import ONCE, STEPS, OperationKind
from nexus_core.engine.fault_points import FORWARD, UNFORWARD, Moment, of_operation, of_step

_PATIENCE = 40.0  # seconds in which the server must come by a point
_ANSWERED = 90.0
_ANY = frozenset({200, 201, 202, 204, 404, 409})

Request = Callable[[], None]


@dataclass(frozen=True)
class Passed:
    """What became of one point, and after how many seconds the server died."""

    point: str
    died: bool
    seconds: float


class Walk:
    """Goes through every point once, on a few workspaces of one person."""

    def __init__(self, world: World, only: frozenset[str] | None = None) -> None:
        """``only`` these points, for a shorter walk."""
        self._world = world
        self._only = only
        self._person = next(iter(world.ledger.people.values()))
        self._rng = world.random("points")
        self._asker = Asker(world, "points", self._person.token, self._rng)
        self._count = 0

    def __call__(self) -> Iterator[Passed]:
        """What became of each, as it does; one that the server did not come by is a finding."""
        create, start = OperationKind.CREATE, OperationKind.START
        first, second = self._new(), self._new()
        once = [of_step(start, step, moment) for step in STEPS[start] if step in ONCE for moment in _OF_A_STEP]
        often = [one for one in _points_of(start) if one not in once]

        def started(asked: Asked) -> Request:
            return lambda: self._move(asked, "start", "POST", "/start")

        yield from self._walk(_points_of(create), lambda: self._create(first))
        yield from self._walk(_points_of(OperationKind.REKEY), self._rotate)
        yield from self._walk(UNFORWARD, lambda: self._service(first, "DELETE"), again=True)
        yield from self._walk(FORWARD, lambda: self._service(first, "POST"), again=True)
        yield from self._walk(_points_of(OperationKind.STOP), lambda: self._move(first, "stop", "POST", "/stop"))
        yield from self._walk(often, started(first))
        deletion = _points_of(OperationKind.DELETE)
        yield from self._walk(deletion, lambda: self._move(first, "delete", "DELETE", "?force=true"))
        yield from self._walk(once, started(second), before=lambda: self._given_up(second))

    def close(self) -> None:
        """Let go of the connections."""
        self._asker.close()

    def _walk(
        self,
        points: list[str] | tuple[str, ...],
        request: Request,
        *,
        again: bool = False,
        before: Request | None = None,
    ) -> Iterator[Passed]:
        """Let the server die at each point of one request, which is sent ``again`` if nothing resumes it."""
        chosen = [one for one in points if self._only is None or one in self._only]
        if before is not None:
            if not chosen:
                return
            before()
        asking = None
        for point in chosen:
            with self._world.server_turn:
                self._world.server.kill()
                began = time.monotonic()
                self._world.server.start(die_at=point)
                if asking is None or again:
                    asking = threading.Thread(target=request, daemon=True)
                    asking.start()
                died = self._world.server.wait_for_death(_PATIENCE)
            took = time.monotonic() - began
            self._world.journal.note("points", point, died=died, seconds=round(took, 2))
            if not died:
                self._world.journal.finding(f"the server did not come by the fault point {point}")
            yield Passed(point, died, took)
        with self._world.server_turn:
            self._world.server.kill()
            self._world.server.start()
        if asking is None:
            request()
        else:
            asking.join(_ANSWERED)
        for text in settle(self._world):
            self._world.journal.finding(f"after {points[-1]}: {text}")

    def _new(self) -> Asked:
        self._count += 1
        return Asked(f"points-{self._count}", self._person.name, bodies.CHAIN[:2], time.time())

    def _create(self, asked: Asked) -> None:
        self._world.ledger.add(asked)
        body = bodies.body(asked.name, asked.owner, self._world.repository, self._rng, full=True)
        answer = self._asker.ask(
            *("create", "POST", "/workspaces"),
            fair=frozenset({202}),
            about=asked,
            patience=_ANSWERED,
            json=body,
            headers={"Idempotency-Key": f"{self._world.seed}-{asked.name}"},
        )
        if answer is not None and answer.status_code == 202:
            asked.id = answer.json()["workspace_id"]

    def _given_up(self, asked: Asked) -> None:
        """Have a workspace that was stopped before it had a container."""
        self._create(asked)
        self._move(asked, "stop", "POST", "/stop")
        for text in settle(self._world):
            self._world.journal.finding(f"stopped while it was created: {text}")

    def _rotate(self) -> None:
        self._person.in_doubt.append(key := self._world.new_key(self._person.name))
        body = {"ssh_pubkey": key.with_suffix(".pub").read_text()}
        path = f"/users/{self._person.name}/ssh-key"
        fair = frozenset({200})
        answer = self._asker.ask("rotate key", "PUT", path, fair=fair, patience=_ANSWERED, json=body)
        if answer is not None and answer.status_code == 200:
            self._person.keys.append(key)
            self._person.in_doubt.clear()

    def _service(self, asked: Asked, method: str) -> None:
        path = f"/workspaces/{asked.id}/services/{bodies.CHAIN[0]}/port-forward"
        self._asker.ask("forward" if method == "POST" else "close forward", method, path, fair=_ANY, about=asked)

    def _move(self, asked: Asked, kind: str, method: str, path: str) -> None:
        asked.moves.append(move := Move(kind, time.time()))
        answer = self._asker.ask(kind, method, f"/workspaces/{asked.id}{path}", fair=_ANY, about=asked)
        if answer is not None:
            move.answered, move.status = time.time(), answer.status_code


_OF_A_STEP = (Moment.BEGUN, Moment.ACTED, Moment.RECORDED)


def _points_of(kind: OperationKind) -> list[str]:
    """The operation's points in the order in which it passes them."""
    steps = [of_step(kind, step, moment) for step in STEPS[kind] for moment in _OF_A_STEP]
    return [
        of_operation(kind, Moment.QUEUED),
        of_operation(kind, Moment.CLAIMED),
        *steps,
        of_operation(kind, Moment.ENDED),
    ]
