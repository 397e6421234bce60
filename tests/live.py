"""A whole server on the real LXD, for end-to-end tests that drive it over HTTP."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import measure

OWNER = "alice"
PATIENCE = 90.0


@dataclass
class Live:
    """A server, its owner's key, and what tests ask of both."""

    server: measure.Server
    key: Path

    @property
    def state(self) -> Path:
        return self.server.state

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request as the administrator."""
        with self.server.client() as client:
            return client.request(method, path, **more)

    def show(self, workspace_id: str) -> dict[str, Any]:
        """The workspace as the API shows it."""
        shown: dict[str, Any] = self.request("GET", f"/workspaces/{workspace_id}").json()
        return shown

    def accept(self, name: str, **more: Any) -> str:
        """The id of a workspace that was asked for."""
        body = {"workspace_name": name, "github_username": OWNER, **more}
        answer = self.request("POST", "/workspaces", json=body)
        assert answer.status_code == 202, answer.text
        workspace_id: str = answer.json()["workspace_id"]
        return workspace_id

    def create(self, name: str, **more: Any) -> dict[str, Any]:
        """A workspace that has come up."""
        return self.settled(self.accept(name, **more), "running")

    def failing(self, name: str, **more: Any) -> dict[str, Any]:
        """A workspace that has ended in error."""
        return self.settled(self.accept(name, **more), "error")

    def settled(self, workspace_id: str, status: str) -> dict[str, Any]:
        """The workspace once it is in a status that lasts, which must be this one."""
        shown = self.until(workspace_id, lambda one: one["status"] in ("running", "error", "stopped"))
        assert shown["status"] == status, shown["error"]
        return shown

    def until(
        self, workspace_id: str, is_so: Callable[[dict[str, Any]], bool], patience: float = PATIENCE
    ) -> dict[str, Any]:
        """The workspace as soon as this is so of it."""
        deadline = time.monotonic() + patience
        while not is_so(shown := self.show(workspace_id)):
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        return shown

    def service(self, workspace: dict[str, Any], name: str, status: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The service as soon as it has this status."""
        shown = self.until(
            workspace["workspace_id"], lambda one: bool(one["services"][name]["status"] == status), patience
        )
        service: dict[str, Any] = shown["services"][name]
        return service

    def start(self, workspace: dict[str, Any], status: str = "running") -> dict[str, Any]:
        """Start the workspace and wait for what becomes of it."""
        workspace_id = workspace["workspace_id"]
        answer = self.request("POST", f"/workspaces/{workspace_id}/start")
        assert answer.status_code == 202, answer.text
        return self.settled(workspace_id, status)

    def stop(self, workspace: dict[str, Any]) -> None:
        """Stop the workspace."""
        answer = self.request("POST", f"/workspaces/{workspace['workspace_id']}/stop")
        assert answer.status_code == 200, answer.text

    def inside(self, workspace: dict[str, Any], command: str, *, user: str = "dev") -> str:
        """What a command writes that is run inside by the host's own means; it must succeed."""
        shell = ["runuser", "-u", user, "--", "bash", "-c", command]
        done = subprocess.run(
            ["lxc", "exec", "--project", "nexus", workspace["container_id"], "--", *shell],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env=self._lxc_environment(),
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(shell)}: {done.stdout}{done.stderr}"
        return done.stdout

    def log(self, workspace: dict[str, Any], service: str | None = None) -> str:
        """What a service wrote, or the clone and the set-up."""
        path = f"/workspaces/{workspace['workspace_id']}" + (f"/services/{service}" if service else "")
        return self.request("GET", f"{path}/logs").text

    def crash_and_restart(self) -> None:
        """End the server as a crash would, and start another on its state."""
        self.crash()
        self.restart()

    def crash(self) -> None:
        """End the server without a word."""
        measure.kill_server(self.server)

    def restart(self, *healthy: str) -> None:
        """Start a server that has ended once more, at the same address; healthy is ``ok`` unless something is named."""
        port = int(self.server.url.rpartition(":")[2])
        self.server = measure.start_server(
            self.state, port=port, settings=self.server.settings, healthy=healthy or ("ok",)
        )

    def remove_everything(self) -> None:
        """Remove every workspace there is."""
        with self.server.client() as client:
            for one in client.get("/workspaces", params={"limit": 200}).json()["workspaces"]:
                client.delete(f"/workspaces/{one['workspace_id']}", params={"force": "true"})

    def _lxc_environment(self) -> dict[str, str]:
        """What ``lxc`` needs to ask the LXD that the server uses."""
        endpoint = self.server.settings.get("NEXUS_LXD_ENDPOINT")
        return {**os.environ, "LXD_DIR": str(Path(endpoint).parent)} if endpoint else dict(os.environ)


@contextmanager
def living(folder: Path, settings: Mapping[str, str] | None = None) -> Generator[Live]:
    """A server of its own in this folder, with these ``NEXUS_…`` variables, removed without a trace."""
    server = measure.start_server(folder / "state", settings=settings)
    key = measure.make_key(folder, OWNER)
    live = Live(server, key)
    try:
        measure.register(server, OWNER, 1, key)
        yield live
    finally:
        live.remove_everything()
        measure.stop_server(live.server)
        measure.forget(live.server)
