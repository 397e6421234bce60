"""The page docs/reference/config.schema.json, for editors.

``python -m nexus_config.schema > docs/reference/config.schema.json`` writes it; a test compares.
"""

from __future__ import annotations

import json
import sys

from nexus_config.nexus_yaml import config_schema


def page() -> str:
    """The schema as JSON text, ending with a newline."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
