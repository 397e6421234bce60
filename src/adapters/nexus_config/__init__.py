"""What a repository says about how it is run: .nexus/config.yaml, or else devcontainer.json."""

from __future__ import annotations

from nexus_config.files import RepositoryFiles
from nexus_config.nexus_yaml import config_schema

__all__ = ["RepositoryFiles", "config_schema"]
