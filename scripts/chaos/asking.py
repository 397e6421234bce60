"""One request after another for one person, each with its outcome in the journal, and sent again where that is safe."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import httpx

from chaos.ledger import Asked
from chaos.world import World

_BETWEEN = 0.3
_TOO_LONG = 45.0
_AFTERMATH = 30.0  # for so long after a disturbance 503 is a fair answer


class Asker:
    """Sends requests with one token."""

    def __init__(self, world: World, who: str, token: str, rng: random.Random) -> None:
        self._world = world
        self._who = who
        self._rng = rng
        self._client = world.client(token)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        fair: frozenset[int],
        about: Asked | None = None,
        patience: float = 0.0,
        **more: Any,
    ) -> httpx.Response | None:
        """The answer, or None if there was none within ``patience`` seconds of trying again.

        An answer that is neither ``fair`` nor explained by a fault is a finding.
        """
        deadline = time.monotonic() + patience
        while True:
            self._maybe_strike(method)
            began = time.monotonic()
            try:
                answer = self._client.request(method, path, **more)
            except httpx.TransportError as error:
                self._note(what, type(error).__name__, began, about)
                if isinstance(error, httpx.ReadTimeout):
                    self._world.journal.finding(f"{what} {path} was not answered within the client's time")
                if time.monotonic() > deadline:
                    return None
                time.sleep(_BETWEEN)
                continue
            self._note(what, str(answer.status_code), began, about, answer)
            if answer.status_code == 503 and time.monotonic() < deadline:
                time.sleep(_BETWEEN)
                continue
            if not self._is_fair(answer, fair, about):
                self._world.journal.finding(f"{what} {path} was answered {answer.status_code}: {answer.text[:400]}")
            if time.monotonic() - began > _TOO_LONG and not self._is_disturbed:
                self._world.journal.finding(f"{what} {path} took {time.monotonic() - began:.0f} s")
            return answer

    @property
    def _is_disturbed(self) -> bool:
        return time.time() < self._world.ledger.disturbed_until + _AFTERMATH

    def _is_fair(self, answer: httpx.Response, fair: frozenset[int], about: Asked | None) -> bool:
        """Whether this answer is one of those, or an injected fault explains it."""
        status = answer.status_code
        if status == 503:
            return self._is_disturbed
        if status == 500:
            return about is not None and (about.is_removed or about.was_harmed(time.time() - 120))
        is_lost = status == 404 and about is not None and not about.was_asked("delete")
        return status in fair and not (is_lost and answer.json()["error"] == "workspace_not_found")

    def _maybe_strike(self, method: str) -> None:
        """Kill the server a moment after this request, if that was asked for."""
        if method == "GET" or not self._world.strike.is_set():
            return
        self._world.strike.clear()
        delay = self._rng.choice((0.0, self._rng.uniform(0, 0.05), self._rng.uniform(0, 0.5)))
        struck = threading.Timer(delay, self._world.server.kill)
        struck.daemon = True
        struck.start()

    def _note(
        self, what: str, outcome: str, began: float, about: Asked | None, answer: httpx.Response | None = None
    ) -> None:
        said = {} if answer is None or answer.status_code < 400 else {"said": answer.text[:300]}
        workspace = {} if about is None else {"workspace": about.id or about.name}
        took = round((time.monotonic() - began) * 1000)
        self._world.journal.action(self._who, what, outcome, took, **workspace, **said)
