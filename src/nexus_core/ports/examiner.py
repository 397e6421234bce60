"""Looking at what Nexus stands on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from nexus_core.domain.finding import Finding


class Examiner(ABC):
    """Looks at one part of the world that Nexus needs, and mends what is safe to mend.

    Neither method raises for what it looks at: what is away, broken or may not be looked at is a
    finding, and comes within some seconds.
    """

    @abstractmethod
    async def examine(self) -> Sequence[Finding]:
        """How everything fares, in a fixed order; changes nothing. Whatever is not well says what to do."""

    @abstractmethod
    async def mend(self, finding: Finding) -> Finding:
        """Mend what this examiner found with ``mend`` set; the finding afterwards says what was done, or why not.

        It is looked at once more before anything is changed. Mending what is well by now is fine. Nothing
        is touched that is not this server's own or the set-up's.
        """
