"""Where the server is, and as whom to ask: the options every client command has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from nexus_cli.api import Api
from nexus_cli.errors import NoToken
from nexus_cli.wire import parse_url
from nexus_wiring.places import default_state_dir

DEFAULT_URL = "http://127.0.0.1:3001"

_GROUP = Group("Connection", sort_key=100)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The server's address, the client's state directory and the form of the answer.

    A token is taken from NEXUS_TOKEN, else from ``admin-token`` in the state directory; never from
    the command line, where other users of the machine could read it.
    """

    url: Annotated[str, Parameter(env_var="NEXUS_URL", help="The server's address.")] = DEFAULT_URL
    state_dir: Annotated[
        Path | None,
        Parameter(env_var="NEXUS_STATE_DIR", help="Where admin-token is looked for and host keys are kept."),
    ] = None
    json: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Print the API's own JSON, and errors as JSON too.")
    ] = False

    @property
    def state_path(self) -> Path:
        """The client's state directory, absolute."""
        return (self.state_dir or default_state_dir(os.environ)).expanduser().absolute()

    def api(self, *, authorised: bool = True) -> Api:
        """The API as the holder of the token; raises `NoToken` or `WrongUsage`."""
        server = parse_url(self.url)
        return Api(server, self._token() if authorised else None, quiet=self.json)

    def _token(self) -> str:
        token = os.environ.get("NEXUS_TOKEN", "").strip()
        source = "NEXUS_TOKEN"
        if not token:
            file = self.state_path / "admin-token"
            source = str(file)
            try:
                token = file.read_text(encoding="utf-8", errors="replace").strip()
            except OSError as exc:
                why = f"NEXUS_TOKEN is not set, and {file} cannot be read: {exc.strerror}."
                raise NoToken("There is no token to show to the server", why=why) from exc
        if not (token and token.isascii() and token.isprintable() and " " not in token):
            raise NoToken(f"What {source} holds is no token")
        return token


def connected(connection: Connection | None) -> Connection:
    """The connection that was given, or the default one."""
    return connection or Connection()
