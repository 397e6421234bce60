"""The file devcontainer.json: what is done of it, what gets a note, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_config import RepositoryFiles
from nexus_core.domain.recipe import ProjectConfig
from nexus_core.domain.service import ServiceSpec
from nexus_core.errors import InvalidConfig

FILE = ".devcontainer/devcontainer.json"


def understood(text: str) -> ProjectConfig:
    config = RepositoryFiles().understand({FILE: text})
    assert config is not None
    return config


def refused(text: str) -> InvalidConfig:
    with pytest.raises(InvalidConfig) as refusal:
        RepositoryFiles().understand({FILE: text})
    return refusal.value


def test_a_file_as_editors_write_it() -> None:
    text = """\
\ufeff// For the team
{
\t"name": "My project", "$schema": "https://example.com/schema.json",
\t/* one
\t   two */
\t"onCreateCommand": "git config --global x '// no comment'",
\t"updateContentCommand": ["npm", "ci", "--cache", "a b"],
\t"postCreateCommand": {"build": "cd ${containerWorkspaceFolder} && make", "seed": ["./seed", "${localEnv:WHO}"]},
\t"postStartCommand": "npm run dev & # \\"quoted\\" \\u00e9 \\ud83d\\ude00",
\t"containerEnv": {"A": "1", "B": "${localWorkspaceFolderBasename}/${HOME}", "C": "${localEnv:C:none}", "D": 4},
\t"remoteEnv": {"A": "2", "PATH": "${containerEnv:PATH}:/opt/bin", "GONE": null},
\t"forwardPorts": [3000, "localhost:3001", "127.0.0.1:3002", "db:5432", 3000, "3003",],
\t"portsAttributes": {"3000": {"label": "Web", "onAutoForward": "notify"}},
\t"hostRequirements": {"cpus": 4, "memory": "8gb", "storage": "32gb", "gpu": "optional"},
\t"remoteUser": "vscode", "containerUser": "dev",
\t"image": null, "customizations": {}, // the last
}
"""
    assert understood(text) == ProjectConfig(
        FILE,
        services=tuple(ServiceSpec(f"port-{port}", None, port, expose=True) for port in (3000, 3001, 3002, 3003)),
        setup=(
            "git config --global x '// no comment'",
            "npm ci --cache 'a b'",
            "cd /home/dev/workspace && make",
            "./seed '${localEnv:WHO}'",
        ),
        post_start=('npm run dev & # "quoted" é 😀',),
        env={"A": "2", "B": "workspace/${HOME}", "D": "4"},
        cpu=4,
        memory="8GB",
        disk="32GB",
        notes=tuple(
            f"{FILE}: {note}."
            for note in (
                "postCreateCommand holds commands that were meant to run side by side; they run one after the other",
                "postCreateCommand.seed has ${localEnv:WHO}, which cannot be known here; it is left as it is",
                "containerEnv.C is not used: ${localEnv:C:none} cannot be known here",
                "remoteEnv.PATH is not used: ${containerEnv:PATH} cannot be known here",
                "remoteEnv.GONE is not used: nothing is set that could be taken away",
                "forwardPorts[3] is not used: db:5432 is another machine's",
                "hostRequirements.gpu is not used: a workspace has cpu, memory and disk only",
                "remoteUser is not used: everything runs as dev",
                "customizations is not used: it is an editor's own",
            )
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{ // nothing\n}",
        '{"name": "x", "remoteUser": "dev", "postCreateCommand": null, "forwardPorts": []}',
        '{"otherPortsAttributes": {"onAutoForward": "ignore"}, "portsAttributes": {}}',
        '{"onCreateCommand": {}, "containerEnv": {}, "hostRequirements": {}}',
    ],
)
def test_nothing_to_say(text: str) -> None:
    assert understood(text) == ProjectConfig(FILE)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("image", "an image is chosen when a workspace is created"),
        ("build", "nothing is built; install what is needed in onCreateCommand"),
        ("dockerFile", "nothing is built"),
        ("dockerComposeFile", "a workspace is one machine; name its services in .nexus/config.yaml"),
        ("features", "nothing is built"),
        ("mounts", "nothing of another machine is mounted into a workspace"),
        ("runArgs", "a workspace is given its limits and rights by the server"),
        ("customizations", "it is an editor's own"),
        ("postAttachCommand", "a workspace does not know when somebody's editor attaches; postStartCommand is run"),
        ("initializeCommand", "it would run outside the workspace"),
        ("workspaceFolder", "the repository is always in /home/dev/workspace"),
        ("waitFor", "a workspace is ready when all its commands have ended"),
        ("somethingNew", "it is not known here"),
    ],
)
def test_what_is_not_used_gets_a_note(key: str, reason: str) -> None:
    (note,) = understood(f'{{"{key}": {{"a": [1]}}}}').notes

    assert note.startswith(f"{FILE}: {key} is not used: {reason}")


def test_ports_that_are_more_than_named_get_a_note() -> None:
    (note,) = understood('{"portsAttributes": {"3000": {"label": "Web", "protocol": "https"}}}').notes

    assert note == f"{FILE}: portsAttributes is not used beyond names: ports are forwarded as they are."


def test_of_very_many_notes_the_first_are_told() -> None:
    notes = understood("{" + "".join(f'"key{number}": 1,' for number in range(60)) + "}").notes

    assert len(notes) == 51
    assert notes[-1] == f"{FILE}: 10 more things are not used."


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("", 1, "", "a value was expected, and there is the end of the file"),
        ("\n\n", 3, "", "a value was expected"),
        ("[]", 1, "", "must be a mapping, is a list"),
        ("{", 1, "", "a key in double quotes was expected"),
        ('{\n"a": 1\n"b": 2}', 3, "", """',' or '}' was expected, and there is '"b"'"""),
        ('{"a" 1}', 1, "", "':' was expected, and there is '1'"),
        ('{"a": }', 1, "", "a value was expected, and there is '}'"),
        ('{"a": [1 2]}', 1, "", "',' or ']' was expected"),
        ("{'a': 1}", 1, "", "text has to be in double quotes"),
        ("{a: 1}", 1, "", "a key in double quotes was expected, and there is 'a'"),
        ('{"a": yes}', 1, "", "a value was expected, and there is 'yes'"),
        ('{"a": 012}', 1, "", "is not JSON: '012}' is not expected here"),
        ('{"a": .5}', 1, "", "is not JSON: '.5}' is not expected here"),
        ('{"a": 1}}', 1, "", "the end of the file was expected"),
        ('{"a": "x\ny"}', 1, "", "a text in quotes does not end on its line"),
        ('{"a": "\\x"}', 1, "", "a text has a \\ followed by what cannot follow it"),
        ('{\n/* x', 2, "", "a comment does not end"),
        ('{,}', 1, "", "a key in double quotes was expected"),
        ('{"a": [,]}', 1, "", "a value was expected"),
        ('{"a": "\\u0000"}', 1, "", "has a text with NUL or half of a character"),
        ('{"a": "\\ud800"}', 1, "", "has a text with NUL or half of a character"),
        ("[" * 100_000, 1, "", "is nested more than 64 levels deep"),
        ('{"a": 1, // x\n"a": 2}', 2, "a", "is there twice; the first is on line 1"),
        ('{\n"postCreateCommand": 5}', 2, "postCreateCommand", "must be shell text, is the whole number 5"),
        ('{"postCreateCommand": ""}', 1, "postCreateCommand", "must not be empty"),
        ('{"postCreateCommand": []}', 1, "postCreateCommand", "must not be empty"),
        ('{"postCreateCommand": ["a", 1]}', 1, "postCreateCommand[1]", "must be text, is the whole number 1"),
        ('{"postStartCommand": {"a": {}}}', 1, "postStartCommand.a", "must be a command: text, or a list of words"),
        ('{"forwardPorts": 3000}', 1, "forwardPorts", "must be a list of ports, is the whole number 3000"),
        ('{"forwardPorts": [\n0]}', 2, "forwardPorts[0]", "must be a whole number between 1 and 65535"),
        ('{"forwardPorts": ["localhost:99999"]}', 1, "forwardPorts[0]", "must be a whole number between 1 and 65535"),
        ('{"forwardPorts": ["web"]}', 1, "forwardPorts[0]", "is 'web'"),
        (f'{{"forwardPorts": {list(range(1, 102))}}}', 1, "forwardPorts", "must have at most 100 ports, has 101"),
        ('{"containerEnv": []}', 1, "containerEnv", "must be a mapping of names to values, is a list"),
        ('{"containerEnv": {"A B": "c"}}', 1, "containerEnv.A B", "must be letters, digits and _"),
        ('{"remoteEnv": {"A": ["c"]}}', 1, "remoteEnv.A", "must be text, is a list"),
        ('{"remoteUser": 1}', 1, "remoteUser", "must be text, is the whole number 1"),
        ('{"hostRequirements": {"cpus": 1.5}}', 1, "hostRequirements.cpus", "must be a whole number between 1 and 512"),
        ('{"hostRequirements": {"memory": 8}}', 1, "hostRequirements.memory", "must be an amount such as 8gb"),
        ('{"hostRequirements": {"storage": "1kb"}}', 1, "hostRequirements.storage", "must be between 64MiB"),
    ],
)  # fmt: skip  # a table is read by its columns
def test_what_has_to_be_corrected(text: str, line: int, key: str, message: str) -> None:
    error = refused(text)

    (told,) = error.details["problems"]
    assert (told["line"], told["key"]) == (line, key)
    assert message in told["message"]
    where: tuple[Any, ...] = (f"{FILE}, line {line}", key) if key else (f"{FILE}, line {line}",)
    assert error.why.startswith(f"{', '.join(where)}: ")
