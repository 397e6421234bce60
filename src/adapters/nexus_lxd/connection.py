"""Requests to LXD's REST API through pylxd, off the event loop."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

import pylxd
import requests
from pylxd.client import get_session_for_url
from websockets.asyncio.client import ClientConnection

from nexus_lxd.channels import Channels
from nexus_lxd.errors import LIBRARY_ERRORS, SLOW, Refusal, refused, translated, unavailable
from nexus_lxd.silence import Silence
from nexus_lxd.transfers import content_of, opened
from nexus_lxd.unix_socket import SCHEME, UnixAdapter

T = TypeVar("T")
JsonObject = dict[str, Any]
Method = Literal["get", "post", "put", "patch", "delete"]

CONNECT_TIMEOUT = 5.0
# Seconds after which LXD counts as away. Measured on a busy machine, it answers within one; and whoever waits for
# what comes first to give up and then for an answer of its own is to be told within fifteen that LXD does not answer.
READ_TIMEOUT = 6.0
_CHANGE_TIMEOUT = 8.0  # for what LXD does before it answers, such as writing a file
_SLICE = 1  # seconds that LXD is asked to wait at a time; cancellation is noticed in between
_LINGER = 10.0  # seconds for an operation that was asked to end and cannot be cancelled
_DONE = 200  # LXD's operation status codes: below are stages of being under way


class Connection:
    """One LXD server and project, reached over its unix socket or HTTPS.

    Opens nothing until the first request; a server that was away is simply tried again by the next
    one. Every method raises `ProviderUnavailable` or the private `Refusal`, never a library's
    exception. pylxd blocks, so each request runs on one of ``workers`` threads of our own, with a
    pylxd client to each thread (a `requests.Session` is not promised to be safe across threads).

    A request that changes something is seen to its end when its caller is cancelled: the thread is
    never left behind with work that nobody waits for. Reads are abandoned at once.
    """

    def __init__(
        self,
        *,
        endpoint: str | None,
        client_cert: Path | None,
        client_key: Path | None,
        server_cert: Path | None,
        project: str,
        workers: int,
    ) -> None:
        self._endpoint = endpoint
        self._cert = (str(client_cert), str(client_key)) if client_cert and client_key else None
        self._verify = str(server_cert) if server_cert else True
        self._project = project
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="nexus-lxd")
        # Whether LXD answers must be found out also while every worker waits for it.
        self._urgent = ThreadPoolExecutor(2, thread_name_prefix="nexus-lxd-status")
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._adapters: set[UnixAdapter] = set()
        self._jobs: set[Future[Any]] = set()
        self._closing = threading.Event()
        self._channels = Channels(self._cert, self._verify)
        self._silence = Silence()

    @property
    def project(self) -> str:
        """Whose instances are meant."""
        return self._project

    @property
    def is_local(self) -> bool:
        """Whether LXD is on this machine: its socket is one in the file system."""
        return endpoint_url(self._endpoint).startswith(SCHEME)

    def in_project(self, project: str) -> Self:
        """The same connection, asking within another project; closed together with this one."""
        other = copy.copy(self)
        other._project = project  # noqa: SLF001  # another object of this very class
        return other

    async def get(
        self,
        *path: str,
        params: Mapping[str, str] | None = None,
        all_projects: bool = False,
        urgent: bool = False,
        within: float = READ_TIMEOUT,
    ) -> Any:
        """The ``metadata`` that LXD answers for this path."""
        scope = {"all-projects": "true"} if all_projects else {"project": self._project}
        query = {**scope, **(params or {})}
        threads = self._urgent if urgent else self._threads

        def ask() -> Any:
            with self._silence.noticed():
                return self._request("get", path, within, params=query).json()["metadata"]

        return await asyncio.wrap_future(self._submit(threads, ask))

    async def answers(self, lately: float) -> None:
        """Return if LXD has answered within these last seconds, or does now; else raise `ProviderUnavailable`."""
        if not self._silence.answered_within(lately):
            await self.get()

    async def text(self, *path: str, params: Mapping[str, str]) -> str:
        """A file's content as text."""
        query = {"project": self._project, **params}
        job = self._submit(
            self._threads, lambda: self._request("get", path, READ_TIMEOUT, params=query, is_api=False).text
        )
        return await asyncio.wrap_future(job)

    async def content(self, *path: str, params: Mapping[str, str], limit: int, within: float) -> tuple[str, bytes]:
        """LXD's word for what a file is, and its content up to one byte more than ``limit``; a slow one is refused."""
        query = {"project": self._project, **params}

        def read() -> tuple[str, bytes]:
            headers = {"Accept-Encoding": "identity"}
            options: JsonObject = {"params": query, "headers": headers, "is_api": False, "stream": True}
            try:
                with self._request("get", path, within, **options) as response:
                    return content_of(response, limit, within)
            except requests.exceptions.ConnectTimeout:
                raise
            except SLOW as error:  # a file that is a pipe, say, may keep its reader waiting: that is no fault of LXD's
                raise Refusal(requests.codes.gateway_timeout, f"it did not come within {within:g} seconds") from error

        return await asyncio.wrap_future(self._submit(self._threads, read))

    async def send(
        self,
        method: Method,
        *path: str,
        params: Mapping[str, str] | None = None,
        within: float = _CHANGE_TIMEOUT,
        **request: Any,
    ) -> JsonObject:
        """A change that LXD makes, or begins, before it answers: returns its ``metadata``, if there is any."""
        query = {"project": self._project, **(params or {})}

        def change() -> JsonObject:
            return self._request(method, path, within, params=query, **request).json().get("metadata") or {}

        return await _to_its_end(self._submit(self._threads, change))

    async def upload(
        self, *path: str, params: Mapping[str, str], headers: Mapping[str, str], source: str, within: float
    ) -> None:
        """Send a file of this host, from its beginning; breaks off when the caller is cancelled."""
        query = {"project": self._project, **params}
        cancelled = threading.Event()
        with opened(source, cancelled) as data:
            job = self._submit(
                self._threads,
                lambda: self._request("post", path, within, params=query, headers=dict(headers), data=data),
            )
            await _to_its_end(job, cancelled)

    async def channel(self, operation: str, secret: str) -> ClientConnection:
        """One of the websockets of an operation; raises also what the websocket's opening is refused with."""
        query = urlencode({"secret": secret, "project": self._project})
        address = f"/1.0/operations/{quote(operation, safe='')}/websocket?{query}"
        return await self._channels.open(endpoint_url(self._endpoint), address)

    async def operate(
        self, method: Method, *path: str, within: float, linger: float | None = None, **request: Any
    ) -> JsonObject:
        """A change that LXD makes in the background: returns the finished operation's record.

        When the caller is cancelled, or after ``within`` seconds, LXD is asked to end the operation
        (which it does for few kinds) and its end is waited for, ``linger`` seconds at most.
        """
        cancelled = threading.Event()
        limits = (within, _LINGER if linger is None else linger)
        job = self._submit(self._threads, lambda: self._operate(method, path, limits, cancelled, request))
        return await _to_its_end(job, cancelled)

    async def close(self) -> None:
        """Break off what is under way, and close the connections."""
        self._closing.set()
        for threads in (self._threads, self._urgent):
            threads.shutdown(wait=False, cancel_futures=True)
        for adapter in list(self._adapters):
            adapter.abort()
        with suppress(TimeoutError):  # over HTTPS nothing can be broken off: its threads end by their time limits
            async with asyncio.timeout(_SLICE + 1):
                await asyncio.gather(*map(asyncio.wrap_future, list(self._jobs)), return_exceptions=True)
        for session in self._sessions:
            session.close()

    # --- what follows runs on the threads ---

    def _submit(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
        if self._closing.is_set():
            raise unavailable("This server is closing its connection.")
        job = threads.submit(_mapped, work if threads is self._urgent else self._unless_silent(work))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    def _unless_silent(self, work: Callable[[], T]) -> Callable[[], T]:
        def attempt() -> T:
            self._silence.check()
            return work()

        return attempt

    def _request(self, method: Method, path: tuple[str, ...], within: float, **request: Any) -> requests.Response:
        node = self._client().api
        for part in path:
            node = node[quote(part, safe="")]
        response: requests.Response = getattr(node, method)(timeout=(CONNECT_TIMEOUT, within), **request)
        return response

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            # Its warnings about attributes newer than itself would be printed for every operation.
            os.environ.setdefault("PYLXD_WARNINGS", "none")
            url = endpoint_url(self._endpoint)
            session = get_session_for_url(url, cert=self._cert, verify=self._verify)
            # The environment's list of authorities would be taken in place of the one certificate that was pinned.
            session.trust_env = self._verify is True
            adapter = UnixAdapter()
            session.mount(SCHEME, adapter)
            self._adapters.add(adapter)
            try:
                client = pylxd.Client(endpoint=url, session=session, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
            except BaseException:
                self._adapters.discard(adapter)
                session.close()
                raise
            self._sessions.append(session)
            self._local.client = client
        return client

    def _operate(
        self,
        method: Method,
        path: tuple[str, ...],
        limits: tuple[float, float],
        cancelled: threading.Event,
        request: JsonObject,
    ) -> JsonObject:
        began = time.monotonic()
        within, linger = limits
        params = {"project": self._project}
        body = self._request(method, path, _CHANGE_TIMEOUT, params=dict(params), **request).json()
        operation: JsonObject = body["metadata"]
        address = ("operations", str(operation["id"]))
        asked_to_end: float | None = None
        while operation["status_code"] < _DONE and not self._closing.is_set():
            now = time.monotonic()
            if asked_to_end is None and (cancelled.is_set() or now - began > within):
                asked_to_end = now
                self._ask_to_end(address)
            if asked_to_end is not None and now - asked_to_end > linger:
                break
            slice_of_time = {**params, "timeout": str(_SLICE)}
            try:
                waited = self._request("get", (*address, "wait"), READ_TIMEOUT, params=slice_of_time)
            except LIBRARY_ERRORS as error:
                meaning = translated(error)
                if isinstance(meaning, Refusal) and meaning.missing:
                    # Operations live in the daemon's memory: it was restarted, and how far it got is unknown.
                    raise unavailable("It was restarted in the middle of the work.") from error
                raise meaning from error
            operation = waited.json()["metadata"]
        return _finished(operation, within)

    def _ask_to_end(self, operation: tuple[str, ...]) -> None:
        try:
            self._request("delete", operation, READ_TIMEOUT, params={"project": self._project})
        except LIBRARY_ERRORS as error:
            meaning = translated(error)
            if not isinstance(meaning, Refusal):  # most kinds cannot be cancelled; then they are waited for
                raise meaning from error


def _finished(operation: JsonObject, within: float) -> JsonObject:
    """The operation's record if it succeeded, else LXD's reason."""
    if operation["status_code"] == _DONE:
        return operation
    if operation["status_code"] < _DONE:
        raise Refusal(_DONE, f"it did not finish within {within:g} seconds")
    # A failed operation is answered with HTTP 200; its own code is in the record.
    raise refused(int(operation["status_code"]), str(operation.get("err", "")))


def _mapped(work: Callable[[], T]) -> T:
    try:
        return work()
    except LIBRARY_ERRORS as error:
        raise translated(error) from error


async def _to_its_end(job: Future[T], cancelled: threading.Event | None = None) -> T:
    """The job's result; when the caller is cancelled, it is told and waited for before that is passed on."""
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not job.cancel():  # it is running; had it still been in the queue, that would be all
            if cancelled is not None:
                cancelled.set()
            await asyncio.wait({future})
            if not future.cancelled():
                future.exception()  # nobody is left to be told of it
        raise


def endpoint_url(endpoint: str | None) -> str:
    """The form that pylxd takes: None is the socket where LXD's own client looks for it."""
    if endpoint is None:
        snap = Path("/var/snap/lxd/common/lxd")
        folder = os.environ.get("LXD_DIR") or (str(snap) if snap.exists() else "/var/lib/lxd")
        endpoint = f"{folder}/unix.socket"
    if endpoint.startswith("https://"):
        return endpoint.rstrip("/")
    return SCHEME + quote(endpoint.removeprefix("unix:"), safe="")
