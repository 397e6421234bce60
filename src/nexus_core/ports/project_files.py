"""Understanding what a repository says about how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from nexus_core.domain.recipe import ProjectConfig


class ProjectFiles(ABC):
    """Reads the configuration files of repositories. Pure: the same text gives the same answer."""

    @property
    @abstractmethod
    def paths(self) -> Sequence[str]:
        """The files to look for in a repository, the one that counts most first."""

    @abstractmethod
    def understand(self, files: Mapping[str, str]) -> ProjectConfig | None:
        """What the first of these files that is there says; None if there is none.

        ``files`` maps those of `paths` that exist to their text. What is said holds `check_services`. Raises
        `InvalidConfig` naming file, line and key. What is understood and not used is told in ``notes``.
        """
