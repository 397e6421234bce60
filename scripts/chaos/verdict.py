"""Whether nothing is lost, doubled or orphaned, and everything is what it is said to be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos import outside
from chaos.ledger import Asked
from chaos.outside import WORKSPACE_MARK, Facts, Row
from chaos.world import World

_SETTLING = 180.0  # longer than any one step may take
_TRUTH = 60.0  # how long the server has to come back to the truth by itself
_AT_ONCE = 6


def settle(world: World) -> list[str]:
    """Wait until all work has ended; what has not, in bounded time."""
    deadline = time.monotonic() + _SETTLING
    while not outside.settled(world):
        if time.monotonic() > deadline:
            facts = outside.look(world)
            moving = [f"{one['name']} is {one['status']}" for one in facts.workspaces]
            stuck = [text for text in moving if text.split()[-1] in outside.TRANSIENT]
            kinds = [f"{one['kind']} of {one['workspace_id']} is {one['status']}" for one in facts.unfinished]
            return [f"not settled after {_SETTLING:.0f} s: {text}" for text in (*stuck, *kinds)]
        time.sleep(0.3)
    return []


def judge(world: World) -> list[str]:
    """Everything that is wrong now and still is after the time the server has to mend it; nothing should be."""
    deadline = time.monotonic() + _TRUTH
    while True:
        wrong = look_once(world)
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(1.0)


def look_once(world: World) -> list[str]:
    """Everything that is wrong at this moment, the listed facts first, then what only trying shows."""
    facts = outside.look(world)
    checks: tuple[Callable[[World, Facts], Iterator[str]], ...] = (
        _work_has_ended,
        _nothing_is_lost_or_doubled,
        _containers_belong,
        _leases_belong,
        _maps_lead_where_they_should,
        _statuses_have_reasons,
        _keys_are_known,
    )
    wrong = [text for check in checks for text in check(world, facts)]
    return wrong or _try_everything(world, facts)


def _work_has_ended(_: World, facts: Facts) -> Iterator[str]:
    yield from (f"integrity_check: {text}" for text in facts.integrity)
    for one in facts.unfinished:
        yield f"the {one['kind']} of {one['workspace_id']} is {one['status']}"
    for one in facts.workspaces:
        if one["status"] in outside.TRANSIENT:
            yield f"{one['name']} is {one['status']}"


def _nothing_is_lost_or_doubled(world: World, facts: Facts) -> Iterator[str]:
    by_name = Counter(one["name"] for one in facts.workspaces)
    yield from (f"{name} is there {count} times" for name, count in by_name.items() if count > 1)
    rows = {one["id"]: one for one in facts.workspaces}
    asked_names = {one.name for one in world.ledger.asked}
    yield from (f"nobody asked for {name}" for name in by_name if name not in asked_names)
    for asked in world.ledger.asked:
        if not asked.id:
            continue
        row = rows.get(asked.id)
        if row is None:
            yield f"{asked.name} ({asked.id}) was acknowledged and is lost"
        elif asked.is_deleted and row["status"] != "deleted":
            yield f"{asked.name} was deleted and is {row['status']}"
        elif row["status"] == "deleted" and not asked.was_asked("delete"):
            yield f"{asked.name} is deleted and nobody asked for it"


def _containers_belong(_: World, facts: Facts) -> Iterator[str]:
    rows = {one["id"]: one for one in facts.workspaces if one["status"] != "deleted"}
    marks = Counter(one["config"][WORKSPACE_MARK] for one in facts.containers)
    yield from (f"{mark} has {count} containers" for mark, count in marks.items() if count > 1)
    for one in facts.containers:
        if one["config"][WORKSPACE_MARK] not in rows:
            yield f"the container {one['name']} belongs to no workspace"
    states = {one["config"][WORKSPACE_MARK]: one["status"] for one in facts.containers}
    for workspace_id, row in rows.items():
        state, name = states.get(workspace_id, "absent"), f"{row['name']} ({row['status']})"
        if row["status"] == "running" and state != "Running":
            yield f"the container of {name} is {state}"
        if row["status"] == "stopped" and state == "Running":
            yield f"the container of {name} runs"
        if row["status"] == "stopped" and state == "absent" and "create_instance" in row["provisioned"]:
            yield f"the container of {name} is absent"


def _leases_belong(_: World, facts: Facts) -> Iterator[str]:
    leased = {(one["port"], one["kind"], one["workspace_id"]) for one in facts.leases}
    alive = [one for one in facts.workspaces if one["status"] != "deleted"]
    needed = {(one["ssh_port"], "ssh", one["id"]) for one in alive}
    needed |= {
        (service["forwarded_port"], "service", one["id"])
        for one in alive
        for service in facts.of(one["id"])
        if service["forwarded_port"] is not None
    }
    yield from (f"a lease stands behind nothing: {one}" for one in leased - needed)
    yield from (f"no lease stands behind {one}" for one in needed - leased)
    doubled = Counter(port for port, _, _ in needed)
    yield from (f"port {port} has {count} holders" for port, count in doubled.items() if count > 1)


def _maps_lead_where_they_should(_: World, facts: Facts) -> Iterator[str]:
    """What runs is published, what has failed may be, and nothing else is."""
    must, may = set[int](), set[int]()
    for one in facts.workspaces:
        ports = {one["ssh_port"], *(service["forwarded_port"] for service in facts.of(one["id"]))} - {None}
        if one["status"] == "running":
            must |= ports
        elif one["status"] == "error":
            may |= ports
    yield from (f"port {port} is not published" for port in sorted(must - facts.published.keys()))
    yield from (f"port {port} is published for nothing" for port in sorted(facts.published.keys() - must - may))


def _statuses_have_reasons(world: World, facts: Facts) -> Iterator[str]:
    for row in facts.workspaces:
        asked = world.ledger.find(row["id"])
        if asked is None or row["status"] not in ("error", "stopped", "running"):
            continue
        if row["status"] == "error":
            if not (row["error_code"] and row["error_message"]):
                yield f"{row['name']} is in error and does not say why"
            if not _has_cause(world, asked):
                where, why = row["error_step"] or "no step", f"{row['error_code']}: {row['error_message']}"
                yield f"{row['name']} is in error at {where} without an injected cause: {why}"
        stop = asked.last("stop", 200)
        overtaken = stop is None or asked.was_asked("start", since=stop.sent)
        if row["status"] == "running" and not overtaken:
            yield f"{row['name']} was stopped and runs"
        if row["status"] == "stopped" and not (asked.was_asked("stop") or asked.harms or world.ledger.cuts):
            yield f"{row['name']} is stopped and nobody asked for it"


def _has_cause(world: World, asked: Asked) -> bool:
    """Whether its container was harmed since it was last well, or is gone for good by another's hand."""
    if asked.is_removed:
        return True
    well = [at for at, status in outside.event_times(world, asked.id) if status in ("running", "stopped")]
    return asked.was_harmed((well[-1] if well else 0.0) - 1)


def _keys_are_known(world: World, facts: Facts) -> Iterator[str]:
    for person in world.ledger.people.values():
        known = [_public(key) for key in (person.keys[-1], *person.in_doubt)]
        if facts.users.get(person.name) not in known:
            yield f"the key of {person.name} is none that it should be"


def _try_everything(world: World, facts: Facts) -> list[str]:
    """Knock at every door: a running workspace opens to the present key alone, a stopped one to nobody."""

    def try_one(row: Row) -> list[str]:
        return list(_try_one(world, facts, row))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [text for texts in pool.map(try_one, facts.workspaces) for text in texts]


def _try_one(world: World, facts: Facts, row: Row) -> Iterator[str]:
    person = world.ledger.people[row["github_username"]]
    keys = {_public(key): key for key in (*person.keys, *person.in_doubt)}
    if row["status"] == "stopped" and not outside.refuses(row["ssh_port"]):
        yield f"{row['name']} is stopped, and port {row['ssh_port']} can be connected to"
    if row["status"] != "running":
        return
    present = keys.pop(facts.users[person.name])
    code, said = outside.says(world, row, present, "cat /proc/sys/kernel/hostname")
    if (code, said) != (0, row["name"]):
        yield f"ssh into {row['name']} with the present key: {code}, {said}"
    if keys:
        code, said = outside.says(world, row, [*keys.values()][-1], "true")
        if code != 255 or "Permission denied" not in said:
            yield f"ssh into {row['name']} with an old key: {code}, {said}"
    for service in facts.of(row["id"]):
        if service["status"] != "running":
            yield f"service {service['name']} of {row['name']} is {service['status']}: {service['error']}"
        elif service["forwarded_port"] and (said := outside.page(service["forwarded_port"])) != row["name"]:
            yield f"service {service['name']} of {row['name']} answers through its forward: {said[:200]}"


def _public(key: Path) -> str:
    """A key as the database has it."""
    return " ".join(key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])
