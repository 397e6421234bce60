"""Sockets inside the network namespaces of containers, without a program inside."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import re
import signal
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from socket import SOCK_STREAM, AddressFamily
from socket import socket as Socket  # noqa: N812  # the method that makes one has this name here
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
_MOST = 512  # containers that are remembered at a time; each costs a file descriptor
# What the kernel answers those who may not, or where it is too old to take a process for its namespace.
_NOT_FOR_US = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.EBADF})


class NotPossible(Exception):
    """Namespaces of containers cannot be entered from here, or not this one's."""


class Paused(Exception):
    """The container is frozen: the kernel would answer in place of its programs, as far as it can."""


class Process:
    """The first process of a container, held by a descriptor that never means another process.

    ``freezer`` is the file in which the kernel says whether the container is frozen, if there is one.
    """

    def __init__(self, descriptor: int, freezer: Path | None = None) -> None:
        self.descriptor: int | None = descriptor
        self._freezer = freezer

    @property
    def is_paused(self) -> bool:
        """Whether it is frozen; only to be asked where `Namespaces` works."""
        if self._freezer is None:
            return False
        try:
            said = self._freezer.read_text(encoding="ascii")
        except OSError:  # the container has just ended
            return False
        return "FROZEN" in said or "frozen 1" in said

    def close(self) -> None:
        """Let go of it; only to be called where `Namespaces` works."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Namespaces:
    """Makes sockets in containers' network namespaces, on one thread that does nothing else.

    A process is held by a pidfd, so that a number that was given to another process can never lead
    anywhere, and nothing of a container that has ended is kept alive. Whether a namespace is the
    host's is looked at each time. Should the thread not find back, it is never used again.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nexus-netns")
        self._known: OrderedDict[str, Process] = OrderedDict()
        self._home: int | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.possible = True

    def known(self, name: str) -> Process | None:
        """The process that was remembered for this container."""
        if name in self._known:
            self._known.move_to_end(name)
        return self._known.get(name)

    async def remember(self, name: str, project: str, pid: int) -> Process:
        """Hold this process, which is to be the first of that container.

        Raises `ProcessLookupError` if there is no such process, and `NotPossible` if it is not the container's: process
        numbers mean something else here than where LXD runs.
        """
        process = await self._work(lambda: self._hold(name, project, pid), _close)
        self.forget(name)
        self._known[name] = process
        if len(self._known) > _MOST:
            self.forget(next(iter(self._known)))
        return process

    def forget(self, name: str) -> None:
        """Let go of what was remembered."""
        process = self._known.pop(name, None)
        if process is not None:
            self._in_turn(process.close)

    async def socket(self, process: Process, family: AddressFamily) -> Socket:
        """A TCP socket in the process's network namespace, where it stays.

        Raises `ProcessLookupError` if the process has ended, `Paused` if it cannot do anything, and `NotPossible`.
        """
        return await self._work(lambda: self._inside(process, family), _close)

    def close(self) -> None:
        """Let go of everything."""
        self.possible = False
        for name in list(self._known):
            self.forget(name)
        self._in_turn(self._leave_home)
        self._thread.shutdown(wait=False)

    def _in_turn(self, work: Callable[[], None]) -> None:
        """Do it after all that was asked for before."""
        try:
            self._thread.submit(work)
        except RuntimeError:  # closed: nothing else is to come
            work()

    async def _work(self, work: Callable[[], T], unwanted: Callable[[Future[T]], None]) -> T:
        if not self.possible:
            raise NotPossible
        job = self._thread.submit(work)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            job.add_done_callback(unwanted)
            raise
        except OSError as error:
            if error.errno in _NOT_FOR_US:
                self.possible = False
                raise NotPossible from error
            raise

    # --- what follows runs on the thread ---

    def _hold(self, name: str, project: str, pid: int) -> Process:
        if self._home is None:
            self._home = os.open(_OWN, os.O_RDONLY)
        descriptor = os.pidfd_open(pid)
        try:
            try:
                groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
            except FileNotFoundError:
                raise ProcessLookupError from None
            if not is_in_container(groups, project, name):
                raise NotPossible
            signal.pidfd_send_signal(descriptor, 0)  # it lives still: what was read was about it
        except BaseException:
            os.close(descriptor)
            raise
        return Process(descriptor, freezer_of(groups))

    def _inside(self, process: Process, family: AddressFamily) -> Socket:
        if process.descriptor is None or self._home is None:
            raise ProcessLookupError
        if process.is_paused:
            raise Paused
        with ExitStack() as undone:
            self._enter(process.descriptor)
            try:
                here = Path(_OWN).stat()
                home = os.fstat(self._home)
                if (here.st_dev, here.st_ino) == (home.st_dev, home.st_ino):
                    raise NotPossible
                made = undone.enter_context(Socket(family, SOCK_STREAM))
            finally:
                self._find_back(self._home)
            made.setblocking(False)
            undone.pop_all()
            return made

    def _find_back(self, home: int) -> None:
        try:
            self._enter(home)
        except OSError:
            self.possible = False
            raise

    def _enter(self, descriptor: int) -> None:
        if self._libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def _leave_home(self) -> None:
        if self._home is not None:
            os.close(self._home)
            self._home = None


def is_in_container(groups: str, project: str, name: str) -> bool:
    """Whether these control groups, as in /proc/PID/cgroup, are those of that LXD container."""
    full = name if project == "default" else f"{project}_{name}"
    # LXC puts a number behind it where a group of an earlier run is still there.
    return re.search(rf"/lxc\.payload\.{re.escape(full)}(-\d+)?(/|$)", groups, re.MULTILINE) is not None


def freezer_of(groups: str) -> Path | None:
    """The file that says whether these control groups, as in /proc/PID/cgroup, are frozen; None if there is none."""
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        places = {"freezer": f"/sys/fs/cgroup/freezer{group}/freezer.state", "": f"/sys/fs/cgroup{group}/cgroup.events"}
        if controllers in places and Path(places[controllers]).exists():
            return Path(places[controllers])
    return None


def _close(job: Future[Process] | Future[Socket]) -> None:
    """Close what nobody waits for any more."""
    if not job.cancelled() and job.exception() is None:
        job.result().close()
