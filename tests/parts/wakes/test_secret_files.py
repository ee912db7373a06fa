# SPDX-License-Identifier: Apache-2.0
"""What an agent that only reads is not to read of its folder: by its name, or as a hard link."""

import os
from pathlib import PurePath

import pytest

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.wakes.hosts import claude_settings, secret_files
from mcp_agentbus.wakes.hosts.protocol import WakeOrder


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (tmp_path / "outside").touch()
    return folder


def linked(shop):
    """Return what a folder has beside the names."""
    named = [f"**/{name}" for name in secret_files.NAMES]
    patterns = list(secret_files.patterns(shop))
    assert patterns[: len(named)] == named
    return patterns[len(named) :]


def git(folder):
    """Make what git takes for a folder of its own."""
    for name in ("objects", "refs", "logs", "modules", "worktrees"):
        (folder / name).mkdir(parents=True)
    for name in ("HEAD", "config"):
        (folder / name).touch()


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".env.local", ".envrc", "a/prod.env", ".ENV", ".git/config", "lib/.git/config",
        ".git/modules/x/config", ".git/worktrees/x/modules/y/config", ".bare/worktrees/x/config.worktree",
        ".hg/hgrc-not-shared", ".jj/repo/store/git/config", ".npmrc", ".netrc", ".pypirc", "id_rsa", "deploy/id_ed25519.old",
        "tls/server.key", "ca.PEM", ".aws/credentials", "secrets.yaml", "secrets/x", "x.tfvars",
        "admin.nk", "bus/me.creds", ".claude.json", ".codex/auth.json", "gh/hosts.yml",
        "gcloud/application_default_credentials.json", ".gemini/oauth_creds.json",
        ".git/logs/HEAD", "lib/.git/logs/refs/heads/main", ".git/annex/creds/s3", ".gitconfig",
        ".config/git/config", ".hgrc", ".jj/repo/op_store/operations/1", ".curlrc", ".wgetrc",
        ".gemini/settings.json", ".codex/config.toml", ".qwen/settings.json", "opencode.jsonc",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_name_or_its_folders(path):
    assert secret_files.is_secret(PurePath(path))


@pytest.mark.parametrize(
    "path",
    ["README.md", "config", "src/env.py", ".git/HEAD", "keys.py", "environment.md", "hosts.yml",
     "logs/HEAD", "pkg/git/config/load.go", ".vscode/settings.json", "config.toml"],
)  # fmt: skip
def test_what_a_project_is_made_of_is_no_secret(path):
    assert not secret_files.is_secret(PurePath(path))


def test_a_folder_without_hard_links_has_nothing_but_the_names(shop):
    (shop / "readme").touch()
    (shop / "link").symlink_to(shop.parent / "outside")

    assert linked(shop) == []


def test_hard_links_to_a_secret_or_to_what_is_outside_are_named(shop):
    (shop / "a").mkdir()
    (shop / ".env").touch()
    os.link(shop / ".env", shop / "a" / "notes (1), *!.txt")
    os.link(shop.parent / "outside", shop / "todo.md")
    (shop / "twice").touch()
    os.link(shop / "twice", shop / "a" / "twice")  # all its names are here, and none is a secret's

    assert linked(shop) == ["./.env", "./a/notes*1*.txt", "./todo.md"]


@pytest.mark.parametrize("name", [".bare", "mirrors/shop.git", "."])
def test_what_a_git_folder_of_any_name_is_set_to_is_not_read(shop, name):
    git(shop / name)
    git(shop / name / "modules" / "lib")  # is below what is named

    named = sorted(str(PurePath(name, each)) for each in ("config", "logs", "modules", "worktrees"))
    assert linked(shop) == [f"./{each}" for each in named]


def test_of_a_git_folder_what_is_not_there_takes_the_room_of_nothing(shop):
    git(shop / ".bare")
    for name in ("logs", "modules", "worktrees"):
        (shop / ".bare" / name).rmdir()

    assert linked(shop) == ["./.bare/config"]


def test_a_hard_link_to_what_a_git_folder_is_set_to_is_named(shop):
    git(shop / ".bare")
    os.link(shop / ".bare" / "config", shop / "notes.txt")

    assert "./notes.txt" in linked(shop)


def test_a_git_folder_that_is_named_like_one_needs_nothing_beside_its_name(shop):
    git(shop / ".git")
    git(shop / ".git" / "modules" / "lib")
    (shop / "lib").mkdir()
    (shop / "lib" / ".git").write_text("gitdir: ../.git/modules/lib\n")

    assert linked(shop) == []


def test_what_is_no_file_is_named_as_whoever_reads_it_waits_for_ever(shop):
    (shop / "lib").mkdir()
    os.mkfifo(shop / "lib" / "todo.md")

    assert linked(shop) == ["./lib/todo.md"]


def test_what_an_ordinary_name_holds_and_what_is_linked_later_is_not_seen(shop):
    (shop / "notes.md").write_text("token: hunter2")

    before = linked(shop)
    os.link(shop.parent / "outside", shop / "later.md")

    assert not secret_files.is_secret(PurePath("notes.md"))
    assert before == []  # by which a run that has begun goes on


def test_very_many_links_are_named_by_their_folders(shop, monkeypatch):
    monkeypatch.setattr(secret_files, "_PATHS_MAX", 3)
    for at in range(4):
        (shop / "lib" / str(at)).mkdir(parents=True)
        os.link(shop.parent / "outside", shop / "lib" / str(at) / "x")
    os.link(shop.parent / "outside", shop / "todo.md")

    assert linked(shop) == ["./lib", "./todo.md"]

    for at in range(4):
        os.link(shop.parent / "outside", shop / f"{at}.md")
    assert linked(shop) == ["./**"]


def test_the_keys_of_this_users_bus_are_not_read_wherever_the_agents_folder_is(shop, tmp_path):
    config = tmp_path / ".config" / "agentbus"
    config.mkdir(parents=True)
    token, url = shop / "bus.txt", shop / "ring.txt"
    (config / "config.toml").write_text(
        f'[server]\nurl = "nats://127.0.0.1"\ntoken_file = "{token}"\n'
        f'[human]\nby = "webhook"\nurl_file = "{url}"\n'
    )
    rules = Rules("coder", "claude-code", shop, "answer")

    said = claude_settings.settings(WakeOrder(rules, None, {"HOME": str(tmp_path)}, lambda _: None))

    denied = set(said["permissions"]["deny"])
    folders = (config, *(tmp_path / ".local" / kind / "agentbus" for kind in ("share", "state")))
    assert denied >= {f"Read(/{folder}/**)" for folder in folders}
    assert denied >= {f"Read(/{file})" for file in (token, url)}
