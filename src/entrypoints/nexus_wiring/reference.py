"""The page docs/reference/settings.md, made from the settings themselves.

``python -m nexus_wiring.reference > docs/reference/settings.md`` writes it; a test compares.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from typing import Any, Final, get_args, get_type_hints

import msgspec

from nexus_core.domain.operation import DEADLINES
from nexus_wiring.settings import ELSEWHERE, PREFIX, Settings

_HEAD: Final = """\
# Settings of the server

This page is made from the code (`python -m nexus_wiring.reference`).

Each setting has a default. A TOML file overrides it (`nexus serve --config FILE`, or its path in `NEXUS_CONFIG`),
a variable of the environment overrides the file, and an option of `nexus serve` overrides both. A key in the file
that is not on this page is an error; an unknown `NEXUS_` variable is warned about in the log and ignored.

In the environment a table is written as JSON: `NEXUS_DEADLINES='{"wait_for_ssh": 120}'`.

| setting | type | default | |
|---|---|---|---|
"""
_DEADLINES: Final = """\

## Deadlines

`deadlines` takes the name of a step and the seconds it may take; these hold where nothing else is said:

| step | seconds |
|---|---|
"""
_ELSEWHERE: Final = """\

## Other variables

The command line and the project's own scripts use these names, and only `NEXUS_CONFIG` is read by the server:
{names}.

## The file with every default

```toml
{toml}```
"""


def page() -> str:
    """The page as Markdown, ending with a newline."""
    parts = [_HEAD, *map(_row, msgspec.structs.fields(Settings)), _DEADLINES]
    parts += [f"| `{step}` | {seconds:g} |\n" for step, seconds in DEADLINES.items()]
    names = ", ".join(f"`{name}`" for name in sorted(ELSEWHERE))
    parts.append(_ELSEWHERE.format(names=names, toml=defaults()))
    return "".join(parts)


def defaults() -> str:
    """Every setting with its default as a TOML file; those that are unset by default stand in comments."""
    settings = Settings()
    lines: list[str] = []
    tables: list[str] = []
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Mapping):
            tables += ["", f"[{name}]", *(f"{key} = {_toml(one)}" for key, one in value.items())]
        else:
            lines.append(f'# {name} = ""' if value is None else f"{name} = {_toml(value)}")
    text = "\n".join([*lines, *tables]) + "\n"
    tomllib.loads(text)  # a page that cannot be copied would be worse than none
    return text


def _row(field: msgspec.structs.FieldInfo) -> str:
    hint = get_type_hints(Settings, include_extras=True)[field.name]
    meta = next(one for one in get_args(hint) if isinstance(one, msgspec.Meta))
    value = getattr(Settings(), field.name)
    shown = "unset" if value is None else f"`{_toml(value)}`"
    names = f"`{field.name}`<br>`{PREFIX}{field.name.upper()}`"
    return f"| {names} | {_kind(get_args(hint)[0], meta)} | {shown} | {meta.description} |\n"


def _kind(hint: Any, meta: msgspec.Meta) -> str:
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if hint in words:
        kind = words[hint]
    else:
        kind = "text" if str in get_args(hint) and type(None) in get_args(hint) else "table"
    if meta.ge is not None and meta.le is not None:
        return f"{kind}, {meta.ge:g}-{meta.le:g}"
    return kind if meta.ge is None else f"{kind}, {meta.ge:g} or more"


def _toml(value: Any) -> str:
    # JSON's texts and numbers are TOML's too; its objects are not.
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(page())
