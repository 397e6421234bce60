"""Public fakes of what Nexus needs from outside, for its own tests and for those of programs that embed it.

Each passes the same contract suite as the real adapter. Time passes only when it is pushed, and
everything goes wrong exactly when told to::

    clock, ids, faults = FakeClock(), FakeIds(), Faults()
    publisher = FakePublisher(faults=faults)
    probe = FakeProbe(publisher, faults=faults)

    publisher.listen(2222)                                     # another program has the port
    faults.fail("publish", PublishFailed("No permission"))     # the next call fails
    stuck = faults.hang("handshake")                           # the next one is stuck …
    await stuck.entered.wait()
    await clock.advance(60)                                    # … past its deadline
    stuck.release()
    assert faults.calls == ["publish", "handshake"]

There is no fake store: the real one on a temporary file is as fast, and only SQL behaves like SQL.
"""

from __future__ import annotations

from nexus_fakes.bundles import FakeBundles
from nexus_fakes.clock import FakeClock
from nexus_fakes.examiner import FakeExaminer
from nexus_fakes.faults import Faults, Hang
from nexus_fakes.ids import FakeIds
from nexus_fakes.keys import FakeKeys
from nexus_fakes.meters import FakeMeters
from nexus_fakes.probe import FakeProbe
from nexus_fakes.project_files import FakeProjectFiles
from nexus_fakes.provider import FakeNode, FakeProvider
from nexus_fakes.publisher import FakeHost, FakePublisher
from nexus_fakes.workbench import FakeInsides, FakeRepository, FakeWorkbench

__all__ = [
    "FakeBundles",
    "FakeClock",
    "FakeExaminer",
    "FakeHost",
    "FakeIds",
    "FakeInsides",
    "FakeKeys",
    "FakeMeters",
    "FakeNode",
    "FakeProbe",
    "FakeProjectFiles",
    "FakeProvider",
    "FakePublisher",
    "FakeRepository",
    "FakeWorkbench",
    "Faults",
    "Hang",
]
