"""`ProjectFiles` for the two formats there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from nexus_config.devcontainer import understand_json
from nexus_config.nexus_yaml import understand_yaml
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.ports.project_files import ProjectFiles

_YAML: Final = (".nexus/config.yaml", ".nexus/config.yml")
_JSON: Final = (".devcontainer/devcontainer.json", ".devcontainer.json")


class RepositoryFiles(ProjectFiles):
    """Reads ``.nexus/config.yaml`` strictly, or else what ``devcontainer.json`` has that a workspace can do.

    A repository commonly has both, and then the first counts; that there are two spellings of one of them gets a
    note. ``provider`` is the one workspaces run on here.
    """

    def __init__(self, provider: str = "lxc") -> None:
        self._provider = provider

    @property
    def paths(self) -> Sequence[str]:
        return (*_YAML, *_JSON)

    def understand(self, files: Mapping[str, str]) -> ProjectConfig | None:
        for family in (_YAML, _JSON):
            there = [path for path in family if path in files]
            if there:
                path, *others = there
                config = self._understand(path, files[path])
                notes = (f"{other} is not read, since there is {path}." for other in others)
                return replace(config, notes=(*config.notes, *notes))
        return None

    def _understand(self, path: str, text: str) -> ProjectConfig:
        if path in _YAML:
            return understand_yaml(path, text, provider=self._provider)
        return understand_json(path, text)
