"""Times as people write them: 10, 0.5, 10s, 500ms, 1m30s, 1h."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nexus_config.kinds import Definitions, Kind, Schema
from nexus_config.problems import Place
from nexus_config.tree import Node, Scalar, ScalarKind, told
from nexus_core.domain.service import LONGEST_SECONDS

_AMOUNT: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_UNITS: Final = (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_WITH_UNITS: Final = "".join(f"(?:{_AMOUNT}{unit})?" for unit, _ in _UNITS)
PATTERN: Final = f"(?=[0-9])(?:{_AMOUNT}|{_WITH_UNITS})"


@dataclass(frozen=True, slots=True)
class Duration(Kind[float]):
    """A time in seconds within bounds: a number of seconds, or numbers with their units."""

    least: float

    def read(self, node: Node, at: Place) -> float | None:
        seconds = _seconds(node) if isinstance(node, Scalar) else None
        if seconds is None:
            at.refuse(f"must be a time such as 10s, 500ms or 1m30s, {told(node)}")
        elif not self.least <= seconds <= LONGEST_SECONDS:
            at.refuse(f"must be between {self.least:g} and {LONGEST_SECONDS:g} seconds, {told(node)}")
        else:
            return seconds
        return None

    def schema(self, definitions: Definitions) -> Schema:
        return {
            "anyOf": [
                {"type": "number", "minimum": self.least, "maximum": LONGEST_SECONDS},
                {"type": "string", "pattern": f"^(?:{PATTERN})$"},
            ]
        }


def _seconds(node: Scalar) -> float | None:
    if node.kind in (ScalarKind.WHOLE, ScalarKind.NUMBER):
        return float(node.text)
    if node.kind is not ScalarKind.TEXT or not re.fullmatch(PATTERN, node.text):
        return None
    if re.fullmatch(_AMOUNT, node.text):
        return float(node.text)
    parts = re.findall(f"({_AMOUNT})(ms|h|m|s)", node.text)
    return round(sum(float(amount) * dict(_UNITS)[unit] for amount, unit in parts), 9)
