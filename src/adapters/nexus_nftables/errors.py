"""What `nft` and the kernel refuse, said in Nexus's own words."""

from __future__ import annotations

from nexus_core.errors import PublishFailed

_PRIVILEGE = "Run the server as root, or give it CAP_NET_ADMIN (`AmbientCapabilities=CAP_NET_ADMIN` in its unit)."


def not_started(exc: OSError) -> PublishFailed:
    """The `nft` program could not be run at all."""
    if isinstance(exc, FileNotFoundError):
        return PublishFailed(
            "The program `nft` is missing on the host",
            why="Nexus publishes ports with nftables.",
            fix="Install it: `apt-get install nftables`.",
        )
    return PublishFailed("The program `nft` cannot be run", why=f"The host says: {exc.strerror}.")


def refused(stderr: str) -> PublishFailed:
    """`nft` ran and said no."""
    reason = next((line.partition("Error: ")[2] for line in stderr.splitlines() if "Error: " in line), "")
    if "not permitted" in stderr:
        return PublishFailed("The kernel lets this server change no ports", why="No permission.", fix=_PRIVILEGE)
    return PublishFailed("The kernel refused a forwarding rule", why=f"nft says: {reason or 'nothing'}.")


def too_slow(seconds: float) -> PublishFailed:
    """`nft` did not end in time."""
    return PublishFailed("The program `nft` did not answer", why=f"It was given {seconds:g} seconds.")


def unreadable() -> PublishFailed:
    """`nft` answered with something that is not its JSON."""
    return PublishFailed(
        "The host's nftables rules cannot be read",
        why="`nft -j list ruleset` did not answer in JSON of the expected form.",
        fix="Install nftables 1.0.6 or newer.",
    )


def loopback_refused(bridge: str, exc: OSError) -> PublishFailed:
    """The kernel setting that lets loopback connections out to the bridge could not be changed."""
    return PublishFailed(
        f"Published ports cannot be opened on loopback: {bridge} does not take route_localnet",
        why=f"The host says: {exc.strerror}.",
        fix=f"{_PRIVILEGE} In a container, run `sysctl -w net.ipv4.conf.{bridge}.route_localnet=1` on the host.",
    )
