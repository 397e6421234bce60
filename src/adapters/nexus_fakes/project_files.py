"""Configuration files that say what a test wants them to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nexus_core.domain.recipe import ProjectConfig
from nexus_core.errors import InvalidConfig
from nexus_core.ports.project_files import ProjectFiles


class FakeProjectFiles(ProjectFiles):
    """A `ProjectFiles` that looks up each text in ``meanings``; an unknown text cannot be understood."""

    def __init__(self, meanings: Mapping[str, ProjectConfig] | None = None) -> None:
        self.meanings: dict[str, ProjectConfig] = dict(meanings or {})

    @property
    def paths(self) -> Sequence[str]:
        return ("config",)

    def understand(self, files: Mapping[str, str]) -> ProjectConfig | None:
        text = files.get("config")
        if text is None:
            return None
        if text not in self.meanings:
            raise InvalidConfig("config, line 1: it means nothing")
        return self.meanings[text]
