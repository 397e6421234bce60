"""Times as the database keeps them: whole microseconds since 1970, UTC.

An integer is exact to the microsecond that Python's ``datetime`` has, compares and subtracts inside
SQL without parsing, and costs a quarter of what RFC 3339 text costs to read. For people there is
``datetime(created_at / 1000000, 'unixepoch')``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """The moment as an integer; a naive one is refused with `TypeError`."""
    return (moment - _EPOCH) // _MICROSECOND


def to_micros_or_null(moment: datetime | None) -> int | None:
    """The moment as an integer, None as NULL."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The moment, in UTC and aware."""
    return _EPOCH + timedelta(microseconds=micros)


def from_micros_or_null(micros: int | None) -> datetime | None:
    """The moment, NULL as None."""
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
