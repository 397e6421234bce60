"""Repositories: which addresses, branches and credentials are taken, and that no refusal repeats a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_core.domain.repository import Credentials, Repository, check_repository, check_url, is_branch, is_ssh
from nexus_core.errors import InvalidRequest

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
HTTPS, SSH = "https://git.example.com/a/b.git", "git@github.com:a/b.git"


def refusal_of(repository: Repository, credentials: Credentials | None = None) -> tuple[str, str]:
    """The field that is refused, and everything that is said about it."""
    with pytest.raises(InvalidRequest) as refused:
        check_repository(repository, credentials or Credentials())
    [field] = refused.value.details
    return field, f"{refused.value.message} {refused.value.details}"


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "owner", "name"),
        [
            ("https://github.com/my-org/my-project.git", "my-org", "my-project"),
            ("https://github.com/my-org/my-project/", "my-org", "my-project"),
            ("http://localhost:3000/project", None, "project"),
            ("https://alice@git.example.com/a/b/c.git", "b", "c"),
            ("git@github.com:my-org/my-project.git", "my-org", "my-project"),
            ("github.com:project", None, "project"),
            ("ssh://git@git.example.com:2222/a/b.git", "a", "b"),
            ("git://git.example.com/a/b", "a", "b"),
            ("https://git.example.com", None, None),
        ],
    )
    def test_what_git_can_be_asked_for(self, url: str, owner: str | None, name: str | None) -> None:
        assert check_repository(Repository(url=url), Credentials()) == Repository(url=url, owner=owner, name=name)

    def test_owner_and_name_stand_for_github_over_https(self) -> None:
        checked = check_repository(Repository(owner="my-org", name="my.project"), Credentials())
        assert checked.url == "https://github.com/my-org/my.project.git"

    def test_owner_and_name_given_with_an_address_are_kept(self) -> None:
        asked = Repository(url=HTTPS, owner="o", name="n", branch="main", is_fork=True)
        assert check_repository(asked, Credentials()) == asked

    def test_the_commit_is_ours_to_find_out(self) -> None:
        assert check_repository(Repository(url=HTTPS, commit="1" * 40), Credentials()).commit is None

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "/home/alice/project",
            "./project",
            "file:///etc",
            "ftp://git.example.com/a",
            "ext::sh",
            "me:hunter2@github.com:o/n.git",
            "https://",
            "https:///a/b",
            "https://git.example.com/a b",
            "https://git.example.com/a\n",
            "https://git.example.com/\0",
            "-oProxyCommand=x:a",
            "-x@host:a",
            "host:-a",
            "ssh://-oProxyCommand=x/a",
            "ssh://git@-host/a",
            "https://git.example.com/a?access_token=hunter2",
            "https://git.example.com/a#main",
            "https://git.example.com/" + "a" * 2000,
        ],
    )
    def test_what_is_no_address(self, url: str) -> None:
        assert refusal_of(Repository(url=url))[0] == "$.repo.url"

    @pytest.mark.parametrize("owner", ["", "a/b", "a b", "x" * 101, "é"])
    def test_what_is_no_name_on_github(self, owner: str) -> None:
        assert refusal_of(Repository(owner=owner, name="b"))[0] == "$.repo.owner"
        assert refusal_of(Repository(owner="a", name=owner))[0] == "$.repo.name"

    @pytest.mark.parametrize("repository", [Repository(), Repository(owner="a"), Repository(name="b")])
    def test_one_without_an_address_is_refused(self, repository: Repository) -> None:
        assert refusal_of(repository)[0] == "$.repo.url"

    def test_an_uploaded_one_needs_none(self) -> None:
        assert check_repository(Repository(bundle=True), Credentials()) == Repository(bundle=True)

    @pytest.mark.parametrize(
        "url",
        [
            "https://alice:hunter2secret@git.example.com/a",
            "ssh://alice:hunter2secret@git.example.com/a",
            "https://hunter2secrethunter2secret@git.example.com/a",
            "ftp://alice:hunter2secret@git.example.com/a",
            "ftp://alice:x@hunter2secret@git.example.com/a",
            "ftp://alice:x/hunter2secret@git.example.com/a",
            "https://alice:hunter2secret@git.example.com/a b",
        ],
    )
    def test_a_secret_in_it_is_refused_and_not_repeated(self, url: str) -> None:
        field, said = refusal_of(Repository(url=url))
        assert field == "$.repo.url"
        assert "hunter2secret" not in said

    @pytest.mark.parametrize("url", ["https://alice@git.example.com/a", "ssh://git@git.example.com/a"])
    def test_an_account_alone_is_no_secret(self, url: str) -> None:
        assert check_repository(Repository(url=url), Credentials()).url == url

    @given(st.text("abc:/@.-_~ \n", max_size=30))
    def test_whatever_is_taken_is_no_option_and_one_word(self, url: str) -> None:
        try:
            check_url(url)
        except InvalidRequest:
            return
        assert not url.startswith("-")
        assert len(url.split()) == 1
        assert "@-" not in url.partition("://")[2].partition("/")[0]

    @pytest.mark.parametrize(("url", "ssh"), [(SSH, True), ("ssh://a/b", True), (HTTPS, False), ("git://a/b", False)])
    def test_how_git_gets_there(self, url: str, ssh: bool) -> None:
        assert is_ssh(url) is ssh


class TestBranches:
    @pytest.mark.parametrize("name", ["main", "feature/login", "v1.2.3", "a@b", "é", "x" * 255])
    def test_sound_ones(self, name: str) -> None:
        assert check_repository(Repository(url=HTTPS, branch=name), Credentials()).branch == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "-b",
            "a b",
            "a..b",
            "a@{1}",
            "@",
            "/a",
            "a/",
            "a//b",
            "a.",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a~",
            "x" * 256,
        ],
    )
    def test_what_git_takes_for_none(self, name: str) -> None:
        assert not is_branch(name)
        assert refusal_of(Repository(url=HTTPS, branch=name))[0] == "$.repo.branch"


class TestCredentials:
    def test_a_token_opens_https(self) -> None:
        assert check_repository(Repository(url=HTTPS), Credentials(token="ghp_x")).url == HTTPS

    def test_a_key_opens_ssh(self) -> None:
        assert check_repository(Repository(url=SSH), Credentials(deploy_key=KEY)).url == SSH

    @pytest.mark.parametrize("url", [SSH, "ssh://git@a/b", "git://a/b"])
    def test_a_token_opens_nothing_else(self, url: str) -> None:
        assert refusal_of(Repository(url=url), Credentials(token="ghp_x"))[0] == "$.repo.token"

    @pytest.mark.parametrize("url", [HTTPS, "git://a/b"])
    def test_a_key_opens_nothing_else(self, url: str) -> None:
        field, said = refusal_of(Repository(url=url), Credentials(deploy_key=KEY))
        assert field == "$.repo.deploy_key"
        assert "c2VjcmV0" not in said

    @pytest.mark.parametrize("token", ["", "hunter2 secret", "hunter2\nsecret", "hunter2é", "hunter2" * 1000])
    def test_what_is_no_token(self, token: str) -> None:
        field, said = refusal_of(Repository(url=HTTPS), Credentials(token=token))
        assert field == "$.repo.token"
        assert "hunter2" not in said

    @pytest.mark.parametrize(
        "key",
        ["", "hunter2", KEY.replace("BEGIN", "Begin"), KEY.replace("c2VjcmV0", "\0"), KEY.replace("c2", "é"), KEY[:45]],
    )
    def test_what_is_no_key(self, key: str) -> None:
        field, said = refusal_of(Repository(url=SSH), Credentials(deploy_key=key))
        assert field == "$.repo.deploy_key"
        assert "hunter2" not in said

    def test_a_key_of_any_size_is_not_taken(self) -> None:
        long = KEY.replace("c2VjcmV0", "c2VjcmV0\n" * 5000)
        assert refusal_of(Repository(url=SSH), Credentials(deploy_key=long))[0] == "$.repo.deploy_key"

    @pytest.mark.parametrize("credentials", [Credentials(token="ghp_x"), Credentials(deploy_key=KEY)])
    def test_an_uploaded_repository_takes_none(self, credentials: Credentials) -> None:
        assert refusal_of(Repository(url=HTTPS, bundle=True), credentials)[0] == "$.repo.bundle"

    def test_they_are_something_if_there_is_one(self) -> None:
        assert not Credentials()
        assert Credentials(token="ghp_x")
        assert Credentials(deploy_key=KEY)

    def test_they_show_nothing_of_themselves(self) -> None:
        assert repr(Credentials(token="ghp_x", deploy_key=KEY)) == "Credentials()"
