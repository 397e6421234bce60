"""People at work: each client does one random thing after another for one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos import bodies, outside
from chaos.asking import Asker
from chaos.ledger import Asked, Move, Person
from chaos.world import World

_RETRIES = 90.0  # how long a request that is safe to repeat is repeated
_MOVED = frozenset({200, 202, 204, 404, 409})
_READS = frozenset({200, 404})


class Client:
    """One client; `work` goes on until it is told to pause, and again where it was."""

    def __init__(self, world: World, number: int, person: Person, most: int) -> None:
        """``most`` workspaces at once are enough for all clients together."""
        self._world = world
        self._name = f"client-{number}"
        self._person = person
        self._most = most
        self._rng = world.random(self._name)
        self._made = 0
        self._asker = Asker(world, self._name, person.token, self._rng)
        self._actions: dict[Callable[[], None], int] = {
            self.create: 12,
            self.start: 10,
            self.stop: 7,
            self.delete: 4,
            self.read: 14,
            self.forward: 5,
            self.close_forward: 3,
            self.restart_service: 3,
            self.rotate_key: 3,
        }

    def work(self, pause: threading.Event) -> None:
        """Do random things until paused."""
        actions, weights = list(self._actions), list(self._actions.values())
        while not pause.is_set():
            (action,) = self._rng.choices(actions, weights)
            try:
                action()
            except Exception as error:  # a client that ends in silence would hide a fault
                self._world.journal.finding(f"{self._name} met {error!r}")
            pause.wait(self._rng.expovariate(2.0))

    def close(self) -> None:
        """Let go of the connections."""
        self._asker.close()

    def create(self) -> None:
        """Ask for a workspace, again after every broken connection; it is there once, and its id is always the same."""
        if len(self._world.ledger.present()) >= self._most:
            return
        self._made += 1
        name = f"{self._name.replace('client-', 'c')}-{self._made}"
        request = bodies.body(name, self._person.name, self._world.repository, self._rng)
        asked = Asked(name, self._person.name, tuple(one["name"] for one in request["services"]), time.time())
        self._world.ledger.add(asked)
        for again in (False, True):
            answer = self._asker.ask(
                *("create", "POST", "/workspaces"),
                fair=frozenset({202}),
                about=asked,
                patience=_RETRIES,
                json=request,
                headers={"Idempotency-Key": f"{self._world.seed}-{name}"},
            )
            if answer is None or answer.status_code != 202:
                return
            workspace_id = answer.json()["workspace_id"]
            if asked.id not in ("", workspace_id):
                self._world.journal.finding(f"{name} was made twice: {asked.id} and {workspace_id}")
            asked.id = workspace_id
            if again or self._rng.random() < 0.8:
                return

    def start(self) -> None:
        """Start a workspace, whatever it does."""
        if (asked := self._any()) is not None:
            self._move(asked, "start", "POST", f"/workspaces/{asked.id}/start")

    def stop(self) -> None:
        """Stop a workspace, at times by force."""
        if (asked := self._any()) is not None:
            force = {"force": self._rng.random() < 0.3}
            self._move(asked, "stop", "POST", f"/workspaces/{asked.id}/stop", json=force)

    def delete(self) -> None:
        """Delete a workspace, most times by force, and now and then until it is known to be gone."""
        if (asked := self._any()) is None:
            return
        patience = self._rng.choice((0.0, _RETRIES))
        force = {"force": self._rng.choice(("true", "true", "false"))}
        self._move(asked, "delete", "DELETE", f"/workspaces/{asked.id}", patience=patience, params=force)

    def read(self) -> None:
        """Look at something."""
        paths = ["/workspaces", "/health", "/status", f"/users/{self._person.name}"]
        asked = self._any()
        if asked is not None:
            paths += [f"/workspaces/{asked.id}{part}" for part in ("", "/status", "/services", "/logs")]
        path = self._rng.choice(paths)
        what = "read logs" if path.endswith("/logs") else "read"
        # What is read from inside a container may find it stopped.
        fair = _READS | {409} if what == "read logs" else _READS
        self._asker.ask(what, "GET", path, fair=fair, about=asked)

    def forward(self) -> None:
        """Lead a host port to a service."""
        self._of_service("forward", "POST", "port-forward", frozenset({200, 201, 404, 409}))

    def close_forward(self) -> None:
        """Forward a service no longer."""
        self._of_service("close forward", "DELETE", "port-forward", frozenset({204, 404, 409}))

    def restart_service(self) -> None:
        """Restart a service."""
        self._of_service("restart", "POST", "restart", frozenset({202, 404, 409}))

    def rotate_key(self) -> None:
        """Exchange the person's key, again until it is known whether it was exchanged."""
        if not self._person.turn.acquire(blocking=False):
            return
        try:
            key, old = self._world.new_key(self._person.name), self._person.keys[-1]
            self._person.in_doubt.append(key)
            public = {"ssh_pubkey": key.with_suffix(".pub").read_text()}
            path = f"/users/{self._person.name}/ssh-key"
            fair = frozenset({200})
            answer = self._asker.ask("rotate key", "PUT", path, fair=fair, patience=_RETRIES, json=public)
            if answer is not None and answer.status_code == 200:
                self._person.keys.append(key)
                self._person.in_doubt.clear()
                self._try_old_key(old)
        finally:
            self._person.turn.release()

    def _try_old_key(self, old: Path) -> None:
        """Once the exchange is answered the old key opens nothing that runs."""
        running = outside.running(self._world, self._person.name)
        if not running:
            return
        workspace = self._rng.choice(running)
        code, said = outside.says(self._world, workspace, old, "true")
        if code != 255:
            self._world.journal.finding(f"the old key still opened {workspace['name']} after its exchange: {said}")

    def _of_service(self, what: str, method: str, path: str, fair: frozenset[int]) -> None:
        asked = self._any(with_services=True)
        if asked is not None:
            name = self._rng.choice(asked.services)
            self._asker.ask(what, method, f"/workspaces/{asked.id}/services/{name}/{path}", fair=fair, about=asked)

    def _move(self, asked: Asked, kind: str, method: str, path: str, **more: Any) -> None:
        move = Move(kind, time.time())
        asked.moves.append(move)
        answer = self._asker.ask(kind, method, path, fair=_MOVED, about=asked, **more)
        if answer is not None:
            move.answered, move.status = time.time(), answer.status_code

    def _any(self, *, with_services: bool = False) -> Asked | None:
        known = [one for one in self._world.ledger.present(self._person.name) if one.services or not with_services]
        return self._rng.choice(known) if known else None
