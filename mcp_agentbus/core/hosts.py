# SPDX-License-Identifier: Apache-2.0
"""What agentbus knows of each host, in one table: what tells it, what it can do, which files do it.

    >>> named("claude-code").limited, named("cursor").limited
    (True, False)

A further host is one row here, one file in `wakes/hosts` that wakes it, one in `installers` that
connects it, and, if it has hooks, one form of answer in `hooks/agentbus_hook.py`. Whatever differs
from host to host is asked of its row; nobody else compares names. It does nothing itself, and
imports next to nothing: each relayed session has it, and each command that is typed.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import os

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final
    from typing import NamedTuple as _Row
else:

    class _Row:
        """What takes and has fields as a named tuple, and is made in no time."""

        def __init__(self, *given: "Any", **named: "Any") -> None:
            names = type(self).__annotations__
            named.update(zip(names, given, strict=False))
            if unknown := named.keys() - names.keys():
                raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}")
            vars(self).update(named)


class HostLogin(_Row):
    """One way in which a host reaches its model, and the variables that it needs for that."""

    #: Names; of all that begin alike the beginning, with an underscore at its end.
    variables: tuple[str, ...]
    #: Any one of these, if it is set, chooses it; none: it is always open.
    chosen_by: tuple[str, ...] = ()


class Host(_Row):
    """One host. Of one without a row only the name is known, and the rest is as these defaults."""

    #: As typed, in config.toml and on the bus.
    name: str
    #: As its maker writes it.
    title: str = ""
    #: Variables of its processes' environment, any one of which tells that they are this host's.
    marks: tuple[str, ...] = ()
    #: The same of what is everywhere in its terminal, or may be exported there for good: whoever is
    #: started there has it, so it tells only where no mark of any host does.
    around: tuple[str, ...] = ()
    #: Hosts that start what is this one's, such as its hooks: beside their marks its own are void.
    runs_in: tuple[str, ...] = ()
    #: What its processes are called, by which `said` tells it.
    programs: tuple[str, ...] = ()
    #: How the names of variables begin that, like its marks, are one session's: a listener which
    #: inherits them would be taken for that session.
    sessions_own: tuple[str, ...] = ()
    #: How it reaches its model. What is named here is never one session's.
    logins: tuple[HostLogin, ...] = ()
    #: Which variable holds the host's own id of the session; empty if none does.
    session_id: str = ""
    #: It works in a folder, by which its sessions can be told apart.
    has_folder: bool = False
    #: agentbus can limit what a session may do that it has woken.
    limited: bool = False
    #: It takes a limit of what a session may cost that agentbus has started, and says what it did.
    limits_cost: bool = False
    #: The keys of [agents.ID] that mean something to it and not to every host.
    keys: tuple[str, ...] = ()
    #: Keys that an earlier `agent add` may have left where they do nothing; see `idle`.
    left_keys: tuple[str, ...] = ("resume",)
    #: The values of `permission_mode` that change anything; empty: it has modes of its own.
    modes: tuple[str, ...] = ()
    #: The mode in which it is started unless its user names one; empty: in none that is named.
    mode: str = ""
    #: Its file in `wakes.hosts`; empty if only its live sessions can be told of tasks.
    waker: str = ""
    #: Its file in `installers`, and which object there if not the file itself; empty if none.
    installer: str = ""
    #: Its hooks ask what waits, so `hooks/agentbus_hook.py` has a form of answer for it.
    has_hooks: bool = False
    #: It can be given all of agentbus as a plugin: server, skill, hooks and monitor.
    has_plugin: bool = False
    #: It hands a wake to its live session by itself.
    hands_on: bool = False
    #: It writes down which session each of its processes has; see `wakes.hosts.claude_session`.
    notes_sessions: bool = False
    #: Its user's own settings give variables to each of its sessions; see `config.claude_user`.
    has_user_env: bool = False

    def idle(self, given: "Mapping[str, Any]", profile: str) -> tuple[str, ...]:
        """Return which keys of [agents.ID] do nothing with this wake profile, and are passed over.

        Refused, they would take every command along, also those that take them out.
        """
        works = profile == "work"
        return tuple(
            key
            for key in self.left_keys
            if key in given and (key not in self.keys or (given[key] and not works))
        )

    def takes_mode(self, mode: str) -> bool:
        """Tell whether it can be started in this permission mode, or in none that is named."""
        return not mode or not self.modes or mode in self.modes

    def login_variables(self, environ: "Mapping[str, str]") -> tuple[str, ...]:
        """Return the variables of the ways that this environment leaves open; see `is_among`.

        What chooses a way is among them though it is off: it may be on elsewhere.
        """
        choosing = (name for login in self.logins for name in login.chosen_by)
        return *choosing, *(
            name
            for login in self.logins
            if not login.chosen_by or any(_is_on(environ.get(way, "")) for way in login.chosen_by)
            for name in login.variables
        )


# Claude Code's ways to its model, by its own documentation of its variables.
_CLAUDE_LOGINS: "Final" = (
    HostLogin(
        (
            *("ANTHROPIC_", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_", "CLAUDE_CODE_SKIP_"),
            *("CLAUDE_CODE_CLIENT_CERT", "CLAUDE_CODE_CLIENT_KEY", "CLAUDE_CODE_CERT_STORE"),
            *("CLAUDE_CODE_CLIENT_KEY_PASSPHRASE", "CLAUDE_CODE_API_KEY_HELPER_TTL_MS"),
            *("CLAUDE_CODE_PROXY_RESOLVES_HOSTS", "CLAUDE_CODE_ENABLE_PROXY_AUTH_HELPER"),
            *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
            *("CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS", "CLAUDE_CODE_EFFORT_LEVEL"),
            *("CLAUDE_CODE_USE_GATEWAY", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"),
        )
    ),
    HostLogin(
        ("AWS_",),
        ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_MANTLE", "CLAUDE_CODE_USE_ANTHROPIC_AWS"),
    ),
    HostLogin(
        ("GOOGLE_", "GCLOUD_PROJECT", "CLOUD_ML_REGION", "CLOUDSDK_", "VERTEX_"),
        ("CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD"),
    ),
    HostLogin(("AZURE_",), ("CLAUDE_CODE_USE_FOUNDRY",)),
)


#: In the order in which they are named to the user, and in which an environment is asked for marks.
HOSTS: "Final" = (
    Host(
        "claude-code",
        "Claude Code",
        marks=("CLAUDECODE",),
        runs_in=("cursor",),
        programs=("claude", "claude-code"),
        sessions_own=("CLAUDE", "AI_AGENT"),
        session_id="CLAUDE_CODE_SESSION_ID",
        logins=_CLAUDE_LOGINS,
        has_folder=True,
        limited=True,
        limits_cost=True,
        keys=("permission_mode", "allow", "env", "resume"),
        mode="dontAsk",
        waker="claude_code",
        installer="claude_code",
        has_hooks=True,
        has_plugin=True,
        notes_sessions=True,
        has_user_env=True,
    ),
    Host(
        "cursor",
        "Cursor",
        marks=("CURSOR_VERSION",),
        around=("CURSOR_TRACE_ID",),
        programs=("cursor", "cursor-agent"),
        sessions_own=("CURSOR_",),
        logins=(HostLogin(("CURSOR_API_KEY",)),),
        has_folder=True,
        keys=("permission_mode", "env", "chat"),
        left_keys=("allow", "resume"),
        modes=("force",),
        waker="cursor",
        installer="cursor",
        has_hooks=True,
    ),
    Host(
        "openclaw",
        "OpenClaw",
        marks=("OPENCLAW_SHELL",),
        around=("OPENCLAW_STATE_DIR",),
        programs=("openclaw",),
        sessions_own=("OPENCLAW_",),
        keys=("gateway_url", "token_file"),
        waker="openclaw",
        installer="openclaw",
        hands_on=True,
    ),
    Host(
        "codex",
        "Codex",
        marks=("CODEX_THREAD_ID", "CODEX_CI"),
        programs=("codex",),
        installer="any_host:CODEX",
    ),
    Host(
        "copilot",
        "Copilot CLI",
        marks=("COPILOT_CLI", "COPILOT_AGENT_SESSION_ID"),
        programs=("copilot",),
        installer="any_host:COPILOT",
    ),
    Host(
        "gemini",
        "Gemini CLI",
        marks=("GEMINI_CLI",),
        programs=("gemini", "gemini-cli"),
        installer="any_host:GEMINI",
    ),
    # These have no installer: what they start is told from what a person types.
    Host(
        "opencode",
        "OpenCode",
        marks=("OPENCODE_PID",),
        programs=("opencode", "opencode.exe"),  # its package's file is called so everywhere
    ),
    Host("qwen", "Qwen Code", marks=("QWEN_CODE",), programs=("qwen", "qwen-code")),
    # Any program of the user's.
    Host("command", keys=("command", "env"), waker="command"),
)
#: The keys of [agents.ID] that mean something with the wake profile `work` alone; a conversation is
#: continued with the tools with which it was begun.
WITH_WORK: "Final" = ("permission_mode", "allow", "resume")
# Of this program's own variables those that say who one session is.
_OURS_OF_SESSION: "Final" = (
    *("AGENTBUS_AGENT", "AGENTBUS_HOST", "AGENTBUS_WATCH_MAX_S"),
    "AGENTBUS_WORKER",
)
#: What a service manager has told one process alone; see `is_among`.
OF_MANAGER: "Final" = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "INVOCATION_ID"),
    *("JOURNAL_STREAM", "LISTEN_", "MANAGERPID", "MANAGERPIDFDID", "SYSTEMD_EXEC_PID"),
    *("MEMORY_PRESSURE_", "XPC_"),
)
#: The names of hosts whose agents can be woken without a live session.
WOKEN: "Final" = tuple(host.name for host in HOSTS if host.waker)
#: Of those that `agentbus install` connects.
CONNECTED: "Final" = tuple(host.name for host in HOSTS if host.installer)
#: Of those that can be given the plugin.
WITH_PLUGIN: "Final" = tuple(host.name for host in HOSTS if host.has_plugin)
#: Of those whose hooks ask what waits.
HOOKED: "Final" = tuple(host.name for host in HOSTS if host.has_hooks)
#: The variables by which a host can be told.
MARKS: "Final" = tuple(mark for host in HOSTS for mark in (*host.marks, *host.around))


def named(name: str) -> Host:
    """Return what is known of a host; of one without a row, its name."""
    return next((host for host in HOSTS if host.name == name), Host(name))


def marked(environ: "Mapping[str, str]") -> Host | None:
    """Return the host whose process has this environment; None if no mark of any is set."""
    candidates = [host for host in HOSTS if any(map(environ.get, host.marks))]
    names = {host.name for host in candidates}
    likely = (host for host in candidates if names.isdisjoint(host.runs_in))
    around = (host for host in HOSTS if any(map(environ.get, host.around)))
    return next(likely, None) or next(around, None)


def said(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return AGENTBUS_HOST for this process, as its ancestors tell it.

    A host leaves its marks to all that is started in it, other hosts too, and some leave none to
    some of what they start; so the nearest host among the ancestors counts. Returns nothing if the
    variable is set, or if no host is an ancestor: then `marked` says which is likely.
    """
    if environ.get("AGENTBUS_HOST"):
        return {}
    # Imported late: what hosts start mostly has the variable.
    from mcp_agentbus.core.feather import ancestors

    for words in ancestors.ancestors():
        for host in HOSTS:
            if not words.isdisjoint(host.programs):
                return {"AGENTBUS_HOST": host.name}
    return {}


def are_around(environ: "Mapping[str, str]") -> bool:
    """Tell whether this process was started within any host, as far as can be told.

    By variables, or where those say nothing by the names of its ancestors.
    """
    return bool(environ.get("AGENTBUS_HOST") or marked(environ) or said(environ))


def begun_with() -> dict[str, str]:
    """Return the environment with which its user has started the host whose child this process is.

    What a host hands down is one session's: what its folder's settings add is in it, and with some
    hosts hardly anything else. Empty if the parent is no host, or the system does not tell.
    """
    # Imported late: only who starts a listener asks.
    from mcp_agentbus.core import processes
    from mcp_agentbus.core.feather import ancestors

    parent = next(ancestors.ancestors(), set())
    programs = {program for host in HOSTS for program in host.programs}
    return {} if parent.isdisjoint(programs) else processes.begun_with(os.getppid())


def session_of(environ: "Mapping[str, str]") -> str:
    """Return the host's own id of the session that has this environment; empty if none tells it."""
    ids = (environ.get(host.session_id, "") for host in HOSTS if host.session_id)
    return next(filter(None, ids), "")


def hosted(environ: "Mapping[str, str]") -> str:
    """Return for which of its sessions, by which process, a host has started this one; or empty."""
    session = session_of(environ)
    return f"{session} {os.getppid()}" if session else ""


def with_key(key: str) -> tuple[str, ...]:
    """Return the names of the hosts to which a key of [agents.ID] means something."""
    return tuple(host.name for host in HOSTS if key in host.keys) or WOKEN


def is_among(name: str, variables: "Iterable[str]") -> bool:
    """Tell whether a variable is among these names; one with an underscore at its end begins it."""
    return any(
        name.startswith(given) if given.endswith("_") else name == given for given in variables
    )


def is_of_session(name: str) -> bool:
    """Tell whether a variable is told to the processes of one session, and means nothing beyond.

    Who inherits it would be taken for that session.
    """
    return name in (*_OURS_OF_SESSION, *MARKS) or any(
        name.startswith(host.sessions_own) and not is_among(name, _open(host)) for host in HOSTS
    )


def _is_on(value: str) -> bool:
    """Tell whether a variable switches something on, as hosts read it."""
    return value.strip().lower() in {"1", "true", "yes", "on"}


def _open(host: Host) -> tuple[str, ...]:
    """Return the variables of all ways in which a host reaches its model."""
    return tuple(name for login in host.logins for name in (*login.chosen_by, *login.variables))
