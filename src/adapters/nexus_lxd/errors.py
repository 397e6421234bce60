"""Where other people's exceptions end: each becomes "LXD is away" or "LXD said no", once.

Nothing above `nexus_lxd.connection` sees an exception of pylxd, requests, urllib3 or ws4py. What
LXD said stays a private `Refusal` until the provider, which knows what was being attempted, says so
in a `ProviderFailed`.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

import requests.exceptions
import urllib3.exceptions
import ws4py.exc
from pylxd import exceptions as pylxd_exceptions

from nexus_core.errors import NexusError, ProviderFailed, ProviderUnavailable

# Host paths say nothing to a workspace's owner, and the API promises to show none.
_HOST_PATH = re.compile(r"(?<![\w.:/])/(?:dev|etc|home|mnt|opt|proc|root|run|snap|srv|sys|tmp|usr|var)/[^\s\"',;)\]]*")
_LONGEST_REASON = 500

# Said while the daemon goes down or comes up, or a cluster has lost its majority: it will pass.
_PASSING = (
    "lxd is shutting down",
    "daemon is shutting down",
    "daemon not ready yet",
    "no available dqlite leader",
    "no known dqlite leader",
)

_NOT_ANSWERING = (
    "Check on the host that the LXD daemon runs (`lxc query /1.0`); work that waits for it goes on by itself."
)

# Something answered, but not as LXD does.
NONSENSE = (
    requests.exceptions.InvalidJSONError,
    requests.exceptions.ContentDecodingError,
    requests.exceptions.StreamConsumedError,
    requests.exceptions.UnrewindableBodyError,
    pylxd_exceptions.LXDAPIExtensionNotAvailable,
)
SLOW = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
# The rest of requests' and all of OSError: refused, reset, no such socket, bad TLS, unreadable certificate.
AWAY = (
    pylxd_exceptions.ClientConnectionFailed,
    urllib3.exceptions.HTTPError,
    urllib3.exceptions.ProxySchemeUnsupported,
    ws4py.exc.WebSocketException,
    ws4py.exc.StreamClosed,
    OSError,
)
LIBRARY_ERRORS = (pylxd_exceptions.LXDAPIException, *NONSENSE, *SLOW, *AWAY)


class Refusal(Exception):
    """LXD answered that it could not; ``reason`` is its own sentence without the host's paths."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @property
    def missing(self) -> bool:
        """Whether what the request was about does not exist."""
        return self.status == requests.codes.not_found or "not found" in self.reason.lower()

    @property
    def busy(self) -> bool:
        """Whether LXD is still at another piece of work on the same thing."""
        return "busy" in self.reason.lower()

    @property
    def exists(self) -> bool:
        """Whether something of that name is there already."""
        return "already exists" in self.reason.lower()

    @property
    def address_taken(self) -> bool:
        """Whether another instance has the address or MAC already."""
        return "already defined on another nic" in self.reason.lower()

    @property
    def stopped(self) -> bool:
        """Whether a stop was refused because there is nothing left to stop."""
        return "already stopped" in self.reason.lower()

    @property
    def not_running(self) -> bool:
        """Whether nothing can be done inside, as the instance is stopped, stopping or paused."""
        reason = self.reason.lower()
        return any(words in reason for words in ("is not running", "is frozen", "is stopped"))

    @property
    def running(self) -> bool:
        """Whether the instance is running, when it was to be started or removed."""
        return "already running" in self.reason.lower() or "is running" in self.reason.lower()


def without_paths(text: str) -> str:
    """LXD's sentence, shortened, with the host's file paths replaced by an ellipsis."""
    return _HOST_PATH.sub("…", " ".join(text.split()))[-_LONGEST_REASON:]


def unavailable(why: str) -> ProviderUnavailable:
    """What is raised when LXD cannot be asked."""
    return ProviderUnavailable("LXD does not answer", why=why, fix=_NOT_ANSWERING)


def translated(error: Exception) -> Refusal | ProviderUnavailable:
    """What a library's exception means to Nexus; the caller raises it ``from`` the original."""
    if isinstance(error, pylxd_exceptions.LXDAPIException):
        return _answer(error)
    if isinstance(error, NONSENSE):
        return Refusal(502, "LXD answered something that is not in its API; is another program behind the endpoint?")
    if isinstance(error, SLOW):
        return unavailable("It took the request and did not answer in time.")
    return unavailable("The connection was refused or broke off, or its socket, address or certificate is wrong.")


def _answer(error: pylxd_exceptions.LXDAPIException) -> Refusal | ProviderUnavailable:
    status = int(error.response.status_code)
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        return unavailable("It does not trust this server's certificate, or does not let it use the project.")
    # 500 is also how LXD words an ordinary "no"; these three come from a proxy or a daemon on its way up or down.
    if status in (502, 503, 504):
        return unavailable("It is starting or stopping.")
    return refused(status, str(error))


def refused(status: int, reason: str) -> Refusal | ProviderUnavailable:
    """What LXD's "no" means: mostly a `Refusal`, but some of its sentences only say "not now"."""
    if any(phrase in reason.lower() for phrase in _PASSING):
        return unavailable("It is starting, stopping or without its cluster's majority.")
    return Refusal(status, without_paths(reason))


@contextmanager
def refusals(attempt: str, error: type[NexusError] = ProviderFailed) -> Generator[None]:
    """Raise LXD's refusals in this block as ``error``, saying what was attempted and LXD's reason."""
    try:
        yield
    except Refusal as refusal:
        raise error(attempt, why=f"LXD's reason: {refusal.reason or 'none given'}") from refusal
