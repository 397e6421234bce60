"""Reading YAML into a tree with lines, on PyYAML's parser.

Only its events are used: nothing is ever constructed from a tag, what an alias stands for is shared rather than
copied, and depth and size are bounded before they are spent. A plain value is what YAML 1.2 says it is, so that
`no` and `on` are text, as in editors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml
from yaml import events

from nexus_config.problems import Place, Report
from nexus_config.tree import DEEPEST, Entry, Items, Node, Scalar, ScalarKind, Table, is_sound, shortened

MOST_VALUES: Final = 20_000
"""How many values a file may have once every alias is put in: one that has more is made to fill the memory."""

LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events; libyaml is some 20 times as fast
_STANDARD: Final = "tag:yaml.org,2002:"
_AS_WRITTEN: Final = frozenset({f"{_STANDARD}{name}" for name in ("null", "bool", "int", "float")})
_SHAPES: Final = frozenset({"!", f"{_STANDARD}map", f"{_STANDARD}seq"})
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KINDS: Final = (
    (ScalarKind.NULL, re.compile(r"null|Null|NULL|~|")),
    (ScalarKind.BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (ScalarKind.WHOLE, re.compile(r"[-+]?(?:0|[1-9][0-9]*)")),
    (ScalarKind.NUMBER, re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")),
)


def read_yaml(text: str, report: Report) -> Node | None:
    """What the file says; None if it is empty. Raises `InvalidConfig` if it cannot be read to its end."""
    text = text.removeprefix("\ufeff")
    strange = _UNPRINTABLE.search(text)
    if strange is not None:
        line = text.count("\n", 0, strange.start()) + 1
        report.stop(line, f"has the character U+{ord(strange[0]):04X}, which YAML does not allow")
    try:
        return _Builder(yaml.parse(text, Loader=LOADER), report).document()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        line = min(line, text.rstrip("\n").count("\n") + 1)  # what is missing is missed after the last line
        said = ", ".join(part for part in (exc.context, exc.problem) if part)
        report.stop(line, f"is not YAML at column {column}: {said}{_tab_hint(text, line)}")
    except (yaml.YAMLError, ValueError, OverflowError) as exc:  # the latter from an escape that is no character
        report.stop(1, f"is not YAML: {shortened(str(exc), 200)}")


def _tab_hint(text: str, line: int) -> str:
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    return "; indent with spaces, not tabs" if "\t" in here[: len(here) - len(here.lstrip())] else ""


class _Builder:
    """Makes a tree of a parser's events."""

    def __init__(self, stream: Iterator[events.Event], report: Report) -> None:
        self._events = stream
        self._report = report
        self._depth = 0
        self._size = 0
        self._anchors: dict[str, tuple[Node, int]] = {}

    def document(self) -> Node | None:
        """The one document there is."""
        found: Node | None = None
        begun = False
        for event in self._events:
            if isinstance(event, events.DocumentStartEvent):
                if begun:
                    self._report.stop(_line(event), "begins a second document; there must be only one")
                begun = True
                found = self._node(next(self._events), Place(self._report))
        return found

    def _node(self, event: events.Event, at: Place) -> Node:
        if isinstance(event, events.AliasEvent):
            return self._aliased(event)
        before = self._size
        self._count(1, event)
        node = self._new(event, at)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = (node, self._size - before)
        return node

    def _new(self, event: events.Event, at: Place) -> Node:
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, at)
        tag: str | None = getattr(event, "tag", None)
        if tag is not None and tag not in _SHAPES:
            self._refuse_tag(tag, at, event)
        self._depth += 1
        if self._depth > DEEPEST:
            self._report.stop(_line(event), f"is nested more than {DEEPEST} levels deep")
        node = self._table(event, at) if isinstance(event, events.MappingStartEvent) else self._items(event, at)
        self._depth -= 1
        return node

    def _aliased(self, event: events.AliasEvent) -> Node:
        known = self._anchors.get(str(event.anchor))
        if known is None:
            name = shortened(str(event.anchor))
            self._report.stop(_line(event), f"the alias *{name} stands for nothing: no &{name} ends before it")
        self._count(known[1], event)
        return known[0]

    def _count(self, more: int, event: events.Event) -> None:
        self._size += more
        if self._size > MOST_VALUES:
            self._report.stop(_line(event), f"has more than {MOST_VALUES:,} values once its aliases are put in")

    def _scalar(self, event: events.ScalarEvent, at: Place) -> Scalar:
        line = _line(event)
        plain = event.implicit[0]
        if event.tag in _AS_WRITTEN:
            plain = True
        elif event.tag not in (None, "!", f"{_STANDARD}str"):
            self._refuse_tag(event.tag, at, event)
        if not is_sound(event.value):
            self._report.refuse(line, at.key, "must be text without NUL and halves of characters")
            return Scalar(ScalarKind.TEXT, "?", line)
        kinds = (kind for kind, pattern in _KINDS if plain and pattern.fullmatch(event.value))
        return Scalar(next(kinds, ScalarKind.TEXT), event.value, line)

    def _refuse_tag(self, tag: str, at: Place, event: events.Event) -> None:
        name = shortened(tag.replace(_STANDARD, "!!"))
        self._report.refuse(_line(event), at.key, f"has the tag {name}; only plain values are taken")

    def _items(self, start: events.Event, at: Place) -> Items:
        items: list[Node] = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            items.append(self._node(event, at.item(len(items), _line(event))))
        return Items(tuple(items), _line(start))

    def _table(self, start: events.Event, at: Place) -> Table:
        own: dict[str, Entry] = {}
        merged: list[Entry] = []
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            line = _line(event)
            if isinstance(event, events.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                merged += self._merge(self._node(next(self._events), at), line, at)
                continue
            key = self._node(event, at)
            text = key.text if isinstance(key, Scalar) else "?"
            entry = Entry(text, line, self._node(next(self._events), at.below(Entry(text, line, key))))
            place = at.below(entry)
            if not isinstance(key, Scalar):
                place.refuse("a key must be text")
            elif key.kind is not ScalarKind.TEXT:
                place.refuse("a key must be text; put it in quotes" if text else "a key must not be empty")
            elif text in own:
                place.refuse(f"is there twice; the first is on line {own[text].line}")
            else:
                own[text] = entry
        for entry in merged:
            own.setdefault(entry.key, entry)  # what a mapping says itself wins, then what was merged first
        return Table(tuple(own.values()), _line(start))

    def _merge(self, node: Node, line: int, at: Place) -> list[Entry]:
        tables = node.items if isinstance(node, Items) else (node,)
        entries: list[Entry] = []
        for table in tables:
            if isinstance(table, Table):
                entries += table.entries
            else:
                self._report.refuse(line, at.key, "<< takes a mapping or a list of mappings")
        return entries


def _line(event: events.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1
