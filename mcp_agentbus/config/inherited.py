# SPDX-License-Identifier: Apache-2.0
"""What a woken process inherits of its listener's environment: one rule for each wake profile.

    >>> environ = {"PATH": "/bin", "CLAUDECODE": "1", "AWS_PROFILE": "me", "AGENTBUS_TOKEN": "x"}
    >>> of(Rules("coder", "claude-code", folder, "answer"), environ)
    {'PATH': '/bin'}
    >>> of(Rules("coder", "claude-code", folder, "work"), environ)
    {'PATH': '/bin', 'AWS_PROFILE': 'me'}

The rule is the same whatever has started the listener: a terminal, a session, a service manager.
What its host needs to log in the table of hosts says; by which of its ways it does, this
environment and the user's own settings of the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

from mcp_agentbus.config import claude_user
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.sections.server import BINARY, IN_ENVIRON
from mcp_agentbus.core import hosts, programs

# Where the bus is, and who is spoken to there; paths and addresses, no secrets.
_BUS: Final = ("AGENTBUS_HOME", *IN_ENVIRON.values(), BINARY)
# Whose session it is, and in which language and place it works.
_USER: Final = (
    *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_", "TZ", "TMPDIR", "TERM"),
    *("XDG_", "__CF_USER_TEXT_ENCODING", "PYTHONUSERBASE"),
)
# How programs find others, and how they reach the network.
_MACHINE: Final = (
    "PATH",
    *("NVM_DIR", "NVM_BIN", "FNM_DIR", "FNM_MULTISHELL_PATH", "VOLTA_HOME", "N_PREFIX"),
    *("NODENV_ROOT", "ASDF_DIR", "ASDF_DATA_DIR", "MISE_DATA_DIR", "PYENV_ROOT", "PNPM_HOME"),
    *("BUN_INSTALL", "NPM_CONFIG_PREFIX", "HOMEBREW_PREFIX", "NIX_PROFILES", "NIX_SSL_CERT_FILE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "NODE_USE_SYSTEM_CA"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
# Nobody who is woken gets these: the token of a server, and what the listener's own manager has
# told the listener alone.
_NEVER: Final = ("AGENTBUS_TOKEN", *hosts.OF_MANAGER)
# What is in the name of a secret; short words only by themselves, as PATH and COMPASS are none.
_SECRET: Final = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|HEADERS"
    r"|(?<![A-Z])(PASS|PAT|CREDS?)(?![A-Z])|_PWD$",
    re.IGNORECASE,
)
# What only leads to one, or is a number.
_LEADS: Final = re.compile(
    r"(FILE|PATH|DIR|_FILE_OVERRIDE|_CREDENTIALS_(FULL|RELATIVE)_URI|_TTL_MS)$"
    r"|(^|_)MAX_\w*TOKENS$|^(GOOGLE_APPLICATION_CREDENTIALS|CLAUDE_CODE_CLIENT_KEY)$",
    re.IGNORECASE,
)
# What a URL with a secret looks like, or what some take for one without its scheme.
_WITH_LOGIN: Final = re.compile(r"\w+://[^/\s]*@|^[^/\s:@]+:[^/\s@]+@")
# Of what is a proxy by its name, a login may have any form, with what no URL holds in it.
_PROXY: Final = re.compile(r"(^|_)PROXY(_UR[IL])?$", re.IGNORECASE)
#: What is in a text that was made of bytes which are no UTF-8.
NO_UTF8: Final = re.compile(r"[\ud800-\udfff]")
#: What no file of a service, or of this program's settings, can hold.
UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def of(rules: Rules, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a woken process gets of its listener's environment.

    It looks at folders that may be on a file system which has gone away: this takes seconds then.
    """
    environ = _with_path(rules, environ)
    if rules.profile == "answer":
        login = _login_variables(hosts.named(rules.host), environ)
        names = (*_BUS, *_USER, *_MACHINE, *login, *rules.env)
        # The server of the run is this program, and may be found by nothing else.
        names += ("PYTHONPATH",) if "PYTHONPATH" in programs.without_project(environ) else ()
        return _among(names, environ)
    named = {name: environ[name] for name in rules.env if name in environ}
    return of_users_own(environ) | named


def _login_variables(host: hosts.Host, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of a host's login, also of a way that its user's settings choose."""
    return host.login_variables({**environ, **of_settings(host.name, environ)})


def of_settings(host: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what its user's settings of a host give to each of its sessions, to log in."""
    return claude_user.environ(environ) if hosts.named(host).has_user_env else {}


def _with_path(rules: Rules, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return an environment by whose PATH a run finds no more than its profile lets it run."""
    if "PATH" not in environ:
        return environ
    folders = programs.folders(environ)
    if rules.profile == "answer":
        folders = rules.outside(folders)
    return {**environ, "PATH": os.pathsep.join(folders)}


def of_users_own(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a program gets that its user has chosen to be started."""
    return {
        name: value
        for name, value in environ.items()
        if not (hosts.is_of_session(name) or hosts.is_among(name, _NEVER))
    }


def logins(environ: Mapping[str, str], host: str = "") -> list[str]:
    """Return the names of the variables here by which a host logs in, or any, in order."""
    some = [hosts.named(host)] if host else hosts.HOSTS
    names = [name for one in some for name in _login_variables(one, environ)]
    return sorted(_among(names, environ))


def lasting(rules: Iterable[Rules], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what a service must have to wake as a listener of here would, and what it lacks.

    The second are the names of those that are left out: secrets, which stand in no unit.
    """
    added = [name for one in rules for name in one.env]
    names = [name for host in hosts.HOSTS for name in _login_variables(host, environ)]
    needed = _among((*_MACHINE, *names, *added), environ)
    secret = sorted(name for name, value in needed.items() if is_secret(name, value))
    kept = {name: value for name, value in needed.items() if name not in secret}
    if "PATH" in kept:
        kept["PATH"] = os.pathsep.join(parted(kept)[0])
    plain = {
        name: kept[name]
        for name in sorted(kept)
        if kept[name] and not UNPRINTABLE.search(kept[name])
    }
    return plain, secret


def parted(environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the lasting folders of PATH that are text, and those that are no UTF-8."""
    folders = programs.folders(environ)
    odd = [folder for folder in folders if NO_UTF8.search(folder)]
    return [folder for folder in folders if folder not in odd], odd


def is_secret(name: str, value: str) -> bool:
    """Tell whether a variable holds a secret, by its name, or as an address with a login in it."""
    by_name = _SECRET.search(name) and not _LEADS.search(name)
    has_login = _WITH_LOGIN.search(value) or ("@" in value and _PROXY.search(name))
    return bool(by_name or has_login)


def _among(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    wanted = tuple(names)
    return {
        name: value for name, value in environ.items() if value and hosts.is_among(name, wanted)
    }
