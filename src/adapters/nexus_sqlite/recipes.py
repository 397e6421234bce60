"""What is done inside workspaces, in the table ``recipes``; the secrets in it are sealed together."""

from __future__ import annotations

import json
import sqlite3
from types import MappingProxyType
from typing import Any, Final

from nexus_core.domain.recipe import Asked, Recipe
from nexus_core.domain.repository import Credentials
from nexus_core.ports.records import Recipes
from nexus_sqlite.sealing import Sealing

SET: Final = """
INSERT INTO recipes (workspace_id, setup, post_start, pre_stop, asked, sealed) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (workspace_id) DO UPDATE
SET setup = excluded.setup, post_start = excluded.post_start, pre_stop = excluded.pre_stop,
    asked = excluded.asked, sealed = excluded.sealed
"""
GET: Final = "SELECT setup, post_start, pre_stop, asked, sealed FROM recipes WHERE workspace_id = ?"
REMOVE: Final = "DELETE FROM recipes WHERE workspace_id = ?"

_SEALED: Final = "recipes.sealed"


class SqliteRecipes(Recipes):
    """`Recipes` over one connection."""

    def __init__(self, connection: sqlite3.Connection, sealing: Sealing) -> None:
        self._connection = connection
        self._sealing = sealing

    def set(self, workspace_id: str, recipe: Recipe) -> None:
        sealed = None
        if recipe.env or recipe.credentials:
            credentials = recipe.credentials
            secrets = {"env": dict(recipe.env), "token": credentials.token, "deploy_key": credentials.deploy_key}
            sealed = self._sealing.seal(json.dumps(secrets), _SEALED, workspace_id)
        row = (
            workspace_id,
            json.dumps(recipe.setup),
            json.dumps(recipe.post_start),
            json.dumps(recipe.pre_stop),
            json.dumps(
                {
                    "setup": recipe.asked.setup,
                    "resources": sorted(recipe.asked.resources),
                    "services": recipe.asked.services,
                }
            ),
            sealed,
        )
        self._connection.execute(SET, row)

    def get(self, workspace_id: str) -> Recipe:
        row = self._connection.execute(GET, (workspace_id,)).fetchone()
        if row is None:
            return Recipe()
        setup, post_start, pre_stop, named, sealed = row
        asked = json.loads(named)
        secrets: dict[str, Any] = {"env": {}, "token": None, "deploy_key": None}
        if sealed is not None:
            secrets = json.loads(self._sealing.open(sealed, _SEALED, workspace_id))
        return Recipe(
            setup=tuple(json.loads(setup)),
            post_start=tuple(json.loads(post_start)),
            pre_stop=tuple(json.loads(pre_stop)),
            env=MappingProxyType(secrets["env"]),
            credentials=Credentials(token=secrets["token"], deploy_key=secrets["deploy_key"]),
            asked=Asked(tuple(asked["setup"]), frozenset(asked["resources"]), asked["services"]),
        )
