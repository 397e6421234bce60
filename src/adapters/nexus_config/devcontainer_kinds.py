"""Kinds of values that only devcontainer.json has: commands, variables, ports and amounts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nexus_config.environment import check_variable
from nexus_config.kinds import Kind, Script, Size, Text, Whole
from nexus_config.problems import Place
from nexus_config.substitution import substituted
from nexus_config.tree import Items, Node, Scalar, ScalarKind, Table, is_null, shortened, told

_PORT: Final = Whole(1, 65535)
_ARGUMENT: Final = Text(most=65_536)
_HOST_AND_PORT: Final = re.compile(r"(?P<host>[^\s:/]+):(?P<port>[0-9]+)")
_LOOPBACK: Final = ("localhost", "127.0.0.1")
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,11}[tgmk]b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Commands(Kind[tuple[str, ...]]):
    """A shell line, a list of words that are run as they are, or a mapping of names to either."""

    def read(self, node: Node, at: Place) -> tuple[str, ...] | None:
        if not isinstance(node, Table):
            only = _command(node, at)
            return None if only is None else (only,)
        if len(node.entries) > 1:
            at.note("holds commands that were meant to run side by side; they run one after the other")
        problems = len(at.report.problems)
        commands = [_command(entry.value, at.below(entry)) for entry in node.entries if not is_null(entry.value)]
        if len(at.report.problems) > problems:
            return None
        return tuple(command for command in commands if command is not None)


def _command(node: Node, at: Place) -> str | None:
    if isinstance(node, Table):
        at.refuse("must be a command: text, or a list of words")
        return None
    if not isinstance(node, Items):
        return _script(node, at)
    words = [_ARGUMENT.read(item, at.item(index, item.line)) for index, item in enumerate(node.items)]
    known = [_put_in(word, at) for word in words if word is not None]
    if len(known) < len(words):
        return None
    return Script().read(Scalar(ScalarKind.TEXT, shlex.join(known), node.line), at)


def _script(node: Node, at: Place) -> str | None:
    text = Script().read(node, at)
    return None if text is None else _put_in(text, at)


def _put_in(text: str, at: Place) -> str:
    text, unknown = substituted(text)
    for variable in unknown:
        at.note(f"has {shortened(variable)}, which cannot be known here; it is left as it is")
    return text


@dataclass(frozen=True, slots=True)
class Variables(Kind[dict[str, str]]):
    """Names and values, without those that cannot be known here."""

    def read(self, node: Node, at: Place) -> dict[str, str] | None:
        if not isinstance(node, Table):
            at.refuse(f"must be a mapping of names to values, {told(node)}")
            return None
        problems = len(at.report.problems)
        env: dict[str, str] = {}
        for entry in node.entries:
            place = at.below(entry)
            if is_null(entry.value):
                place.note("is not used: nothing is set that could be taken away")
            elif not isinstance(entry.value, Scalar):
                place.refuse(f"must be text, {told(entry.value)}")
            else:
                value, unknown = substituted(entry.value.text)
                check_variable(entry.key, value, place)
                for variable in unknown:
                    place.note(f"is not used: {shortened(variable)} cannot be known here")
                if not unknown:
                    env[entry.key] = value
        return None if len(at.report.problems) > problems else env


@dataclass(frozen=True, slots=True)
class Ports(Kind[tuple[int, ...]]):
    """Ports of the workspace, each once; one at another host gets a note."""

    def read(self, node: Node, at: Place) -> tuple[int, ...] | None:
        if not isinstance(node, Items):
            at.refuse(f"must be a list of ports, {told(node)}")
            return None
        problems = len(at.report.problems)
        ports = tuple(_ports(node, at))
        return None if len(at.report.problems) > problems else tuple(dict.fromkeys(ports))


def _ports(node: Items, at: Place) -> Iterator[int]:
    for index, item in enumerate(node.items):
        place = at.item(index, item.line)
        address = _HOST_AND_PORT.fullmatch(item.text) if isinstance(item, Scalar) else None
        asked = item if address is None else Scalar(ScalarKind.WHOLE, address["port"], item.line)
        port = _PORT.read(asked, place)
        if port is not None and address is not None and address["host"].lower() not in _LOOPBACK:
            place.note(f"is not used: {shortened(address[0])} is another machine's")
        elif port is not None:
            yield port


@dataclass(frozen=True, slots=True)
class Amount(Kind[str]):
    """An amount such as 8gb, as a size with its unit in capitals."""

    least: int

    def read(self, node: Node, at: Place) -> str | None:
        if not isinstance(node, Scalar) or not _AMOUNT.fullmatch(node.text):
            at.refuse(f"must be an amount such as 8gb, {told(node)}")
            return None
        return Size(self.least).read(Scalar(ScalarKind.TEXT, node.text.upper(), node.line), at)
