"""``nexus init``: what it recognises, and that what it writes is what the reader of the file takes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus_cli.projects import go, node, pages, python, rails
from nexus_cli.projects.config_text import config_text, scalar
from nexus_cli.projects.folder import read
from nexus_cli.projects.found import Found, Proposal
from nexus_cli.projects.recognition import Recognised, recognise
from nexus_config import RepositoryFiles
from stub_api import Shell, shell

APT = "sudo apt-get update && sudo apt-get install -y "


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


def package(*dependencies: str, **more: Any) -> str:
    """A package.json with a script named dev."""
    named = {name: version for name, _, version in (one.rpartition("@") for one in dependencies)}
    return json.dumps({"scripts": {"dev": "run it"}, "dependencies": named, **more})


def some(found: Found | None) -> Found:
    assert found is not None
    return found


def only(found: Found | None) -> Proposal:
    (service,) = some(found).services
    return service


class TestNode:
    @pytest.mark.parametrize(
        ("dependency", "title", "port"),
        [
            ("next@15.1.0", "Next.js", 3000),
            ("nuxt@^3.0.0", "Nuxt", 3000),
            ("astro@^5", "Astro", 4321),
            ("react-scripts@5.0.1", "Create React App", 3000),
            ("@angular/cli@^18.0.0", "Angular", 4200),
            ("@vue/cli-service@~5.0", "Vue CLI", 8080),
            ("vite@^5.0.0", "Vite", 5173),
            ("express@^4", "Express", 3000),
        ],
    )
    def test_frameworks(self, dependency: str, title: str, port: int) -> None:
        found = some(node.recognise({"package.json": package(dependency), "package-lock.json": ""}))
        assert found.what == f"{title} (npm, package.json)"
        assert found.setup == ("npm ci",)
        assert (found.packages, found.tools, found.remarks) == (("nodejs", "npm"), (), ())
        assert (found.services[0].command, found.services[0].port) == ("npm run dev", port)

    def test_create_react_app_goes_on_without_input(self) -> None:
        service = only(node.recognise({"package.json": package("react-scripts@5.0.1")}))
        assert service.env == {"BROWSER": "none", "CI": "true", "PORT": "3000"}

    @pytest.mark.parametrize(
        ("lock", "install", "command"),
        [
            ("package-lock.json", "npm ci", "npm run dev"),
            ("npm-shrinkwrap.json", "npm ci", "npm run dev"),
            ("yarn.lock", "yarn install", "yarn run dev"),
            ("pnpm-lock.yaml", "pnpm install --frozen-lockfile", "pnpm run dev"),
            ("bun.lockb", "bun install --frozen-lockfile", "bun run dev"),
        ],
    )
    def test_package_managers(self, lock: str, install: str, command: str) -> None:
        found = some(node.recognise({"package.json": package("vite@5"), lock: ""}))
        assert found.setup == (install,)
        assert found.services[0].command == command
        program = command.split(maxsplit=1)[0]
        assert found.tools == (() if program == "npm" else (f"sudo npm install --global {program}",))

    def test_without_a_lock_file(self) -> None:
        found = some(node.recognise({"package.json": package(packageManager="pnpm@9.1.0")}))
        assert found.setup == ("pnpm install",)
        assert "no lock file" in found.remarks[0]
        assert some(node.recognise({"package.json": package(packageManager="made-up@1")})).setup == ("npm install",)

    @pytest.mark.parametrize(
        ("script", "port"),
        [
            ("vite --port 4000", 4000),
            ("vite --port=4001", 4001),
            ("vite -p 4002", 4002),
            ("PORT=4003 vite", 4003),
            ("vite --ports 12", 5173),
        ],
    )
    def test_a_port_in_the_script(self, script: str, port: int) -> None:
        text = json.dumps({"scripts": {"start": script}, "devDependencies": {"vite": "5"}})
        service = only(node.recognise({"package.json": text}))
        assert (service.command, service.port) == ("npm start", port)

    def test_a_port_in_the_script_needs_no_variable(self) -> None:
        text = json.dumps({"scripts": {"dev": "next dev -p 4000"}, "dependencies": {"next": "15"}})
        assert only(node.recognise({"package.json": text})).env == {}
        text = json.dumps({"scripts": {"dev": "node x --port 4000"}})
        assert only(node.recognise({"package.json": text})) == Proposal("web", "npm run dev", 4000)

    def test_a_program_of_which_nothing_is_known(self) -> None:
        assert only(node.recognise({"package.json": package()})) == Proposal("web", "npm run dev")

    def test_no_script(self) -> None:
        found = some(node.recognise({"package.json": '{"scripts": {"test": "x", "dev": ""}}', "yarn.lock": ""}))
        assert found.services == ()
        assert "no script" in found.remarks[0]

    @pytest.mark.parametrize(
        ("files", "version"),
        [
            ({".nvmrc": "v22.4.0\n", "package.json": package("vite@7")}, 22),
            ({".node-version": "20", "package.json": package()}, 20),
            ({".nvmrc": "18", "package.json": package("vite@7")}, None),
            ({".nvmrc": "lts/*", "package.json": package("vite@7")}, 22),
            ({"package.json": package(engines={"node": ">=20.9"})}, 22),
            ({"package.json": package(engines={"node": ">= 24"})}, 24),
            ({"package.json": package(engines={"node": "20.x"})}, 20),
            ({"package.json": package(engines={"node": "^18 || >=20"})}, None),
            ({"package.json": package("next@^16.0.0")}, 22),
            ({"package.json": package("next@latest")}, None),
        ],
    )
    def test_a_newer_node(self, files: dict[str, str], version: int | None) -> None:
        tools = some(node.recognise(files)).tools
        assert tools == (() if version is None else (f"sudo npm install --global n && sudo n {version}",))

    @pytest.mark.parametrize("text", ["", "[]", "{", '"x"', None])
    def test_none(self, text: str | None) -> None:
        assert node.recognise({} if text is None else {"package.json": text}) is None

    def test_odd_values(self) -> None:
        text = json.dumps({"scripts": [], "dependencies": None, "engines": "x", "packageManager": 3})
        assert some(node.recognise({"package.json": text})).services == ()


class TestPython:
    def test_django(self) -> None:
        found = some(python.recognise({"manage.py": "", "requirements.txt": "Django>=5\n"}))
        assert found.what == "Django (pip, requirements.txt)"
        assert found.packages == ("python3-venv",)
        assert found.setup == (
            "python3 -m venv .venv",
            ".venv/bin/pip install -r requirements.txt",
            ".venv/bin/python manage.py migrate",
        )
        assert found.services[0].command == ".venv/bin/python manage.py runserver 127.0.0.1:8000"
        assert found.services[0].port == 8000

    @pytest.mark.parametrize(
        ("path", "text", "where"),
        [
            ("main.py", "app = FastAPI()\n", "main:app"),
            ("app/main.py", "import fastapi\n\napi: FastAPI = fastapi.FastAPI(\n", "app.main:api"),
            ("service/__init__.py", "it = FastAPI(title='x')", "service:it"),
        ],
    )
    def test_fastapi(self, path: str, text: str, where: str) -> None:
        project = '[project]\nname = "x"\ndependencies = ["FastAPI[standard]>=0.1"]\n'
        others = {"a.py": "import this", "a.txt": text}
        found = some(python.recognise({"pyproject.toml": project, path: text, **others}))
        assert found.what == "FastAPI (pip, pyproject.toml)"
        assert found.setup == ("python3 -m venv .venv", ".venv/bin/pip install -e .")
        service = only(found)
        assert service.command == f".venv/bin/uvicorn {where} --host 127.0.0.1 --port 8000 --reload"
        assert (service.remark, found.remarks) == ("", ())

    def test_what_is_guessed_is_told(self) -> None:
        found = some(python.recognise({"requirements.txt": "fastapi\n-e .\n# uvicorn\n"}))
        assert "main:app" in found.services[0].command
        assert "guess" in found.services[0].remark
        assert "uvicorn is not among" in found.remarks[0]

    @pytest.mark.parametrize(
        ("text", "where"),
        [("app = Flask(__name__)", "wsgi:app"), ("import flask\n\ndef create_app(x):\n    pass", "wsgi:create_app")],
    )
    def test_flask(self, text: str, where: str) -> None:
        service = only(python.recognise({"requirements.txt": "flask == 3\n", "wsgi.py": text}))
        assert service.command == f".venv/bin/flask --app {where} run --host 127.0.0.1 --port 5000 --debug"
        assert service.port == 5000

    def test_uv(self) -> None:
        project = '[project]\nname = "x"\n[dependency-groups]\ndev = ["flask", {include-group = "x"}]\n'
        found = some(python.recognise({"pyproject.toml": project, "uv.lock": "", "app.py": "app = Flask(1)"}))
        assert (found.packages, found.tools, found.setup) == (
            ("pipx",),
            ("pipx install uv",),
            ("~/.local/bin/uv sync",),
        )
        assert found.services[0].command.startswith("~/.local/bin/uv run flask --app app:app ")

    def test_poetry(self) -> None:
        project = '[tool.poetry.dependencies]\npython = "^3.11"\nfastapi = "*"\nuvicorn = "*"\n'
        found = some(python.recognise({"pyproject.toml": project, "main.py": "app = FastAPI()"}))
        assert found.setup == ("~/.local/bin/poetry install",)
        assert found.services[0].command.startswith("~/.local/bin/poetry run uvicorn main:app")

    @pytest.mark.parametrize("project", ["[tool.ruff]\n", "not toml", "project = 3\n"])
    def test_only_python(self, project: str) -> None:
        found = some(python.recognise({"pyproject.toml": project}))
        assert (found.what, found.services) == ("Python (pip, pyproject.toml)", ())

    def test_none(self) -> None:
        assert python.recognise({"setup.cfg": "", "main.py": ""}) is None


class TestGo:
    @pytest.mark.parametrize(
        ("asked", "release"),
        [("1.21", "1.21.0"), ("1.22.3", "1.22.3"), ("1.20", "1.20"), ("1.24 // new", "1.24.0")],
    )
    def test_a_newer_go(self, asked: str, release: str) -> None:
        found = some(go.recognise({"go.mod": f"module x\n\ngo {asked}\n", "main.go": "package main\n"}))
        assert f"/go{release}.linux-$(dpkg --print-architecture).tar.gz | sudo tar" in found.tools[0]
        assert found.packages == ()
        assert found.setup == ("/usr/local/go/bin/go mod download",)
        assert found.services == (
            Proposal("web", "/usr/local/go/bin/go run .", remark="Where it listens is not known."),
        )

    @pytest.mark.parametrize("text", ["module x\ngo 1.19\n", "module x\n"])
    def test_debians(self, text: str) -> None:
        found = some(go.recognise({"go.mod": text}))
        assert (found.packages, found.setup, found.services) == (("golang",), ("go mod download",), ())
        assert "cmd/" in found.remarks[0]

    @pytest.mark.parametrize(
        "line", ['http.ListenAndServe(":8081", nil)', 'r.Run("0.0.0.0:8081")', 'http.Server{Addr: "localhost:8081"}']
    )
    def test_ports(self, line: str) -> None:
        text = f"package main\n\nfunc main() {{ {line} }}\n"
        files = {
            "go.mod": "",
            "cmd/api/main.go": text,
            "cmd/lib/main.go": "package lib",
            "cmd/job/main.go": "package main",
        }
        api, job = some(go.recognise(files)).services
        assert (api.name, api.command, api.port, api.remark) == ("api", "go run ./cmd/api", 8081, "")
        assert (job.name, job.port) == ("job", None)

    def test_none(self) -> None:
        assert go.recognise({"main.go": "package main"}) is None


class TestRails:
    def test_rails(self) -> None:
        gems = "source 'x'\ngem \"rails\", '~> 8.0'\n  gem 'pg'\n# gem 'mysql2'\n"
        found = some(rails.recognise({"Gemfile": gems, ".ruby-version": "ruby-3.3.0\n"}))
        assert "libpq-dev" in found.packages
        assert "default-libmysqlclient-dev" not in found.packages
        assert found.services[0].command == "bin/rails server --binding 127.0.0.1 --port 3000"
        assert ["gem pg" in found.remarks[0], "Ruby 3.3" in found.remarks[1]] == [True, True]

    def test_debians_ruby(self) -> None:
        assert some(rails.recognise({"Gemfile": "gem 'rails'", ".ruby-version": "3.1.2"})).remarks == ()

    @pytest.mark.parametrize("files", [{}, {"Gemfile": "gem 'sinatra'\n"}, {"Gemfile": "# gem 'rails'"}])
    def test_none(self, files: dict[str, str]) -> None:
        assert rails.recognise(files) is None


class TestRecognition:
    def test_plain_pages(self) -> None:
        known = recognise({"": {"index.html": ""}})
        assert (known.kinds, known.setup) == (("plain pages (index.html)",), ())
        assert known.services[0].command == "python3 -m http.server 8000 --bind 127.0.0.1"
        assert pages.recognise({}) is None

    def test_pages_beside_a_program_are_its_own(self) -> None:
        known = recognise({"": {"index.html": "", "package.json": package("vite@5")}, "public": {"index.html": ""}})
        assert [one.command for one in known.services] == ["npm run dev"]

    def test_folders_next_to_each_other(self) -> None:
        express = {"package.json": package("express@4"), "package-lock.json": ""}
        front = {"package.json": package("next@15"), "yarn.lock": ""}
        known = recognise({"": {}, "back end": express, "frontend": front, "docs": {"index.html": ""}})
        assert known.kinds == ("Express (npm, package.json) in back end/", "Next.js (yarn, package.json) in frontend/")
        assert known.setup == (
            f"{APT}nodejs npm",
            "sudo npm install --global yarn",
            "cd 'back end' && npm ci",
            "cd frontend && yarn install",
        )
        one, two = known.services
        assert (one.name, one.command, one.port) == ("back-end", "cd 'back end' && npm run dev", 3000)
        assert (two.name, two.command, two.port) == ("frontend", "cd frontend && yarn run dev", 3001)
        assert two.env == {"PORT": "3001"}

    def test_a_folder_beside_the_top(self) -> None:
        files = {"": {"manage.py": ""}, "frontend": {"package.json": package("vite@5")}, "tools": {"go.mod": ""}}
        known = recognise(files)
        assert [one.name for one in known.services] == ["web", "frontend"]
        assert known.remarks == ("frontend/: There is no lock file: the newest packages that fit are installed.",)

    def test_a_workspace_of_packages_is_one(self) -> None:
        parts = {"web": {"package.json": package("vite@5")}}
        assert len(recognise({"": {"package.json": package(workspaces=["web"])}, **parts}).services) == 1
        top = {"package.json": package(), "pnpm-workspace.yaml": ""}
        assert len(recognise({"": top, **parts}).services) == 1

    def test_ports_of_their_own(self) -> None:
        django = {"manage.py": ""}
        known = recognise({"": {}, "a": django, "b": django, "_": django})
        assert [(one.name, one.port) for one in known.services] == [("web", 8000), ("a", 8001), ("b", 8002)]
        assert known.services[2].command.endswith("127.0.0.1:8002")

    def test_a_port_that_cannot_be_another(self) -> None:
        text = 'package main\nfunc main() { http.ListenAndServe(":80", nil) }\n'
        files = {"go.mod": "", "cmd/a/main.go": text, "cmd/b/main.go": text}
        one, two = recognise({"": files}).services
        assert (one.port, two.port) == (80, None)
        assert "80" in two.remark

    def test_names_of_their_own(self) -> None:
        both = {"go.mod": "", "main.go": "package main", "package.json": package()}
        assert [one.name for one in recognise({"": both}).services] == ["web", "web-2"]
        job = {"go.mod": "", "cmd/job/main.go": "package main"}
        assert [one.name for one in recognise({"": {}, "api": job}).services] == ["api-job"]

    def test_a_folder_is_no_option_of_cd(self) -> None:
        (service,) = recognise({"": {}, "-x": {"manage.py": ""}}).services
        assert (service.name, service.command.split(" && ")[0]) == ("x", "cd ./-x")

    def test_nothing(self) -> None:
        assert recognise({}) == Recognised((), (), (), ())


EXAMPLES = {
    "nothing": {},
    "node": {"": {"package.json": package("react-scripts@5")}},
    "python": {"": {"requirements.txt": "fastapi"}},
    "go": {"": {"go.mod": "go 1.22\n", "main.go": "package main"}},
    "rails": {"": {"Gemfile": "gem 'rails'\ngem 'pg'"}},
    "pages": {"": {"index.html": ""}},
    "several": {"a b#: 'c": {"package.json": package("vite@7")}, "ü": {"manage.py": ""}, "-x": {"go.mod": ""}},
}


class TestText:
    @pytest.mark.parametrize("name", EXAMPLES)
    def test_what_is_written_is_what_is_known(self, name: str) -> None:
        known = recognise(EXAMPLES[name])
        text = config_text("My Project!", known)
        content = yaml.safe_load(text)
        assert (content["version"], content["name"]) == (1, "my-project")
        assert content.get("setup", []) == list(known.setup)
        services = content.get("services", {})
        assert {one: told["command"] for one, told in services.items()} == {
            one.name: one.command for one in known.services
        }
        for one in known.services:
            assert services[one.name].get("port") == one.port
            assert services[one.name].get("env", {}) == one.env
            assert services[one.name].get("expose", False) is (one.port is not None)
        assert text.endswith("\n")
        understood(text)

    def test_the_examples_hold_too(self) -> None:
        """What stands in comments is right as well, once its signs are taken away."""
        text = config_text("x", Recognised((), (), (), ()))
        lines = [re.sub(r"^# (?=\s|\w+:)", "", line) for line in text.splitlines()]
        bare = "\n".join(line for line in lines if not line.startswith("#"))
        content = yaml.safe_load("\n".join(line for line in bare.splitlines() if not re.match(r"[A-Z][^:]*$", line)))
        assert set(content) == {"version", "name", "setup", "services", "lifecycle", "providers"}
        assert content["services"]["web"]["health_check"] == "http"
        content["services"]["web"].pop("depends_on")  # names a service that the example does not have
        understood(yaml.safe_dump(content))

    def test_remarks_are_in_the_file(self) -> None:
        text = config_text("x", recognise(EXAMPLES["python"]))
        assert "# uvicorn is not among the dependencies" in text
        assert "  # Where the FastAPI application is was not found" in text

    @pytest.mark.parametrize("name", ["", "---", "日本"])
    def test_a_name_in_any_case(self, name: str) -> None:
        assert yaml.safe_load(config_text(name, recognise({})))["name"] == "project"

    @pytest.mark.parametrize(
        ("text", "plain"),
        [
            ("npm run dev", True),
            ("cd a && b | c > d; e=$(f)", True),
            ("~/.local/bin/uv sync", True),
            ("", False),
            (" x", False),
            ("x ", False),
            ("yes", False),
            ("Null", False),
            ("~", False),
            (".5", False),
            (".inf", False),
            ("12", False),
            ("a: b", False),
            ("a #b", False),
            ("- a", False),
            ("'a'", False),
            ("a\nb\x00\u2028ü\U0001f600", False),
        ],
    )
    def test_scalars(self, text: str, plain: bool) -> None:
        written = scalar(text)
        assert (written == text) is plain
        assert yaml.safe_load(f"a: [1]\nkey: {written}\n")["key"] == text


def understood(text: str) -> None:
    """The server's own reader of the file takes it."""
    assert RepositoryFiles().understand({".nexus/config.yaml": text}) is not None


class TestFolder:
    def test_what_matters_is_read(self, tmp_path: Path) -> None:
        for path, text in {
            "package.json": "{}",
            "main.py": "x",
            "README.md": "long",
            "app/main.py": "y",
            "cmd/a/main.go": "z",
            ".git/config": "",
            "node_modules/go.mod": "",
        }.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        (tmp_path / "go.mod").symlink_to("nowhere")
        (tmp_path / "Gemfile").mkdir()
        folders = read(tmp_path)
        assert folders == {
            "": {"README.md": "", "main.py": "x", "package.json": "{}", "app/main.py": "y", "cmd/a/main.go": "z"},
            "Gemfile": {},
            "app": {"main.py": "y"},
            "cmd": {},
        }

    def test_what_may_not_be_read_says_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "locked").mkdir()
        (tmp_path / "go.mod").write_text("go 1.22")
        iterdir, open_ = Path.iterdir, Path.open

        def refuse_folder(self: Path) -> Iterator[Path]:
            if self.name == "locked":
                raise PermissionError(13, "Permission denied")
            return iterdir(self)

        def refuse_file(self: Path, *arguments: Any, **options: Any) -> Any:
            if self.name == "go.mod":
                raise PermissionError(13, "Permission denied")
            return open_(self, *arguments, **options)

        monkeypatch.setattr(Path, "iterdir", refuse_folder)
        monkeypatch.setattr(Path, "open", refuse_file)
        assert read(tmp_path) == {"": {"go.mod": ""}}


class TestCommand:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        folder = tmp_path / "My Shop"
        (folder / "below").mkdir(parents=True)
        (folder / "requirements.txt").write_text("fastapi\n")
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        return folder

    def test_it_writes_and_tells(self, sh: Shell, project: Path) -> None:
        outcome = sh("init", str(project))
        path = project / ".nexus" / "config.yaml"
        assert (outcome.code, outcome.out) == (0, f"{path} is written.\n")
        for part in (
            "recognised: FastAPI (pip, requirements.txt)",
            "service web: .venv/bin/uvicorn main:app",
            ", port 8000",
            "guess",
            "note: uvicorn is not among",
            f"nexus create NAME --repo {project}",
        ):
            assert part in outcome.err
        assert yaml.safe_load(path.read_text())["name"] == "my-shop"
        assert path.stat().st_mode & 0o777 == 0o644
        assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]
        assert sh.api.asked == []

    def test_services_with_nothing_to_remark(self, sh: Shell, tmp_path: Path) -> None:
        (tmp_path / "manage.py").write_text("")
        (tmp_path / "package.json").write_text(package())
        outcome = sh("init", str(tmp_path), "--print")
        assert "service web-2: npm run dev\n" in outcome.err
        assert yaml.safe_load(outcome.out)["services"].keys() == {"web", "web-2"}

    def test_the_repository_around(self, sh: Shell, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(project / "below")
        assert sh("init").code == 0
        assert (project / ".nexus" / "config.yaml").exists()

    def test_no_repository_around(self, sh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        outcome = sh("init")
        assert "Nothing was recognised" in outcome.err
        assert (tmp_path / ".nexus" / "config.yaml").exists()

    def test_nothing_is_written_over(self, sh: Shell, project: Path) -> None:
        path = project / ".nexus" / "config.yaml"
        path.parent.mkdir()
        path.write_text("mine")
        outcome = sh("init", str(project))
        assert (outcome.code, outcome.out, path.read_text()) == (6, "", "mine")
        assert "--force" in outcome.err
        assert sh("init", str(project), "--force").code == 0
        assert path.read_text() != "mine"

    def test_print(self, sh: Shell, project: Path) -> None:
        outcome = sh("init", str(project), "--print")
        assert yaml.safe_load(outcome.out)["services"]["web"]["port"] == 8000
        assert "recognised: FastAPI" in outcome.err
        assert not (project / ".nexus").exists()

    def test_a_folder_that_is_not_there(self, sh: Shell, tmp_path: Path) -> None:
        outcome = sh("init", str(tmp_path / "nowhere"))
        assert outcome.code == 2
        assert "No such file" in outcome.err

    def test_a_file_in_the_way(self, sh: Shell, project: Path) -> None:
        (project / ".nexus").write_text("")
        outcome = sh("init", str(project))
        assert outcome.code == 2
        assert "cannot be written" in outcome.err

    def test_a_write_that_fails_leaves_nothing(self, sh: Shell, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        outcome = sh("init", str(project))
        assert outcome.code == 2
        assert "No space left" in outcome.err
        assert list((project / ".nexus").iterdir()) == []
