# SPDX-License-Identifier: Apache-2.0
"""Which files of its folder a woken agent that only reads must not read: one list for all tools.

    >>> patterns(Path("/home/me/shop"))
    ('**/.env*', ..., './notes.txt')

As in .gitignore. Beside the names by which secrets are known there are the hard links of the
folder to a secret, or to a file that has another name outside: of those no path tells where they
lead. There are git's folders of any name, as of a bare repository. And there is what is no file, as
a named pipe: whoever reads it waits for ever. Symbolic links are left to the host, which follows
them before it decides.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Final

#: Files and folders that hold secrets, wherever they are; upper and lower case are the same.
NAMES: Final = (
    # What programs are told in private.
    *(".env*", "*.env", ".dev.vars", "local.settings.json", "secrets*", "*.secret", "*.secrets"),
    # Hosts of agents: the user's own settings of a folder, and what logs in to servers.
    *("settings.local.json", ".mcp.json", "mcp.json", ".claude.json", "openclaw.json"),
    *(".gemini/settings.json", ".codex/config.toml", ".qwen/settings.json", "opencode.json*"),
    # Logins of tools, in files and in folders.
    *(".netrc", "_netrc", ".npmrc", ".yarnrc*", ".pypirc", "pip.conf", ".pgpass", ".my.cnf"),
    *(".htpasswd", ".boto", ".git-credentials", "credentials", "credentials.*", ".credentials*"),
    *("client_secret*.json", "service-account*.json", "service_account*.json", ".vault-token"),
    *("application_default_credentials.json", "oauth_creds.json", "auth.json", "gh/hosts.yml"),
    *(".s3cfg", "rclone.conf", ".curlrc", ".wgetrc"),
    *(".ssh", ".aws", ".azure", ".gcloud", ".gnupg", ".kube", "kubeconfig", ".dockercfg"),
    *(".docker", ".terraformrc", "*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json"),
    # The URL of a remote may hold its token, and git's settings a header with one. A log of
    # commands has the URL that was typed, as behind `git pull`.
    *(".git/config", "config.worktree", ".git/modules", ".git/worktrees", ".git/logs"),
    *(".git/annex/creds", ".gitconfig", ".config/git/config", ".hg/hgrc*", ".hgrc"),
    *(".jj/repo/config.toml", ".jj/repo/store/git/config", ".jj/workspace-config.toml"),
    ".jj/repo/op_store",
    # Keys, and what keeps them.
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p8", "*.p12"),
    *("*.pfx", "*.ppk", "*.jks", "*.keystore", "*.asc", "*.gpg", "*.age", "*.kdbx"),
    *("*.nk", "*.creds"),
)
# What holds the settings and the logs of a git folder, and of those in it: submodules, worktrees.
_OF_GIT: Final = ("config", "logs", "modules", "worktrees")
# So many paths are named each by itself; of more the folders that hold them. A host takes a second
# longer with 1,000.
_PATHS_MAX: Final = 200
# Whatever else is in a name stands for itself in no pattern, and not in each host's rules.
_ODD: Final = re.compile(r"[^A-Za-z0-9._/-]+")


def patterns(folder: Path) -> tuple[str, ...]:
    """Return what must not be read below a folder, with each git folder, link and pipe of now.

    Reads all of its folders: about a second for 100,000 files.
    """
    named = _not_to_be_read(folder)
    paths = _fewer({PurePath(plain(str(path))) for path in named})
    return (*(f"**/{name}" for name in NAMES), *sorted(f"./{path}" for path in paths))


def plain(path: str) -> str:
    """Return a pattern that matches a path, whatever is in it, and maybe others beside it."""
    return _ODD.sub("*", path)


def is_secret(path: PurePath) -> bool:
    """Tell whether a path, or a folder on the way to it, has such a name."""
    lower = PurePath(str(path).lower())
    return any(part.match(name) for part in (lower, *lower.parents) for name in NAMES)


def _not_to_be_read(folder: Path) -> set[PurePath]:
    """Return git's settings, the hard links to a secret or to what is outside, and what is no file.

    Each by its path from there.
    """
    found: set[PurePath] = set()
    names: dict[tuple[int, int], list[PurePath]] = defaultdict(list)
    counts: dict[tuple[int, int], int] = {}
    for where, folders, files in os.walk(folder):
        if "HEAD" in files and {"objects", "refs"}.issubset(folders):  # as git knows its folders
            inside = PurePath(where).relative_to(folder)
            here = (inside / name for name in _OF_GIT if name in {*folders, *files})
            found |= {path for path in here if not is_secret(path)}
        for file in files:
            path = os.path.join(where, file)  # noqa: PTH118  # there may be 100,000
            try:
                about = os.lstat(path)
            except OSError:  # it is gone
                continue
            if about.st_nlink > 1 and stat.S_ISREG(about.st_mode):
                which = (about.st_dev, about.st_ino)
                names[which].append(PurePath(path).relative_to(folder))
                counts[which] = about.st_nlink
            elif not (stat.S_ISREG(about.st_mode) or stat.S_ISLNK(about.st_mode)):
                found.add(PurePath(path).relative_to(folder))
    return found | {
        path
        for which, paths in names.items()
        if counts[which] > len(paths)
        or any(is_secret(each) or _is_below(each, found) for each in paths)
        for path in paths
    }


def _is_below(path: PurePath, named: set[PurePath]) -> bool:
    """Tell whether a path or a folder on the way to it is named."""
    return not named.isdisjoint((path, *path.parents))


def _fewer(paths: Iterable[PurePath]) -> set[PurePath]:
    """Return at most `_PATHS_MAX` paths that name all of these: themselves, or their folders."""
    named = set(paths)
    named = {path for path in named if named.isdisjoint(path.parents)}
    depth = max((len(path.parts) for path in named), default=0)
    while len(named) > _PATHS_MAX:
        depth -= 1
        if not depth:
            return {PurePath("**")}  # all of the folder
        named = {PurePath(*path.parts[:depth]) for path in named}
    return named
