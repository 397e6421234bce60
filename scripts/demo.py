"""The main job, shown on the real thing: register, create, ssh in, a repository with services, and the times.

On a terminal the server and the workspace are left for you to try; otherwise everything is removed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import guestbook
import measure
from measure import say

USER, GITHUB_ID, WORKSPACE = "demo", 1, "demo"
STATE = measure.ROOT / ".state" / "demo"


def main() -> None:
    """Run the demo."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5, help="creations that are timed (5)")
    arguments.add_argument("--by-hand", type=int, default=1, help="the same by hand with lxc (1)")
    options = arguments.parse_args()
    if not measure.lxd_answers():
        raise SystemExit("demo: LXD does not answer, or has no project `nexus`.\n  fix: run `make setup` as root.")

    server = measure.running_server(STATE) or measure.start_server(STATE)
    say(f"server      {server.url}, state in {STATE.relative_to(measure.ROOT)}")
    keep = sys.stdout.isatty()
    try:
        key = story(server)
        services = guestbook.show(server, USER, STATE)
        nexus(server, "services", guestbook.NAME)
        times(server, key, options.runs, options.by_hand, services)
        if keep:
            leave(server, key)
    finally:
        if not keep:
            clean_up(server)
            measure.stop_server(server)
    if not keep:
        say("\ncleaned up: the workspace is deleted and the server has stopped.")


def nexus(server: measure.Server, *arguments: str) -> None:
    """Run the command line as a person would, and show what it says."""
    say(f"\n$ nexus {shlex.join(arguments)}")
    command = [str(measure.NEXUS), *arguments]
    subprocess.run(command, env=server.environment(), stdin=subprocess.DEVNULL, check=True)


def story(server: measure.Server) -> Path:
    """What a person does first."""
    clean_up(server)
    key = measure.make_key(STATE, "id_ed25519")
    say(f"user        {USER}, with a key made for the occasion: {key.relative_to(measure.ROOT)}")
    measure.register(server, USER, GITHUB_ID, key)
    began = time.perf_counter()
    nexus(server, "create", WORKSPACE, "--user", USER)
    question = 'echo "this is $(whoami)@$(hostname), $(. /etc/os-release; echo $PRETTY_NAME)"'
    nexus(server, "ssh", WORKSPACE, "--identity", str(key), "--", question)
    say(f"\nfrom `nexus create` to the answer over ssh: {time.perf_counter() - began:.2f} s")
    return key


def times(server: measure.Server, key: Path, runs: int, by_hand_runs: int, services: float) -> None:
    """How long it takes, by step, beside the same by hand."""
    say(f"\nwhere the time goes: {runs} creations, each to a command that has run over ssh")
    totals: list[float] = []
    steps: dict[str, list[float]] = {}
    for number in range(runs):
        total, parts = measure.creation_to_ssh(server, USER, key, f"{WORKSPACE}-{number}")
        totals.append(total)
        for step, seconds in parts.items():
            steps.setdefault(step, []).append(seconds)
    for step, all_seconds in steps.items():
        say(f"  {step:<22} {statistics.median(all_seconds):6.3f} s")
    median = statistics.median(totals)
    say(f"  {'create to ssh, median':<22} {median:6.3f} s   ({min(totals):.3f} to {max(totals):.3f})")
    hands = [measure.by_hand(key, STATE, f"by-hand-{number}") for number in range(by_hand_runs)]
    if hands:
        hand = statistics.median(hands)
        say(f"  {'by hand with lxc':<22} {hand:6.3f} s   ({hand / median:.1f} times as long; measured {len(hands)} x)")
    report = {"services_up_s": services, "create_to_ssh_s": totals, "by_hand_s": hands, "steps_s": steps}
    (STATE / "demo.json").write_text(json.dumps(report, indent=2) + "\n")


def leave(server: measure.Server, key: Path) -> None:
    """Say how to go on."""
    with server.client() as client:
        shown = client.get("/workspaces", params={"owner": USER}).json()["workspaces"]
        workspace = client.get(f"/workspaces/{shown[0]['workspace_id']}").json()
    say("\nthe server runs on; try the workspace, and the page of the guestbook above:")
    say("  " + shlex.join(measure.ssh_arguments(workspace, key, STATE / "known_hosts")))
    say(f"\nto end it: kill {server.pid}   (a new `make demo` takes the server over as it is)")


def clean_up(server: measure.Server) -> None:
    """Remove what this or an earlier demo made."""
    with server.client() as client:
        for workspace in client.get("/workspaces", params={"owner": USER}).json()["workspaces"]:
            measure.delete(client, workspace["workspace_id"])


if __name__ == "__main__":
    main()
