"""What can go wrong, said so that a person knows what to do next.

Every error carries a stable ``code`` (listed in docs/reference/errors.md) and three sentences:
*what* happened, *why*, and the *fix*. Entrypoints choose a status or an exit code by the branch
of this tree an error hangs on; nothing else about an error depends on who is listening::

    NexusError
    ├── Invalid                 the request is wrong as it stands
    │   ├── InvalidRequest  InvalidSshKey  FingerprintMismatch  InvalidServiceGraph
    │   └── UnknownProvider  UnknownImage
    ├── Unauthorized            nobody we know is asking
    ├── Forbidden               somebody we know may not do this
    ├── NotFound
    │   ├── UserNotFound  WorkspaceNotFound  TokenNotFound
    │   └── ServiceNotFound  PortForwardNotFound
    ├── Conflict                right request, wrong moment
    │   ├── UserAlreadyRegistered  SshKeyInUse  WorkspaceAlreadyExists  IdempotencyConflict
    │   ├── InvalidStatusTransition  WorkspaceRunning  WorkspaceAlreadyStopped  WorkspaceNotRunning
    │   └── PortInUse
    ├── Unavailable             try again later
    │   └── HostPortsExhausted  ProviderUnavailable  DatabaseBusy
    └── Failed                  something beneath us did not do its part
        ├── ProviderFailed  InstanceMissing  InstanceStopped  ImageUnavailable
        ├── SshNotReady  HostKeyMismatch  HostPortTaken  PublishFailed
        ├── CloneFailed  BundleMissing  InvalidConfig  SetupFailed  ServiceFailed
        └── DeadlineExceeded  StoreFailed  SchemaTooNew  InternalError
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class NexusError(Exception):
    """Anything Nexus refuses or fails to do.

    ``what`` is a clause without a full stop; ``why`` and ``fix`` are sentences. ``fix`` falls back
    to the class's own, which is never empty. ``details`` holds JSON values only and never a
    secret, a file path or a stack trace.
    """

    code: ClassVar[str] = "internal_error"
    remedy: ClassVar[str] = "Look at the server's log for this request id."

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        fix: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix or self.remedy
        self.details: dict[str, Any] = dict(details or {})

    @property
    def message(self) -> str:
        """What, why and fix as one paragraph; a part that ends with a line's end keeps it."""
        text = ""
        for part in filter(None, (self.what, self.why, self.fix)):
            text += part if part.endswith((".", "?", "!", "\n")) else f"{part}."
            text += "" if part.endswith("\n") else " "
        return text.rstrip()

    def __str__(self) -> str:
        return self.message


class Invalid(NexusError):
    """The request is wrong as it stands; sending it again changes nothing."""

    code = "invalid_request"
    remedy = "Correct the request and send it again."


class InvalidRequest(Invalid):
    """A field is missing, unknown, of the wrong type or out of range; ``details`` maps paths to reasons."""


class InvalidSshKey(Invalid):
    """The text is not one acceptable SSH public key."""

    code = "invalid_ssh_key"
    remedy = "Send the one line of a public key file, such as ~/.ssh/id_ed25519.pub."


class FingerprintMismatch(Invalid):
    """The fingerprint that was sent is not the key's."""

    code = "fingerprint_mismatch"
    remedy = "Compare with `ssh-keygen -lf KEY.pub`, or leave the fingerprint out."


class InvalidServiceGraph(Invalid):
    """The services' dependencies cannot be ordered."""

    code = "invalid_service_graph"
    remedy = "Correct the services' `depends_on`, names or ports."


class UnknownProvider(Invalid):
    """No provider of that name is configured on this server."""

    code = "unknown_provider"
    remedy = "Leave `provider` out to take the server's own."


class UnknownImage(Invalid):
    """The image is neither a local alias or fingerprint nor a remote reference."""

    code = "unknown_image"
    remedy = "Name a local alias (`lxc image list`) or a remote image such as ubuntu:22.04."


class Unauthorized(NexusError):
    """The request carries no token that this server knows."""

    code = "unauthorized"
    remedy = "Send `Authorization: Bearer TOKEN` with a valid API token."


class Forbidden(NexusError):
    """The caller is known and may not do this."""

    code = "forbidden"
    remedy = "Ask the administrator."


class NotFound(NexusError):
    """There is no such thing, or it is not the caller's to see."""

    code = "not_found"
    remedy = "Check the address."


class UserNotFound(NotFound):
    """No such user is registered, or it is not the caller."""

    code = "user_not_found"
    remedy = "Check the spelling, or register the user first (`nexus register`)."


class WorkspaceNotFound(NotFound):
    """No such workspace exists, it is deleted, or it is another user's."""

    code = "workspace_not_found"
    remedy = "List what there is with `nexus ls`."


class TokenNotFound(NotFound):
    """No such token exists for this user."""

    code = "token_not_found"
    remedy = "List the user's tokens with `nexus token ls`."


class ServiceNotFound(NotFound):
    """The workspace has no service of that name."""

    code = "service_not_found"
    remedy = "List the workspace's services with `nexus services WORKSPACE`."


class PortForwardNotFound(NotFound):
    """The service is not forwarded."""

    code = "port_forward_not_found"
    remedy = "Forward it first: `nexus forward WORKSPACE SERVICE`."


class Conflict(NexusError):
    """The request is sound but does not fit the present state."""

    code = "conflict"
    remedy = "Look at the present state and decide anew."


class UserAlreadyRegistered(Conflict):
    """The GitHub name or id is registered already."""

    code = "user_already_registered"
    remedy = "To change the key, use `PUT /users/{username}/ssh-key`."


class SshKeyInUse(Conflict):
    """Another user holds this public key."""

    code = "ssh_key_in_use"
    remedy = "Use a key of your own: `ssh-keygen -t ed25519`."


class WorkspaceAlreadyExists(Conflict):
    """The owner has a workspace of that name which is not deleted."""

    code = "workspace_already_exists"
    remedy = "Choose another name, or delete that one first."


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used before, with another body."""

    code = "idempotency_conflict"
    remedy = "Use a new key for a new request."


class InvalidStatusTransition(Conflict):
    """The workspace's status does not allow this move; ``details`` has from, to and allowed."""

    code = "invalid_status_transition"
    remedy = "Wait for the work under way, or choose one of the allowed moves."


class WorkspaceRunning(Conflict):
    """A running workspace is deleted only with force."""

    code = "workspace_running"
    remedy = "Stop it first, or delete with force=true."


class WorkspaceAlreadyStopped(Conflict):
    """Stopping a stopped workspace."""

    code = "workspace_already_stopped"
    remedy = "Nothing needs to be done."


class WorkspaceNotRunning(Conflict):
    """What was asked needs the workspace to be running."""

    code = "workspace_not_running"
    remedy = "Start the workspace, and ask again once it is running."


class PortInUse(Conflict):
    """The host port that was asked for is another's."""

    code = "port_in_use"
    remedy = "Ask for another port, or leave `mapped_port` out."


class Unavailable(NexusError):
    """Something is missing now that may be back later; ``retry_after`` is in seconds."""

    code = "unavailable"
    remedy = "Try again in a while."
    retry_after: ClassVar[int] = 5


class HostPortsExhausted(Unavailable):
    """No host port is left to lease."""

    code = "no_ports_available"
    remedy = "Delete a workspace (`nexus ls`), or widen `ssh_ports` in the server's settings."
    retry_after = 60


class ProviderUnavailable(Unavailable):
    """The provider (LXD, say) does not answer."""

    code = "provider_unavailable"
    remedy = "Start it again; work that waits for it goes on by itself."
    retry_after = 10


class DatabaseBusy(Unavailable):
    """The database is locked by another process, or cannot be written for now."""

    code = "database_busy"
    remedy = "Try again; if it stays, see whether another program holds the database or the disk is full."
    retry_after = 2


class Failed(NexusError):
    """Something beneath us did not do its part."""

    code = "internal_error"


class ProviderFailed(Failed):
    """The provider answered that it could not do what was asked."""

    code = "provider_failed"
    remedy = "Read the provider's reason, mend it, and start the workspace again; or delete it."


class InstanceMissing(Failed):
    """The workspace's container is gone."""

    code = "instance_missing"
    remedy = "Somebody removed it outside Nexus: delete the workspace and create it anew."


class InstanceStopped(Failed):
    """The container is there and does not run."""

    code: ClassVar[str] = "instance_stopped"
    remedy: ClassVar[str] = "Start the workspace."


class ImageUnavailable(Failed):
    """The image could not be downloaded or prepared."""

    code = "image_unavailable"
    remedy = "Check the name and the server's way to the image server, then start the workspace again."


class SshNotReady(Failed):
    """The SSH server behind the published port does not answer as it should yet."""

    code = "ssh_not_ready"
    remedy = "Start the workspace again; if it stays, look at the container's console log."


class HostKeyMismatch(Failed):
    """The published port is answered with another host key than the workspace's."""

    code = "host_key_mismatch"
    remedy = "Another program may be listening on that port on the host; start the workspace again."


class HostPortTaken(Failed):
    """Another program on the host, or another server, holds the port."""

    code = "host_port_taken"
    remedy = "Nexus takes another port by itself; if you asked for this one, ask for another."


class PublishFailed(Failed):
    """The kernel refused a forwarding rule."""

    code = "publish_failed"
    remedy = "Run `nft list tables` as root on the host; Nexus needs nftables and CAP_NET_ADMIN."


class CloneFailed(Failed):
    """The repository could not be cloned."""

    code = "clone_failed"
    remedy = "Check the address, the branch and what opens it, then start the workspace again."


class BundleMissing(Failed):
    """The workspace waits for a git bundle that nobody has sent."""

    code = "bundle_missing"
    remedy = "Send it (`PUT /workspaces/{id}/repository-bundle`), then start the workspace again."


class InvalidConfig(Failed):
    """A file in the repository that says how it is run cannot be understood."""

    code = "invalid_config"
    remedy = "Correct the file in the workspace (ssh works), then start the workspace again."


class SetupFailed(Failed):
    """A set-up script ended in failure."""

    code = "setup_failed"
    remedy = "Read `nexus logs WORKSPACE`, mend the cause, and start the workspace: it goes on with that script."


class ServiceFailed(Failed):
    """A service did not come up, or a script after the start failed."""

    code = "service_failed"
    remedy = "Read `nexus logs WORKSPACE SERVICE`, mend the cause, and start the workspace again."


class DeadlineExceeded(Failed):
    """A step did not end in the time it has."""

    code = "deadline_exceeded"
    remedy = "Start the workspace again; if it stays, raise the step's deadline in the settings."


class StoreFailed(Failed):
    """The database cannot be opened, read or written."""

    code = "database_failed"
    remedy = "Check the file, its permissions and the free space; restore a backup if it is damaged."


class SchemaTooNew(Failed):
    """The database was written by a newer Nexus."""

    code = "schema_too_new"
    remedy = "Install that version or a newer one; the file was left untouched."


class InternalError(Failed):
    """A fault in Nexus itself."""

    code = "internal_error"
    remedy = "Try again; if it stays, report the request id to the administrator."
