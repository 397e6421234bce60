"""What goes wrong: the server, LXD, containers, the kernel's table, the database, the power."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from own_lxd import PROJECT

from chaos.outside import SERVER_MARK, WORKSPACE_MARK
from chaos.server import DidNotStart
from chaos.world import World
from nexus_core.engine.fault_points import every

_LONGEST_PAUSE = 15.0
_LOCKED = 5.0
_STARTS, _LXD_START = 3, 70.0
_Faults = Mapping[Callable[[], None], int]


class Faults:
    """Two hands that do harm side by side: one to the server, one to everything beneath it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._above = world.random("faults above")
        self._below = world.random("faults below")
        self._points = every()

    def work_above(self, pause: threading.Event) -> None:
        """Harm the server until paused; it is up at the end."""
        faults = {
            self.kill_server: 5,
            self.strike: 6,
            self.stop_server: 3,
            self.die_at_a_point: 6,
            self.lock_database: 2,
        }
        self._work(pause, faults, self._above, 1.0, 5.0)
        self.mend_server()

    def work_below(self, pause: threading.Event) -> None:
        """Harm LXD, containers and the kernel's table until paused; LXD is up at the end."""
        faults = {
            self.kill_lxd: 4,
            self.pause_lxd: 2,
            self.kill_container: 3,
            self.stop_container: 2,
            self.delete_container: 2,
            self.freeze_container: 1,
            self.flush_table: 2,
            self.cut_power: 1,
        }
        self._work(pause, faults, self._below, 1.5, 6.0)

    def mend_server(self) -> None:
        """Start the server if it is dead, or if it is to die."""
        with self._world.server_turn:
            self._world.strike.clear()
            if not self._world.server.is_alive:
                self._start()

    def kill_server(self) -> None:
        """``kill -9``, at any moment."""
        self._world.journal.fault("server: kill -9")
        with self._world.server_turn:
            self._world.server.kill()
            self._start_soon()

    def strike(self) -> None:
        """``kill -9`` within half a second of a request that changes something."""
        self._world.journal.fault("server: kill -9 upon a request")
        with self._world.server_turn:
            self._world.strike.set()
            self._world.server.wait_for_death(6)
            if not self._world.strike.is_set():
                self._world.server.wait_for_death(1)
            self._world.strike.clear()
            self._world.server.kill()
            self._start_soon()

    def stop_server(self) -> None:
        """SIGTERM, and a start."""
        self._world.journal.fault("server: SIGTERM")
        self._world.ledger.disturb(30)
        with self._world.server_turn:
            took = self._world.server.stop()
            self._world.journal.note("fault", "stopped", seconds=took)
            if took is None:
                self._world.journal.finding("the server did not end within 60 s of SIGTERM")
            self._start_soon()

    def die_at_a_point(self) -> None:
        """Have the server kill itself at one of the named fault points, if it comes by."""
        point = self._above.choice(self._points)
        self._world.journal.fault("server: dies at a fault point", point=point)
        with self._world.server_turn:
            self._world.server.kill()
            self._start(die_at=point)
            died = self._world.server.wait_for_death(6)
            self._world.journal.note("fault", "died" if died else "did not come by", point=point)
            self._world.server.kill()
            self._start_soon()

    def lock_database(self) -> None:
        """Hold the database's write lock for five seconds, as another program may."""
        self._world.journal.fault("database: locked for 5 s")
        self._world.ledger.disturb(_LOCKED)
        file = self._world.server.state / "nexus.db"
        with (
            self._world.server_turn,
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(file, isolation_level=None)) as database,
        ):
            database.execute("BEGIN IMMEDIATE")
            time.sleep(_LOCKED)
            database.execute("ROLLBACK")

    def kill_lxd(self) -> None:
        """``kill -9`` of the daemon, and a start after up to six seconds."""
        away = self._below.choice((0.0, self._below.uniform(0, 6)))
        self._world.journal.fault("LXD: kill -9", seconds=away)
        self._world.ledger.disturb(away)
        self._world.lxd.kill()
        time.sleep(away)
        self._start_lxd()

    def pause_lxd(self) -> None:
        """A daemon that hangs for up to fifteen seconds."""
        away = self._below.uniform(1, _LONGEST_PAUSE)
        self._world.journal.fault("LXD: SIGSTOP", seconds=away)
        self._world.ledger.disturb(away)
        self._world.lxd.pause()
        time.sleep(away)
        self._world.lxd.resume()

    def kill_container(self) -> None:
        """``kill -9`` of a container's first process, with which all of it ends."""
        name = self._victim("container: kill -9 of its init")
        if name is not None:
            state = json.loads(self._world.lxd.lxc("query", f"/1.0/instances/{name}/state?project={PROJECT}"))
            if state["pid"] > 0:
                with suppress(ProcessLookupError):
                    os.kill(state["pid"], signal.SIGKILL)

    def stop_container(self) -> None:
        """``lxc stop --force`` by hand."""
        self._by_hand("container: lxc stop --force", "stop", "--force")

    def delete_container(self) -> None:
        """``lxc delete --force`` by hand."""
        self._by_hand("container: lxc delete --force", "delete", "--force")

    def freeze_container(self) -> None:
        """``lxc pause`` by hand."""
        self._by_hand("container: lxc pause", "pause")

    def flush_table(self) -> None:
        """Flush the server's own table, as somebody does who reloads the firewall."""
        self._world.journal.fault("nftables: table flushed")
        table = f"nexus_{self._world.server_id}".replace("-", "_")
        how = self._below.choice((["flush", "table"], ["delete", "table"]))
        subprocess.run(["nft", *how, "ip", table], check=False, capture_output=True)

    def cut_power(self) -> None:
        """Everything ends at once, the server, LXD and all containers; and comes back."""
        with self._world.server_turn:
            self._world.journal.fault("power cut")
            self._world.ledger.cuts.append(time.time())
            self._world.server.kill()
            self._world.lxd.cut_power()
            first, second = self._below.sample([self._start_lxd, self._start], 2)
            first()
            time.sleep(self._below.uniform(0, 2))
            second()

    def _work(self, pause: threading.Event, faults: _Faults, rng: random.Random, least: float, most: float) -> None:
        while not pause.wait(rng.uniform(least, most)):
            (fault,) = rng.choices(list(faults), list(faults.values()))
            try:
                fault()
            except RuntimeError as error:
                # `lxc` by hand may meet what the program does at the same moment.
                self._world.journal.note("fault", "refused", error=str(error))
            except Exception as error:  # a hand that falls asleep would make the rest look well
                self._world.journal.finding(f"{fault.__name__} met {error!r}")

    def _victim(self, what: str) -> str | None:
        """The name of a container that a client knows, noted as harmed."""
        listed = json.loads(self._world.lxd.lxc("query", f"/1.0/instances?recursion=1&project={PROJECT}"))
        server_id = self._world.server_id
        known = [
            (one["name"], one["config"][WORKSPACE_MARK])
            for one in listed
            if one["config"].get(SERVER_MARK) == server_id and one["status"] == "Running"
        ]
        if not known:
            return None
        name, workspace_id = self._below.choice(known)
        if not self._world.ledger.harm(workspace_id, what):
            return None
        self._world.journal.fault(what, workspace=workspace_id)
        return str(name)

    def _by_hand(self, what: str, verb: str, *options: str) -> None:
        name = self._victim(what)
        if name is not None:
            self._world.lxd.lxc(verb, *options, name, "--project", PROJECT)

    def _start_lxd(self) -> None:
        """Start it, and again if it hangs before it can say a word, as it does once in some sixty times."""
        for _ in range(_STARTS):
            self._world.ledger.disturb(_LXD_START)
            try:
                self._world.lxd.start()
            except RuntimeError as error:
                self._world.journal.note("fault", "LXD did not come up", error=str(error))
                self._world.lxd.kill()
            else:
                self._world.journal.note("fault", "LXD is back")
                self._world.ledger.disturbed_until = time.time()
                return
        self._world.journal.finding(f"LXD did not come up in {_STARTS} attempts")

    def _start_soon(self) -> None:
        time.sleep(self._above.choice((0.0, self._above.uniform(0, 3))))
        self._start()

    def _start(self, die_at: str | None = None) -> None:
        try:
            lives = self._world.server.start(die_at)
            self._world.journal.note("fault", "server is up" if lives else "server died", pid=self._world.server.pid)
        except DidNotStart as error:
            self._world.journal.finding(f"the server did not start: {error}")
