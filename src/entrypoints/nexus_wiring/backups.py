"""Backups of a state directory's database: the way from the command line to the adapter that makes them."""

from __future__ import annotations

import os
from pathlib import Path

from nexus_host.clock import SystemClock
from nexus_sqlite import backup, restore
from nexus_sqlite.copies import Contents
from nexus_sqlite.restore import Restored
from nexus_wiring.state import StateDirectory, StateDirectoryInUse


def back_up(state: StateDirectory, target: Path) -> Contents:
    """Copy the database to the target, with a server running on it or not; raises `NexusError`."""
    return backup.back_up(state.database, target)


def put_back(state: StateDirectory, source: Path) -> Restored:
    """Put the backup in the database's place; raises `NexusError`, also where a server runs on the directory."""
    try:
        lock = state.hold()
    except StateDirectoryInUse as exc:
        raise StateDirectoryInUse(exc.what, fix="Stop it first (`systemctl stop nexus`, say).") from exc
    try:
        return restore.restore(state.database, source, key=state.present_key(), now=SystemClock().now())
    finally:
        os.close(lock)
