"""Durations and moments as people say them."""

from __future__ import annotations

from datetime import UTC, datetime


def age(moment: str | None, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 moment was: ``41 s``, ``5 min``, ``3 h``, ``12 d``; ``-`` for None."""
    if moment is None:
        return "-"
    try:
        then = datetime.fromisoformat(moment)
        return span(((now or datetime.now(UTC)) - then).total_seconds())
    except (ValueError, TypeError):
        return moment


def span(seconds: float) -> str:
    """A length of time in its largest unit; a negative one, which clocks that differ give, is none."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def duration(milliseconds: float | None) -> str:
    """``612 ms``, ``4.2 s``, ``1 min 20 s``; empty for None."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds} s"


def size(count: float) -> str:
    """``980 B``, ``12.4 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
