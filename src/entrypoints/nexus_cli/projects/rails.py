"""Ruby on Rails applications, told by the Gemfile."""

from __future__ import annotations

import re
from typing import Final

from nexus_cli.projects.found import Files, Found, Proposal

_GEM: Final = re.compile(r"""^\s*gem\s+["']([A-Za-z0-9_-]+)["']""", re.MULTILINE)
_LIBRARIES: Final = {"pg": "libpq-dev", "mysql2": "default-libmysqlclient-dev", "sqlite3": "libsqlite3-dev"}
_COMMAND: Final = "bin/rails server --binding 127.0.0.1 --port {port}"


def recognise(files: Files) -> Found | None:
    """What the Gemfile says; None where it does not name Rails."""
    gems = set(_GEM.findall(files.get("Gemfile", "")))
    if "rails" not in gems:
        return None
    libraries = tuple(package for gem, package in _LIBRARIES.items() if gem in gems)
    remarks = [
        f"The gem {gem} needs its database server: install it in `setup`, or let config/database.yml name another one."
        for gem in ("pg", "mysql2")
        if gem in gems
    ]
    wanted = re.search(r"(\d+)\.(\d+)", files.get(".ruby-version", ""))
    if wanted and (int(wanted[1]), int(wanted[2])) > (3, 1):
        remarks.append(
            f"It asks for Ruby {wanted[0]}, and Debian 12 has 3.1: install that one in `setup`, or another image."
        )
    return Found(
        what="Rails (Gemfile)",
        packages=("ruby-full", "ruby-bundler", "build-essential", "libyaml-dev", *libraries),
        setup=("bundle config set --local path vendor/bundle", "bundle install", "bin/rails db:prepare"),
        services=(Proposal("web", _COMMAND.format(port=3000), 3000, _COMMAND),),
        remarks=tuple(remarks),
    )
