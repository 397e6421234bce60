"""What was asked, done and seen, one JSON line each, so that a failure can be understood afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines that many threads write to, and the counts that the progress and the table show."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.actions: Counter[tuple[str, str]] = Counter()  # by name and outcome
        self.faults: Counter[str] = Counter()
        self.findings: list[str] = []
        self.slowest: dict[str, int] = {}  # milliseconds, by action
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def action(self, who: str, what: str, outcome: str, milliseconds: int, **more: Any) -> None:
        """A client asked for something, and this is what it was answered."""
        with self._lock:
            self.actions[what, outcome] += 1
            self.slowest[what] = max(milliseconds, self.slowest.get(what, 0))
        self.note(who, what, outcome=outcome, ms=milliseconds, **more)

    def fault(self, what: str, **more: Any) -> None:
        """Something was done to the server, LXD or a container."""
        with self._lock:
            self.faults[what] += 1
        self.note("fault", what, **more)

    def finding(self, text: str) -> None:
        """Something that must not be, seen on the way; it spoils the verdict."""
        with self._lock:
            self.findings.append(text)
        self.note("finding", text)

    def note(self, who: str, what: str, **more: Any) -> None:
        """Anything else worth a line."""
        line = json.dumps({"t": round(time.time(), 3), "who": who, "what": what, **more}, default=str)
        with self._lock:
            self._file.write(f"{line}\n")

    def close(self) -> None:
        """End the file."""
        self._file.close()
