# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/config.md: what each key and variable says, and the rest as the code has it.

    >>> keys_of("server")
    ['url', 'token_file', 'allow_plaintext', 'binary']

Only the sentences and the examples stand here. Which keys there are, what they default to, how far
a number may go and for which hosts a key is, the code is asked: by settings that it refuses, whose
message says it. So a key that is added, and a bound that is moved, show.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Final, NamedTuple

from mcp_agentbus.config import rules, settings
from mcp_agentbus.core.hosts import HOSTS, host_of
from mcp_agentbus.errors import BadSetup

ROOT: Final = Path(__file__).parents[2]
_HOME: Final = {"AGENTBUS_HOME": "/tmp/no-such-agentbus"}
# The least that each host's table needs.
_LEAST: Final = {
    "claude-code": 'dir = "/srv/shop"',
    "cursor": 'dir = "/srv/shop"',
    "openclaw": 'dir = "/srv/shop"',
    "command": 'dir = "/srv/shop"\ncommand = ["notify"]',
}
# Keys whose field in `rules.Rules` has another name.
_FIELD: Final = {"wake": "profile", "gateway_url": "url"}


class Key(NamedTuple):
    """What is said of a key or a variable."""

    what: str
    #: In TOML, or the value of a variable.
    example: str
    #: As it is shown; what the code says if empty.
    default: str = ""
    #: Of a number.
    unit: str = ""


SERVER: Final = {
    "url": Key("The shared server: one `nats://` or `tls://` URL, without a secret in it.",
               '"tls://bus.example.org:4222"', "this user's own server"),
    "token_file": Key("The file (0600) that holds the shared server's token.",
                      '"~/.config/agentbus/token"', "no token"),
    "allow_plaintext": Key("Whether a server off this machine may be used without TLS: say it "
                           "only where the network itself is encrypted.", "true", "`false`"),
    "binary": Key("The nats-server that is started in the place of the one that came along.",
                  '"/usr/local/bin/nats-server"', "the one that came along"),
}  # fmt: skip
WAKE: Final = {
    "quiet_hours": Key("When nothing wakes it, in this machine's time; `\"\"` means never, also "
                       "where `[wake]` has some.", '"22:00-07:00"', "none"),
    "wake_from": Key('Senders that may wake it besides your own agents on this machine; `"*"` is '
                     "everybody on the bus.", '["planner"]', "none"),
    "on_stop": Key("What becomes of a process that it has started when the listener is stopped: "
                   "`end` ends it, `leave` leaves it running.", '"leave"'),
    "per_sender_hour": Key("How often one sender may wake it in an hour.", "3", unit="wakes"),
    "per_hour": Key("How often it may be woken in an hour.", "6", unit="wakes"),
    "per_day": Key("How often it may be woken in 24 hours.", "20", unit="wakes"),
    "result_notices_per_hour": Key("How often a live session is told of results in an hour.",
                                   "30", unit="notices"),
    "time_limit_s": Key("After how long a started process is ended.", "600", unit="seconds"),
    "max_turns": Key("Turns of a model in one wake, where the host can limit them.", "10",
                     unit="turns"),
    "max_usd": Key("What one wake may cost, where the host can limit it.", "0.5",
                   unit="US dollars"),
    "usd_per_day": Key("What the wakes of 24 hours may cost, as far as the host reports it; what "
                       "comes after is held.", "5.0", unit="US dollars"),
}  # fmt: skip
AGENT: Final = {
    "host": Key("Where it runs, and by what it is woken.", '"claude-code"', "`shell`"),
    "description": Key("One line for `list_agents`.", '"Looks after the shop"', "none"),
    "roles": Key("Shared inboxes that it reads besides its own: `role:NAME`.", '["review"]',
                 "none"),
    "dir": Key("Where its process is started. Without it nothing is: the other keys here are for "
               "its wakes.", '"~/shop"', "none: live sessions only"),
    "wake": Key("`hold`: nothing starts it. `answer`: an urgent task may start it to read and "
                "answer. `work`: it may, with its host's own permissions.", '"work"',
                "`answer`; for `openclaw` and `command` it must be given: `hold` or `work`"),
    "command": Key("The program and its arguments, without a shell; the notice comes on standard "
                   "input.", '["/usr/bin/notify-send", "agentbus"]', "must be given"),
    "permission_mode": Key('The host\'s permission mode, with `wake = "work"`. Claude Code: any '
                           "but `bypassPermissions`; Cursor: `force`.", '"acceptEdits"',
                           "Claude Code: `dontAsk`"),
    "allow": Key("The host's allow rules, with `wake = \"work\"`; Cursor's program takes none.",
                 '["Bash(git status)", "Edit"]', "none"),
    "resume": Key("Claude Code: go on with its last conversation, unless a live process has it.",
                  "true"),
    "chat": Key("The chat that is continued, as `cursor-agent ls` shows it.", '"8f1c2d"', "none"),
    "gateway_url": Key("The gateway's address; off this machine it must be `https`.",
                       '"http://127.0.0.1:18790"'),
    "token_file": Key("The file (0600) with `hooks.token` of openclaw.json.",
                      '"~/.config/agentbus/openclaw-hooks.token"',
                      "none; `agent add` fills in the one that `install openclaw` wrote"),
    **WAKE,
}  # fmt: skip
FOLDER: Final = {
    "agent": Key("Who a session in this folder, or below it, is.", '"reviewer"',
                 "the folder's name with the host's"),
    "description": Key("One line for `list_agents`.", '"Reviews changes of the shop"', "none"),
    "roles": Key("Shared inboxes that it reads besides its own: `role:NAME`.", '["review"]',
                 "none"),
}  # fmt: skip
VARIABLES: Final = {
    "AGENTBUS_AGENT": Key("Who this session is; `--agent` comes before it.", "reviewer",
                          "by the folder"),
    "AGENTBUS_HOME": Key("One folder for everything: `data`, `state`, `run` and `config.toml`. "
                         "Another folder is another bus.", "/srv/agentbus",
                         "the platform's folders, below"),
    "AGENTBUS_HOST": Key("What this session runs in, whatever the host's own variables say; "
                         "`agentbus install` writes it for hosts that have none.", "openclaw",
                         "by the host's own variables, below"),
    "AGENTBUS_LISTENER": Key("`off`, `0`, `no` or `never` keeps sessions from starting a listener.",
                             "off", "they start one where none is"),
    "AGENTBUS_NATS_SERVER": Key("As `binary` of `[server]`, which it comes before.",
                                "/usr/local/bin/nats-server", "`binary`"),
    "AGENTBUS_TOKEN": Key("Read by a shared nats-server that was started with the configuration of "
                          "`agentbus server config`: its token. agentbus itself never reads it.",
                          "a long random word", "none"),
    "AGENTBUS_TOKEN_FILE": Key("As `token_file` of `[server]`, which it comes before.",
                               "~/.config/agentbus/token", "`token_file`"),
    "AGENTBUS_URL": Key("As `url` of `[server]`, which it comes before.",
                        "tls://bus.example.org:4222", "`url`"),
}  # fmt: skip
TABLES: Final = {"server": SERVER, "agents.x": AGENT, "wake": WAKE}


def keys_of(table: str) -> list[str]:
    """Return the keys that a table of config.toml may have, in the order of the code."""
    return _known(f"[{table}]\nno-such-key = 1\n")


def _known(text: str) -> list[str]:
    try:
        settings.load_settings(_HOME, text=text)
    except BadSetup as error:
        found = re.fullmatch(r"Known: (.*)\.", error.hint)
        if found:
            return found[1].split(", ")
    raise AssertionError(f"the code does not say what it knows of {text!r}")


def refused(text: str) -> str:
    """Return what is said against a text of config.toml; nothing if it is taken."""
    try:
        settings.load_settings(_HOME, text=text)
    except BadSetup as error:
        return error.message
    return ""


def agent_with(key: str, value: str, host: str) -> str:
    """Return the text of an agent's table with one key, and what its host needs besides."""
    given = {"host": f'"{host}"', "wake": '"work"'}
    given |= dict(line.split(" = ", 1) for line in _LEAST[host].splitlines())
    given |= {key: value} if key != "host" else {}
    return "[agents.x]\n" + "".join(f"{one} = {said}\n" for one, said in given.items())


def hosts_of(key: str) -> tuple[str, ...]:
    """Return the hosts for which a key of an agent has an effect."""
    example = AGENT[key].example
    return tuple(
        host for host in HOSTS if "has no effect" not in refused(agent_with(key, example, host))
    )


def bounds(key: str) -> tuple[str, str] | None:
    """Return from where to where a number may go; None if a key's value is none."""
    found = re.search(r"number from (\S+) to (\S+)\.", refused(f"[wake]\n{key} = -1\n"))
    return (found[1], found[2]) if found else None


def default_of(key: str) -> str:
    """Return what holds where a key is not set, as the code has it."""
    for kind in (rules.Limits, rules.Rules):
        for field in fields(kind):
            if field.name == _FIELD.get(key, key):
                value = field.default
                return f"`{str(value).lower() if isinstance(value, bool) else value}`"
    raise LookupError(key)


def table(said: dict[str, Key], without: Collection[str] = ()) -> str:
    """Return a table of Markdown for the keys of a file."""
    rows = ["| key | what it says | default | example |", "|---|---|---|---|"]
    for key in [key for key in said if key not in without]:
        one = said[key]
        what = one.what
        if one.unit and (within := bounds(key)):
            low, high = map(int, within)
            what = f"{what.removesuffix('.')}: {low:,} to {high:,} {one.unit}."
        if said is AGENT and (hosts := hosts_of(key)) != HOSTS:
            only = " and ".join(f"`{host}`" for host in hosts)
            what = f"With host {only}: {what[0].lower()}{what[1:]}"
        default = one.default or default_of(key)
        rows.append(f"| `{key}` | {what} | {default} | `{key} = {one.example}` |")
    return "\n".join(rows)


def variables() -> str:
    """Return the table of the environment variables."""
    rows = ["| variable | what it says | default | example |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {one.what} | {one.default} | `{one.example}` |"
        for name, one in VARIABLES.items()
    ]
    return "\n".join(rows)


def hosts_variables() -> str:
    """Return the list of the variables by which a host is known, the first that counts first."""
    known: dict[str, list[str]] = {}
    source = inspect.getsource(inspect.getmodule(host_of))
    for name in dict.fromkeys(re.findall(r'"([A-Z][A-Z_]+)"', source)):
        if (host := host_of({name: "1"})) != "shell" and not name.startswith("AGENTBUS_"):
            known.setdefault(host, []).append(f"`{name}`")
    return "\n".join(f"- {host}: {' or '.join(names)}" for host, names in known.items())


def variables_in_the_code() -> set[str]:
    """Return every variable of ours that the sources of the package, hooks and launchers name."""
    found: set[str] = set()
    folders = ("mcp_agentbus", "installers", "hooks", "monitors", "bin", ".claude-plugin")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in [*files, ROOT / ".mcp.json"]:
        if path.suffix in {".py", ".json", ".toml", ""}:
            found |= set(re.findall(r"\bAGENTBUS_[A-Z_]*[A-Z]\b", path.read_text()))
    return found


def tables_known() -> list[str]:
    """Return the tables that config.toml may have."""
    return _known("no-such-table = 1\n")


def sentences() -> set[str]:
    """Return what is said of keys that two files have, once in each file's table."""
    return {one.what.strip() for one in [*AGENT.values(), *FOLDER.values()]}


def said_by_the_code() -> str:
    """Return the text of the package with its sentences in one piece."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "mcp_agentbus").rglob("*.py")))
    return re.sub(r"\"\s*\n\s*f?\"", "", text)
