"""Followers of ``/events``, over all deaths of the server: each event once, in order, none left out."""

from __future__ import annotations

import threading
import time

import httpx

from chaos.world import World

_SILENCE = 40.0  # a heartbeat comes every 15 s
_CAUGHT_UP = 15.0
_WRITTEN = """
SELECT events.id FROM events JOIN workspaces ON workspaces.id = workspace_id JOIN users ON users.id = user_id
WHERE ? IN ('', github_username) ORDER BY events.id
"""


class Follower:
    """One stream for the administrator and one for each person, connected again whenever they break."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._closing = threading.Event()
        tokens = {"": world.server.token} | {one.name: one.token for one in world.ledger.people.values()}
        self._seen: dict[str, list[int]] = {owner: [] for owner in tokens}
        self._threads = [
            threading.Thread(target=self._follow, args=(owner, token), daemon=True) for owner, token in tokens.items()
        ]
        self.connections = 0

    @property
    def told(self) -> int:
        """How many events the administrator's stream has told."""
        return len(self._seen[""])

    def begin(self) -> None:
        """Follow from the first event on."""
        for one in self._threads:
            one.start()

    def close(self) -> None:
        """Follow no longer."""
        self._closing.set()

    def missing(self) -> list[str]:
        """How what was told differs from what is written down, after a moment to catch up."""
        deadline = time.monotonic() + _CAUGHT_UP
        while (wrong := self._differences()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return wrong

    def _differences(self) -> list[str]:
        wrong = []
        for owner, seen in self._seen.items():
            told = list(seen)
            with self._world.database() as database:
                rows = database.execute(_WRITTEN, [owner])
                written = [identifier for (identifier,) in rows]
            if told != written:
                left_out, doubled = sorted(set(written) - set(told))[:5], len(told) - len(set(told))
                counts = f"{len(written)} written, {len(told)} told, {doubled} of them twice, left out: {left_out}"
                wrong.append(f"the events of {owner or 'everybody'}: {counts}")
        return wrong

    def _follow(self, owner: str, token: str) -> None:
        with httpx.Client(timeout=_SILENCE, headers={"Authorization": f"Bearer {token}"}) as client:
            while not self._closing.is_set():
                try:
                    self._connection(client, owner)
                except httpx.TransportError:
                    self._closing.wait(0.2)

    def _connection(self, client: httpx.Client, owner: str) -> None:
        seen = self._seen[owner]
        headers = {"Last-Event-ID": str(seen[-1] if seen else 0)}
        with client.stream("GET", f"{self._world.server.url}/api/v1/events", headers=headers) as answer:
            if answer.status_code != 200:
                if answer.status_code != 503:
                    self._world.journal.finding(f"/events was answered {answer.status_code}: {answer.read()[:200]!r}")
                self._closing.wait(1.0)
                return
            self.connections += 1
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if self._closing.is_set():
                    return
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                    continue
                if fields.get("event") in ("gap", "dropped"):
                    self._world.journal.finding(f"/events told {owner or 'the administrator'} of {fields}")
                elif "id" in fields:
                    seen.append(int(fields["id"]))
                fields = {}
