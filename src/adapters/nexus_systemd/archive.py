"""Putting many files into an instance at once."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from nexus_core.errors import ProviderFailed
from nexus_core.ports.interior import Interior

DEV: Final = 1000  # the user's id, in every image that is ready
TOOLS: Final = "/usr/local/lib/nexus"
_ARCHIVE = "/run/nexus.tar"
_SECONDS = 60.0

# Its arguments: what to remove first, so that nothing stays of an earlier installation. The folders for dev's things
# come with the first archive; tar would leave their owner as it finds it.
_UNPACK = """
set -eu
install -d -m 0700 -o 1000 -g 1000 /home/dev/.nexus
install -d -m 0755 -o 1000 -g 1000 /run/nexus
install -d -m 0755 /etc/nexus /var/log/nexus /usr/local/lib/nexus
case $1 in
clone) ;;
*) [ -e /home/dev/workspace ] || install -d -o 1000 -g 1000 /home/dev/workspace ;;
esac
[ "$1" != services ] || rm -f /etc/systemd/system/nexus-service-*.service
shift
rm -rf -- "$@"
tar --extract --preserve-permissions --numeric-owner --no-overwrite-dir --directory=/ --file=/run/nexus.tar
rm -f /run/nexus.tar
systemctl daemon-reload
"""


@dataclass(frozen=True, slots=True)
class File:
    """A file to put in place; as a link if ``link`` names where to."""

    path: str
    content: str = ""
    mode: int = 0o644
    uid: int = 0
    link: str | None = None


def tool(name: str) -> File:
    """One of the scripts of this package, as a program inside."""
    text = files("nexus_systemd").joinpath("scripts", name).read_text(encoding="utf-8")
    return File(f"{TOOLS}/{name.partition('.')[0]}", text, mode=0o755)


def pack(contents: Iterable[File]) -> bytes:
    """The files as an archive; equal files make equal archives."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one in contents:
            entry = tarfile.TarInfo(one.path.lstrip("/"))
            entry.mode, entry.uid, entry.gid = one.mode, one.uid, one.uid
            if one.link is not None:
                entry.type, entry.linkname = tarfile.SYMTYPE, one.link
                archive.addfile(entry)
            else:
                content = one.content.encode()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


async def unpack(interior: Interior, instance: str, archive: bytes, *, purpose: str, instead_of: Iterable[str]) -> None:
    """Put the archive's files in place of what is at the paths ``instead_of``, and have systemd read its units anew.

    The archive may hold secrets: it lies in memory inside the instance, for root alone, until it is unpacked.
    """
    await interior.write(instance, _ARCHIVE, archive, mode=0o600)
    command = ["/bin/bash", "-c", _UNPACK, "unpack", purpose, *instead_of]
    done = await interior.run(instance, command, within=_SECONDS)
    if done.exit_code != 0:
        raise ProviderFailed(
            "What a workspace needs inside could not be put in place",
            why=f"Unpacking ended with: {done.output.strip()[-300:]}",
        )
