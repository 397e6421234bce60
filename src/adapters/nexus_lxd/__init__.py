"""Workspaces as LXD containers, on pylxd.

`LxdProvider` puts these together: `connection` (requests off the event loop, and their ends),
`lanes` (who waits for whom), `images` and `preparation` (what an instance starts from), `stencils`
(why it starts fast), `network` (its address), `files` (its keys), `removal` (its end) and `errors`
(what LXD's refusals mean).
"""

from __future__ import annotations

from nexus_lxd.provider import PUBLIC_IMAGES, LxdProvider

__all__ = ["PUBLIC_IMAGES", "LxdProvider"]
