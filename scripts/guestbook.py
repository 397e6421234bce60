"""The demo's second act: a repository with a database, an API and a page, cloned from a real git server."""

from __future__ import annotations

import html
import re
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import measure
from git_daemon import git_daemon
from measure import say

NAME = "guestbook"
BUNDLE = measure.ROOT / "examples" / "guestbook.bundle"
_PATIENCE = 300.0


def show(server: measure.Server, user: str, folder: Path) -> float:
    """Create the workspace, tell what starts when, and open the page; seconds its services took to come up."""
    with git_server(folder) as address:
        url = f"{address}/{NAME}.git"
        say(f"\na repository with services: {url}, a real git server on the bridge, made of {BUNDLE.name}")
        body = {"workspace_name": NAME, "github_username": user, "repo": {"url": url}}
        with server.client() as client:
            accepted = client.post("/workspaces", json=body)
            accepted.raise_for_status()
            path = f"/workspaces/{accepted.json()['workspace_id']}"
            seconds = follow(client, path)
            workspace = client.get(path).json()
    page = workspace["services"]["web"]["url"]
    say(f"\n$ curl {page}")
    say(text_of(httpx.get(page).text))
    say(f"$ curl -d name=You -d text='It works.' {page}")
    httpx.post(page, data={"name": "You", "text": "It works."}, follow_redirects=True).raise_for_status()
    signed = httpx.get(page).text
    if "It works." not in signed:
        raise SystemExit("the page does not show what was signed")
    say(text_of(signed))
    return seconds


def follow(client: httpx.Client, path: str) -> float:
    """Tell each step and each service as it gets along; seconds from the first service's start to the last's health."""
    began = time.perf_counter()
    told: dict[str, str] = {}
    started: dict[str, float] = {}
    up: dict[str, float] = {}
    while True:
        shown = client.get(path).json()
        now = time.perf_counter() - began
        for step in shown["progress"]:
            if told.get(step["step"]) != step["status"] and step["status"] in ("done", "failed"):
                say(f"  {now:6.2f} s  {step['step']:<18} {step['status']} in {step['duration_ms'] / 1000:.2f} s")
            told[step["step"]] = step["status"]
        for service in shown["services"].values():
            name, status = service["name"], service["status"]
            if status == "starting" and name not in started:
                started[name] = now
                needs = f", as {' and '.join(service['depends_on'])} is healthy" if service["depends_on"] else ""
                say(f"  {now:6.2f} s    {name:<16} starts{needs}")
            if status == "running" and name not in up:
                up[name] = now
                say(f"  {now:6.2f} s    {name:<16} is healthy, {now - started.get(name, now):.2f} s later")
        if shown["status"] == "error":
            raise SystemExit(f"the workspace ended in error: {shown['error']['message']}")
        if shown["status"] == "running":
            break
        if now > _PATIENCE:
            raise SystemExit(f"the workspace is still {shown['status']} after {_PATIENCE:.0f} s")
        time.sleep(0.02)
    seconds = max(up.values()) - min(started.values())
    order = ", ".join(sorted(up, key=up.__getitem__))
    say(f"\nall services up {seconds:.2f} s after the first began, in this order: {order}")
    return seconds


def text_of(page: str) -> str:
    """The page's words, one line an entry."""
    entries = re.findall(r"<li><b>(.*?)</b> (.*?)</li>", page)
    title = re.findall(r"<h1>(.*?)</h1>", page)
    return "\n".join([f"  {title[0]}", *(f"   - {html.unescape(who)}: {html.unescape(what)}" for who, what in entries)])


@contextmanager
def git_server(folder: Path) -> Generator[str]:
    """git's own server on the bridge, where workspaces reach it, with the example's repository behind its address."""
    repositories = folder / "git"
    repository = repositories / f"{NAME}.git"
    if not repository.exists():
        clone = ["git", "clone", "--quiet", "--bare", str(BUNDLE), str(repository)]
        subprocess.run(clone, check=True)
    with git_daemon(repositories) as address:
        yield address
