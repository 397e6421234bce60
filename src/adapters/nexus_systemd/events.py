"""What the units write while services start, read as the core's events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from nexus_core.ports.workbench import Happening, ServiceEvent

_BEGIN = "begin: "
_LONGEST = 1000
_PLAIN = {"starting": Happening.STARTING, "healthy": Happening.HEALTHY, "failed": Happening.FAILED}


def begin_line(run_id: str) -> str:
    """The line that marks where a run begins; no service's name has a colon."""
    return f"{_BEGIN}{run_id}"


@dataclass(slots=True)
class Account:
    """The lines of the instance's events so far; what is told of them begins where the run does."""

    run_id: str
    _begun: bool = False
    _at_rest: dict[str, ServiceEvent] = field(default_factory=dict[str, ServiceEvent])  # healthy, or did their work
    _scripts_done: bool = False

    def take_in(self, line: str) -> list[ServiceEvent]:
        """What this line adds to the story of the run. Whatever else is written there is passed over."""
        if line.startswith(_BEGIN):
            if self._begun or line.removeprefix(_BEGIN) != self.run_id:
                return []
            self._begun = True
            told = list(self._at_rest.values())
            return [*told, ServiceEvent(Happening.SCRIPTS_DONE)] if self._scripts_done else told
        event = _read(line)
        if event is None:
            return []
        if event.kind is Happening.HEALTHY or event == _finished(event.service):
            self._at_rest[event.service] = event
        elif event.service:
            self._at_rest.pop(event.service, None)
        else:
            self._scripts_done = event.kind is Happening.SCRIPTS_DONE
        return [event] if self._begun else []


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The text of a stream, line by line; a line that never ends is cut."""
    pending = b""
    async for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        pending = pending[:_LONGEST]
        for line in whole:
            yield line[:_LONGEST].decode(errors="replace")


def _read(line: str) -> ServiceEvent | None:
    name, _, rest = line.partition(" ")
    word, _, detail = rest.partition(" ")
    if name == "-":
        return _of_scripts(word, detail)
    if word == "finished":
        return _finished(name)
    if word == "ended":
        return _ended(name, detail.split())
    if word in _PLAIN:
        return ServiceEvent(_PLAIN[word], name, reason=detail[:1].upper() + detail[1:])
    return None


def _of_scripts(word: str, detail: str) -> ServiceEvent | None:
    if word == "scripts_done":
        return ServiceEvent(Happening.SCRIPTS_DONE)
    number, _, code = detail.partition(" ")
    if word != "script_failed" or not number.isdecimal():
        return None
    reason = f"The post_start script number {int(number) + 1} ended with exit code {code}"
    return ServiceEvent(Happening.SCRIPT_FAILED, reason=reason)


def _finished(name: str) -> ServiceEvent:
    return ServiceEvent(Happening.ENDED, name, reason="It did its work", exit_code=0)


def _ended(name: str, detail: list[str]) -> ServiceEvent | None:
    """By the words of systemd: the unit's result, how its main process ended, and with what."""
    match detail:
        case [_, "exited", code] if code.isdecimal():
            hint = "" if code != "0" else "; a service has to stay in the foreground"
            return ServiceEvent(
                Happening.ENDED, name, reason=f"It ended by itself with exit code {code}{hint}", exit_code=int(code)
            )
        case [_, "killed" | "dumped", signal]:
            return ServiceEvent(Happening.ENDED, name, reason=f"It was ended by the signal {signal}")
        case [result, *_]:
            return ServiceEvent(Happening.ENDED, name, reason=f"It could not be run ({result})")
        case _:
            return None
