"""Images that were not made for workspaces: prepared once; and remote ones: downloaded once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pylxd.exceptions import LXDAPIException

from contracts.provider_contract import specs_of
from nexus_core.domain.user import PublicKey
from nexus_core.errors import ImageUnavailable, UnknownImage
from nexus_core.ports.provider import InstanceState
from nexus_lxd.instances import BUILDER, SERVER
from nexus_lxd.preparation import PREPARED_FROM, READY, own_name
from nexus_lxd.provider import LxdProvider

pytestmark = pytest.mark.lxd

Lxd = Any  # tests/e2e/conftest.py, which importlib mode gives no name to import it by
Import = Callable[..., str]

MIRROR = os.environ.get("NEXUS_DEBIAN_MIRROR", "")  # empty: Debian's own
PACKAGES = "systemd-sysv"  # no SSH server, no udev, no ip, no sudo


def metadata(**properties: str) -> bytes:
    """The metadata half of a split image."""
    lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in properties.items())
    text = f"architecture: {os.uname().machine}\ncreation_date: {int(time.time())}\nproperties:\n{lines}".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("metadata.yaml")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def bare_debian() -> Path:
    """The root file system of a Debian without an SSH server; made once, then kept for later runs."""
    if os.geteuid() != 0:
        pytest.skip("needs root for mmdebstrap")
    recipe = hashlib.sha256(f"{MIRROR} {PACKAGES}".encode()).hexdigest()[:12]
    cached = Path(tempfile.gettempdir()) / "nexus-test-images" / f"bare-debian-{recipe}.squashfs"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            root, packed = Path(folder) / "root", Path(folder) / "packed"
            command = [
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                f"--include={PACKAGES}",
                "bookworm",
                str(root),
                *filter(None, [MIRROR]),
            ]
            subprocess.run(command, check=True, capture_output=True)
            subprocess.run(["mksquashfs", root, packed, "-comp", "zstd"], check=True, capture_output=True)
            packed.rename(cached)
    return cached


@pytest.fixture
def import_image(lxd: Lxd, tmp_path: Path) -> Generator[Import]:
    """Imports a split image under an alias; it and what was made of it is removed afterwards."""
    made: list[str] = []

    def bring(alias: str, root: Path, **properties: str) -> str:
        head = tmp_path / "meta.tar"
        head.write_bytes(metadata(description="a test's image", unique=os.urandom(8).hex(), **properties))
        subprocess.run(["lxc", "image", "import", head, root, "local:", "--alias", alias], check=True)
        target: str = lxd.alias(alias)
        made.append(target)
        return target

    yield bring
    for image in lxd.images():
        if image["fingerprint"] in made or image["properties"].get(PREPARED_FROM) in made:
            with suppress(LXDAPIException):
                lxd.finish(lxd.api.images[image["fingerprint"]].delete())


@pytest.fixture
def empty_root(tmp_path: Path) -> Path:
    """The root file system, packed, of a system without anything to run."""
    folder = tmp_path / "root"
    for name in ("dev", "etc", "proc", "sys", "sbin"):
        (folder / name).mkdir(parents=True)
    subprocess.run(["mksquashfs", folder, tmp_path / "empty.squashfs"], check=True, capture_output=True)
    return tmp_path / "empty.squashfs"


@pytest.fixture
async def provider(lxd: Lxd, server_id: str) -> AsyncIterator[LxdProvider]:
    provider = LxdProvider(server_id=server_id)
    yield provider
    await provider.close()
    lxd.sweep(server_id.__eq__, SERVER, BUILDER)


async def test_an_image_without_ssh_and_user_is_prepared_once(  # noqa: PLR0917  # fixtures
    lxd: Lxd, provider: LxdProvider, import_image: Import, bare_debian: Path, server_id: str, tmp_path: Path
) -> None:
    # A local alias wins over the remote that it looks like.
    alias = f"ubuntu:{server_id}"
    source = import_image(alias, bare_debian)
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = PublicKey(" ".join(key.export_public_key().decode().split()[:2]), key.get_fingerprint())
    make = specs_of(alias)
    specs = [make(authorized_key=public, hostname="prepared"), make(image=source[:12])]

    # What a run that was killed has left behind does no harm.
    builder = own_name("image", source, server_id)
    body = {"name": builder, "config": {BUILDER: server_id}, "source": {"type": "image", "fingerprint": source}}
    lxd.finish(lxd.api.instances.post(json=body))

    await provider.check_image(alias)
    await provider.check_image(source[:12])
    await asyncio.gather(*(provider.create(spec) for spec in specs))

    prepared = [image for image in lxd.images() if image["properties"].get(PREPARED_FROM) == source]
    assert [image["properties"][READY] for image in prepared] == ["1"]
    assert builder not in {one["name"] for one in lxd.instances()}
    assert {one.name for one in await provider.instances()} == {spec.name for spec in specs}

    started = await provider.start(specs[0].name)
    assert started.address
    known = tmp_path / "known_hosts"
    known.write_text(f"{started.address} {specs[0].host_key.public.text}\n")
    for attempt in range(600):
        with suppress(OSError, asyncssh.ConnectionLost):
            break_off = asyncssh.connect(
                started.address,
                username="dev",
                client_keys=[key],
                known_hosts=str(known),
                config=None,
                agent_path=None,
            )
            async with break_off as connection:
                script = "id -un; id -u; hostname; sudo id -u; ls /etc/ssh/ssh_host_*_key; ls / | grep nexus || true"
                done = await connection.run(script, check=True)
                assert str(done.stdout).split() == [
                    "dev",
                    "1000",
                    "prepared",
                    "0",
                    "/etc/ssh/ssh_host_ed25519_key",
                ]
                running = asyncio.create_task(connection.run("sleep 600"))
                await asyncio.sleep(0.1)
                await provider.stop(specs[0].name, grace=10)
                await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 10)
            break
        assert attempt < 599
        await asyncio.sleep(0.05)

    # A server that does not remember finds the prepared one, and makes no second.
    again = LxdProvider(server_id=server_id)
    try:
        await again.create(make())
        assert [one for one in lxd.images() if one["properties"].get(PREPARED_FROM) == source] == prepared
    finally:
        await again.close()


async def test_an_image_that_cannot_be_prepared_says_why_and_leaves_nothing(
    lxd: Lxd, provider: LxdProvider, import_image: Import, empty_root: Path, server_id: str
) -> None:
    source = import_image(f"{server_id}-empty", empty_root)
    with pytest.raises(ImageUnavailable, match=r"LXD's reason: .*\w"):
        await provider.create(specs_of(source)())
    assert own_name("image", source, server_id) not in {one["name"] for one in lxd.instances()}


@pytest.fixture
def failing_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In place of the script that prepares, one that gives up."""

    def folder(package: str) -> Path:
        del package
        return tmp_path

    (tmp_path / "prepare.sh").write_text("exec >/nexus-prepare.log 2>&1; echo It is not my day.; exit 3")
    monkeypatch.setattr("nexus_lxd.preparation.files", folder)


@pytest.mark.usefixtures("failing_script")
async def test_a_script_that_fails_is_quoted(
    lxd: Lxd, provider: LxdProvider, import_image: Import, bare_debian: Path, server_id: str
) -> None:
    source = import_image(f"{server_id}-bare", bare_debian)
    with pytest.raises(ImageUnavailable, match="It is not my day") as caught:
        await provider.create(specs_of(source)())
    assert "systemd" in caught.value.fix
    assert own_name("image", source, server_id) not in {one["name"] for one in lxd.instances()}


async def test_a_fingerprint_of_no_image_is_unknown(provider: LxdProvider) -> None:
    with pytest.raises(UnknownImage):
        await provider.check_image("ffffffffffff")


class Simplestreams:
    """A public image server with one image, which counts what is fetched."""

    def __init__(self, head: bytes, root: bytes, alias: str) -> None:
        self.fetched: list[str] = []
        arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        both = hashlib.sha256(head + root).hexdigest()
        items = {
            "lxd.tar.xz": {
                "ftype": "lxd.tar.xz",
                "path": "images/lxd.tar.xz",
                "size": len(head),
                "sha256": hashlib.sha256(head).hexdigest(),
                "combined_squashfs_sha256": both,
            },
            "squashfs": {
                "ftype": "squashfs",
                "path": "images/root.squashfs",
                "size": len(root),
                "sha256": hashlib.sha256(root).hexdigest(),
            },
        }
        product = {
            "aliases": alias,
            "arch": arch,
            "os": "Test",
            "release": "1",
            "release_title": "1",
            "version": "1",
            "versions": {"20260101": {"items": items}},
        }
        index = {"images": {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": ["test"]}}
        self._files = {
            "/streams/v1/index.json": json.dumps({"format": "index:1.0", "index": index}).encode(),
            "/streams/v1/images.json": json.dumps(
                {
                    "format": "products:1.0",
                    "content_id": "images",
                    "datatype": "image-downloads",
                    "products": {"test": product},
                }
            ).encode(),
            "/images/lxd.tar.xz": head,
            "/images/root.squashfs": root,
        }
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = server._files.get(self.path)
                server.fetched.append(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def image_server(lxd: Lxd, empty_root: Path) -> Generator[Simplestreams]:
    """A public image server with the image ``tiny/1``, which has nothing to run."""
    server = Simplestreams(metadata(unique=os.urandom(8).hex()), empty_root.read_bytes(), "tiny/1")
    yield server
    server.close()
    for image in lxd.images():
        if (image.get("update_source") or {}).get("server") == server.url:
            lxd.finish(lxd.api.images[image["fingerprint"]].delete())


async def test_a_remote_image_is_downloaded_once(server_id: str, lxd: Lxd, image_server: Simplestreams) -> None:
    provider = LxdProvider(server_id=server_id, remotes={"mine": image_server.url})
    try:
        await provider.check_image("mine:tiny/1")
        assert image_server.fetched == []
        make = specs_of("mine:tiny/1")
        # It has nothing to run, so that it comes here and is then found unfit.
        attempts = await asyncio.gather(*(provider.create(make()) for _ in range(2)), return_exceptions=True)
        assert [type(one) for one in attempts] == [ImageUnavailable] * 2, attempts
        with pytest.raises(ImageUnavailable):
            await provider.create(make())
        assert image_server.fetched.count("/images/root.squashfs") == 1
        assert [one for one in await provider.instances() if one.state is not InstanceState.ABSENT] == []
        with pytest.raises(ImageUnavailable, match="downloaded"):
            await provider.create(specs_of("mine:no-such/1")())
    finally:
        await provider.close()
        lxd.sweep(server_id.__eq__, SERVER, BUILDER)
