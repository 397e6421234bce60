"""What this package needs of whoever counts and times."""

from __future__ import annotations

from typing import Protocol

from nexus_core.usecases.show_server import Health, ServerStatus


class HttpMeters(Protocol):
    """Takes note of each request, and shows all that was noted here and elsewhere."""

    def request_answered(
        self, *, method: str, route: str, status: int | None, seconds: float, error: str | None
    ) -> None:
        """A request's answer began after ``seconds``, or it had none: then ``status`` is None.

        ``method`` is one of HTTP's or `other`, ``route`` the template of the path that was found or `none`,
        ``error`` the public code of an answer that is one: a client cannot make any of them take new values.
        """
        ...

    def page(self, health: Health, status: ServerStatus | None, *, version: str, accept: str) -> tuple[str, bytes]:
        """Everything as text and its content type; without ``status`` what is known without the database.

        ``accept`` is the client's header, or nothing.
        """
        ...
