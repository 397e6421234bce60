"""Publishing host ports in the kernel: one nftables table per server, which outlives the server.

For the server ``k3v9…`` and the bridge ``nexusbr0`` the table is::

    table ip nexus_k3v9… {
        map ports { type inet_service : ipv4_addr . inet_service; elements = { 2222 : 10.0.0.7 . 22 } }
        map bound { … the same by address and port: elements = { 127.0.0.1 . 8080 : 10.0.0.7 . 80 } }
        chain guard    { … arriving on the bridge from or for 127.0.0.0/8: drop }
        chain arriving { … not from the bridge, for this host: dnat by the maps }
        chain outgoing { … from this host to itself: dnat by the maps }
        chain leaving  { … from 127.0.0.0/8 out to the bridge: snat to the bridge's address }
    }

With it goes ``net.ipv4.conf.nexusbr0.route_localnet=1``, without which the kernel lets no
connection from loopback out; the guard keeps that from opening the host's loopback to workspaces.
"""

from __future__ import annotations

from nexus_nftables.publisher import NftablesPublisher

__all__ = ["NftablesPublisher"]
