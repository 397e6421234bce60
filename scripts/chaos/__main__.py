"""``make chaos``: reads SEED and MINUTES, exits with 0 if the verdict is clean."""

from __future__ import annotations

import os
import secrets
import signal
import sys

from measure import lxd_answers

from chaos.course import Plan, run

if __name__ == "__main__":
    if not lxd_answers():
        raise SystemExit("LXD does not answer: run `make setup` first")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # also where the shell has it ignored: all is taken down
    seed = int(os.environ.get("SEED") or secrets.randbelow(100_000))
    minutes = float(os.environ.get("MINUTES") or 10)
    points = os.environ.get("POINTS")
    plan = Plan(seed, minutes * 60, points=int(points) if points else None)
    sys.exit(0 if run(plan) else 1)
