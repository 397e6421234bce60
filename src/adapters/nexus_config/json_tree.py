"""Reading JSON with comments and trailing commas, as editors take it, into a tree with lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from nexus_config.problems import Place, Report
from nexus_config.tree import DEEPEST, Entry, Items, Node, Scalar, ScalarKind, Table, is_sound, shortened

_TOKEN: Final = re.compile(
    r"""
      (?P<blank> [ \t\r\n]+ | //[^\r\n]* | /\*.*?\*/ )
    | (?P<text> "(?:[^"\\\x00-\x1f]|\\.)*" )
    | (?P<number> -?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)? (?![0-9A-Za-z_.]) )
    | (?P<word> [A-Za-z_]+ )
    | (?P<mark> [][{}:,] )
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS: Final = {"null": ScalarKind.NULL, "true": ScalarKind.BOOLEAN, "false": ScalarKind.BOOLEAN}


def read_json(text: str, report: Report) -> Node:
    """What the file says. Raises `InvalidConfig` if it cannot be read to its end."""
    return _Parser(text.removeprefix("\ufeff"), report).document()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


class _Parser:
    """Reads one file from its beginning to its end, always one token ahead."""

    def __init__(self, text: str, report: Report) -> None:
        self._text = text
        self._report = report
        self._position = 0
        self._line = 1
        self._depth = 0
        self._next = self._scan()

    def document(self) -> Node:
        node = self._node(Place(self._report))
        if self._next.kind != "end":
            self._unexpected("the end of the file")
        return node

    def _scan(self) -> _Token:
        while self._position < len(self._text):
            line, match = self._line, _TOKEN.match(self._text, self._position)
            if match is None:
                self._report.stop(line, f"is not JSON: {self._strange()}")
            self._position = match.end()
            self._line += match[0].count("\n")
            if match.lastgroup != "blank":
                broken = match["fraction"] or match["exponent"]
                return _Token("fraction" if broken else str(match.lastgroup), match[0], line)
        return _Token("end", "", self._line)

    def _strange(self) -> str:
        rest = self._text[self._position : self._position + 40]
        if rest.startswith('"'):
            return "a text in quotes does not end on its line"
        if rest.startswith("'"):
            return "text has to be in double quotes"
        if rest.startswith("/*"):
            return "a comment does not end"
        return f"'{shortened(rest.split()[0] if rest.split() else rest, 20)}' is not expected here"

    def _take(self) -> _Token:
        token, self._next = self._next, self._scan()
        return token

    def _is_next(self, mark: str) -> bool:
        return self._next.kind == "mark" and self._next.text == mark

    def _unexpected(self, wanted: str) -> NoReturn:
        found = f"'{shortened(self._next.text, 20)}'" if self._next.text else "the end of the file"
        self._report.stop(self._next.line, f"is not JSON: {wanted} was expected, and there is {found}")

    def _node(self, at: Place) -> Node:
        if self._is_next("{") or self._is_next("["):
            self._depth += 1
            if self._depth > DEEPEST:
                self._report.stop(self._next.line, f"is nested more than {DEEPEST} levels deep")
            node = self._table(at) if self._is_next("{") else self._items(at)
            self._depth -= 1
            return node
        return self._scalar()

    def _scalar(self) -> Scalar:
        if self._next.kind == "text":
            line = self._next.line
            return Scalar(ScalarKind.TEXT, self._words(), line)
        if self._next.kind in ("number", "fraction"):
            kind = ScalarKind.WHOLE if self._next.kind == "number" else ScalarKind.NUMBER
            token = self._take()
            return Scalar(kind, token.text, token.line)
        if self._next.kind == "word" and self._next.text in _WORDS:
            token = self._take()
            return Scalar(_WORDS[token.text], token.text, token.line)
        return self._unexpected("a value")

    def _words(self) -> str:
        """The content of the text in quotes that comes next."""
        token = self._take()
        try:
            text = str(json.loads(token.text))
        except ValueError:
            self._report.stop(token.line, "is not JSON: a text has a \\ followed by what cannot follow it")
        if not is_sound(text):
            self._report.stop(token.line, "has a text with NUL or half of a character")
        return text

    def _items(self, at: Place) -> Items:
        line = self._take().line
        items: list[Node] = []
        while not self._is_next("]"):
            items.append(self._node(at.item(len(items), self._next.line)))
            self._comma("]")
        self._take()
        return Items(tuple(items), line)

    def _table(self, at: Place) -> Table:
        line = self._take().line
        entries: dict[str, Entry] = {}
        while not self._is_next("}"):
            if self._next.kind != "text":
                self._unexpected("a key in double quotes")
            key_line = self._next.line
            key = self._words()
            if not self._is_next(":"):
                self._unexpected("':'")
            self._take()
            place = at.below(Entry(key, key_line, Scalar(ScalarKind.TEXT, key, key_line)))
            entry = Entry(key, key_line, self._node(place))
            if entries.setdefault(key, entry) is not entry:
                place.refuse(f"is there twice; the first is on line {entries[key].line}")
            self._comma("}")
        self._take()
        return Table(tuple(entries.values()), line)

    def _comma(self, end: str) -> None:
        """Pass the comma that is between two things, or after the last of them."""
        if self._is_next(","):
            self._take()
        elif not self._is_next(end):
            self._unexpected(f"',' or '{end}'")
