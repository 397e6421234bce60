"""An LXD daemon of one's own, which may be killed, paused and rebooted while the machine's is left alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROJECT = "nexus"
IMAGE = "nexus-base"
_POOL_SIZE = "10GiB"  # in a sparse file
_PATIENCE = 60


class OwnLxd:
    """A second LXD with its own folder, pool and bridge, and the base image taken over from the machine's.

    It is up in about two seconds and stays until `remove`. Everything it makes is in ``folder``, except the
    bridge, whose name and addresses belong to it alone: ``number`` (0-9) keeps several apart, and is by
    itself the first that is free.
    """

    def __init__(self, folder: Path, number: int | None = None) -> None:
        self.folder = folder
        self.bridge = ""
        self._numbers = range(10) if number is None else (number,)
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "lxd" / "unix.socket"

    @property
    def pid(self) -> int:
        """The daemon's process id; raises `RuntimeError` while there is none."""
        if self._daemon is None:
            raise RuntimeError("this LXD is not running")
        return self._daemon.pid

    @property
    def settings(self) -> dict[str, str]:
        """What a server's environment must hold for it to use this LXD, once that is made."""
        return {"NEXUS_LXD_ENDPOINT": str(self.socket), "NEXUS_LXD_BRIDGE": self.bridge}

    def make(self) -> None:
        """Start the daemon for the first time, and give it a pool, a bridge, a project and the image."""
        (self.folder / "lxd").mkdir(mode=0o711, parents=True)
        self.folder.chmod(0o711)  # root inside a container is nobody outside, and has to get to its files
        image = self.folder / "image"
        _run("lxc", "image", "export", f"local:{IMAGE}", str(image))
        self.start()
        self.lxc("storage", "create", "nexus", "btrfs", f"size={_POOL_SIZE}")
        self._make_bridge()
        features = ("images=false", "profiles=true", "storage.volumes=true", "networks=false")
        self.lxc("project", "create", PROJECT, *(word for one in features for word in ("-c", f"features.{one}")))
        device = ("profile", "device", "add", "default", "--project", PROJECT)
        self.lxc(*device, "root", "disk", "path=/", "pool=nexus")
        self.lxc(*device, "eth0", "nic", f"network={self.bridge}", "name=eth0")
        self.lxc("image", "import", str(image), f"{image}.root", "--alias", IMAGE, "--project", "default")
        for part in (image, image.with_suffix(".root")):
            part.unlink()

    def _make_bridge(self) -> None:
        # LXD would take over a bridge that is there, fail on its addresses, and remove it from under its owner.
        for number in self._numbers:
            bridge, prefix = f"nexusown{number}", f"10.{190 + number}"
            if Path(f"/sys/class/net/{bridge}").exists() or not self._reserve(bridge):
                continue
            self.lxc(
                *("network", "create", bridge, f"ipv4.address={prefix}.0.1/19", "ipv4.nat=true"),
                *("ipv6.address=none", f"ipv4.dhcp.ranges={prefix}.31.1-{prefix}.31.254"),
            )
            self.bridge = bridge
            return
        raise RuntimeError("every bridge for an LXD of one's own is taken")

    def _reserve(self, bridge: str) -> bool:
        """Whether the name is ours until this process ends: two that look at once would both find it free."""
        lock = os.open(f"/run/lock/{bridge}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        return True

    def start(self) -> None:
        """Run the daemon, and return when it answers."""
        with (self.folder / "lxd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                ["lxd", "--group", "lxd", "--logfile", self.folder / "daemon.log"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd="/",
                start_new_session=True,
            )
        _run("lxd", "waitready", "--timeout", str(_PATIENCE), env=self._environment())

    def kill(self) -> None:
        """End the daemon as a crash would; containers run on."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.kill()
            daemon.wait()

    def pause(self) -> None:
        """Let the daemon answer nobody, without closing a connection."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused daemon go on."""
        os.kill(self.pid, signal.SIGCONT)

    def shut_down(self) -> None:
        """Stop the daemon and its containers, as an orderly reboot of the host does."""
        _run("lxd", "shutdown", "--timeout", str(_PATIENCE), env=self._environment())
        if self._daemon is not None:
            self._daemon.wait(_PATIENCE)
            self._daemon = None

    def cut_power(self) -> None:
        """End the daemon and all its containers at once, as a power cut does."""
        self.kill()
        monitors = _processes(f"{self.folder}/lxd/containers")
        # With its first process a whole container ends; a monitor that is left would tell of it.
        ended = [*monitors, *(child for one in monitors for child in _children(one))]
        for pid in ended:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _thaw(pid)
        deadline = time.monotonic() + _PATIENCE
        while any(Path(f"/proc/{pid}").exists() for pid in ended) and time.monotonic() < deadline:
            time.sleep(0.05)

    def lxc(self, *arguments: str) -> str:
        """What ``lxc`` says, asked of this daemon."""
        return _run("lxc", *arguments, env=self._environment())

    def remove(self) -> None:
        """End the daemon and its containers, and remove everything it made; fine also halfway through `make`."""
        with suppress(OSError):
            if self._daemon is not None:
                self.resume()
        self.cut_power()
        self._remove_rules()
        for pid in _processes(f"{self.folder}/lxd/networks/"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.bridge:
            # A daemon that died while it started a container leaves the host's end of its network card.
            for card in Path(f"/sys/class/net/{self.bridge}/brif").glob("*"):
                _try("ip", "link", "delete", card.name)
            _try("ip", "link", "delete", self.bridge)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            _try("umount", "--lazy", mount)
        for line in _run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines():
            if f"{self.folder}/" in line:
                _try("losetup", "--detach", line.split()[0])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_rules(self) -> None:
        """Remove what the daemon told the kernel about its bridge and its containers' network cards."""
        for place in ("pstrt", "fwd", "in", "out") if self.bridge else ():
            _try("nft", "delete", "chain", "inet", "lxd", f"{place}.{self.bridge}")
        for container in (self.folder / "lxd" / "containers").glob("*"):
            for place in ("in", "fwd"):
                _try("nft", "delete", "chain", "bridge", "lxd", f"{place}.{container.name}.eth0")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LXD_DIR": str(self.folder / "lxd")}


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=2 * _PATIENCE, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _try(*command: str) -> None:
    """Run a command that may have nothing to do."""
    subprocess.run(command, check=False, capture_output=True)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


def _thaw(pid: int) -> None:
    """Let a process die that a version 1 freezer holds: what is frozen there does not even take SIGKILL."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
            _, controller, path = line.split(":", 2)
            if controller == "freezer":
                Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").write_text("THAWED", encoding="ascii")


def _processes(mark: str) -> list[int]:
    """The processes whose command line names this path."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
