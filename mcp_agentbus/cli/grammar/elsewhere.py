# SPDX-License-Identifier: Apache-2.0
"""What is typed for another bus, as it is typed here; docs/migrating.md has the same as a page.

And `agents` for `agent`.

    >>> here(["task", "publish", "--from", "main", "--to", "coder", "hello"])
    'agentbus send coder hello --no-body --agent main'

Loaded once something was refused, so it may take a word of ours that is wrong for another's. What
has no counterpart is left out of the line: nothing was done yet, and its reader sees it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from mcp_agentbus.core.ids import EVERYBODY

#: Of an option there, the one here.
_OPTIONS: Final = {
    "--agent-id": "--agent",
    "--from": "--agent",
    "--max": "--limit",
    "--consumer": "--cursor",
    "-f": "--follow",
}
_VALUES: Final = {
    "text/plain": "text",
    "text/markdown": "markdown",
    "application/json": "json",
    "broadcast": EVERYBODY,
}
_WITHOUT_VALUE: Final = frozenset(
    {"--watch", "--follow", "--json", "--tls", "--no-body", "--reset"}
)
_HOSTS: Final = {"cc": "claude-code", "openclaw": "openclaw"}
# Commands of `agent`: to `agents`, which lists, such a word is one to look for.
_OF_AGENT: Final = frozenset({"add", "remove", "wake", "wakes", "rename", "forget", "allow"})
_FOREIGN: Final = frozenset({"--to", "--subject", "--body", "--from", "--agent-id"})
# What names a server there, and whose that is.
_SERVERS: Final = {
    "--server-url": "the task bus agentbus 0.1",
    "--broker": "a broker of swarmbus",
    "--port": "a broker of swarmbus",
}
_SUBJECT_CHARS: Final = 200  # at most


class _Typed(NamedTuple):
    """What stands behind the words of a command."""

    words: Sequence[str]
    #: Each with its values, by its name here; that of one without is "".
    options: Mapping[str, Sequence[str]]
    #: Whether an option is one that no command here has.
    is_foreign: bool

    def line(self, command: str, *kept: str) -> str:
        """Return our line: what it begins with, and those of its options that are kept."""
        line = command
        for name in kept:
            for value in self.options.get(name, ()):
                lacks = "" if name in _WITHOUT_VALUE else name.lstrip("-").upper()
                line += f" {name} {shlex.quote(value) if value else lacks}".rstrip()
        return line

    def last(self, name: str) -> str:
        """Return the value of an option; empty if it was not given."""
        return next(reversed(self.options.get(name, ())), "")


def here(typed: Sequence[str]) -> str:
    """Return our line for what was typed after `agentbus`; empty if no other bus is known for it.

    What it lacks stands in capitals.
    """
    rest, server = _without_servers(typed)
    if server:
        return here(rest) or shlex.join(["agentbus", *rest])
    if typed[:1] == ["agents"] and not _OF_AGENT.isdisjoint(typed[1:2]):
        return shlex.join(["agentbus", "agent", *typed[1:]])
    words = _command(typed)
    line = _LINES[words](_behind(typed[len(words.split()) :])) if words else ""
    return f"agentbus {line}" if line else ""


def left_out(typed: Sequence[str]) -> str:
    """Return what that line lacks of what was typed, and why; empty if it is all there.

    The server of another bus is none for this one: it may be without TLS, and has other streams.
    """
    rest, server = _without_servers(typed)
    if server:
        return (
            f", without {server}: if that leads to {_SERVERS[server]}, it is no server of this "
            "one. A server of your own stands as url in [server] of config.toml, or for one "
            "command as AGENTBUS_URL=URL before it"
        )
    if rest[:1] == ["tail"] and "--reset" in rest:
        return ", without --reset: under a new NAME a cursor begins at the start"
    return ""


def _command(typed: Sequence[str]) -> str:
    """Return with which words of another bus it begins; empty if with none."""
    return next(
        (words for words in _LINES if list(typed[: len(words.split())]) == words.split()), ""
    )


def _without_servers(typed: Sequence[str]) -> tuple[list[str], str]:
    """Return what was typed without the options that name a server, and the first of them.

    A port names one only beside its broker, or behind a command that is known from there: much
    else has one.
    """
    cut = [*typed, "--"].index("--")
    named = _SERVERS.keys() & {word.partition("=")[0] for word in typed[:cut]}
    if "--broker" not in named and typed[:1] != ["doctor"] and not _command(typed):
        named -= {"--port"}
    rest: list[str] = []
    server, words = "", list(typed[:cut])
    while words:
        option, is_joined, value = words.pop(0).partition("=")
        if option not in named:
            rest.append(option + is_joined + value)
            continue
        server = server or option
        del words[: 0 if is_joined else 1]
    return [*rest, *typed[cut:]], server


def _behind(typed: Sequence[str]) -> _Typed:
    words: list[str] = []
    options: dict[str, list[str]] = {}
    rest = list(typed)
    while rest:
        word, is_joined, value = rest.pop(0).partition("=")
        if not word.startswith("--") and word not in _OPTIONS:
            words.append(word + is_joined + value)
            continue
        takes = word not in _WITHOUT_VALUE and not is_joined
        if takes and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        options.setdefault(_OPTIONS.get(word, word), []).append(_VALUES.get(value, value))
    is_foreign = not _FOREIGN.isdisjoint(word.partition("=")[0] for word in typed)
    return _Typed(words, options, is_foreign)


def _send(typed: _Typed) -> str:
    """Return the line that sends what is named by options there."""
    if not typed.is_foreign:
        return ""
    words = list(typed.words)
    to = ",".join(typed.options.get("--to", ())) or (words.pop(0) if words else "TO")
    subject = typed.last("--subject") or (words.pop(0) if words else "SUBJECT")
    # There it wants no answer; `send` would make it a task of each.
    verb, kept = ("tell", _TOLD) if to == EVERYBODY else ("send", _SENT)
    line = f"{verb} {shlex.quote(to)} {shlex.quote(subject)}"
    if not {"--body-file", "--no-body"} & set(typed.options):
        line += f" {shlex.quote(typed.last('--body') or ' '.join(words) or 'BODY')}"
    return typed.line(line, *kept)


def _publish(typed: _Typed) -> str:
    """Return the line that sends a text, which there is all there is; there its sender is `main`.

    Here it is a subject, or a body where it does not fit into one line of a list.
    """
    to = shlex.quote(",".join(typed.options.get("--to", ())) or "TO")
    content = " ".join(typed.words)
    if len(content) > _SUBJECT_CHARS or len(content.splitlines()) > 1:
        line = f"send {to} SUBJECT {shlex.quote(content)}"
    else:
        line = f"send {to} {shlex.quote(content or 'SUBJECT')} --no-body"
    by = "" if "--agent" in typed.options else " --agent main"
    return typed.line(line, *_SENT) + by


def _results(typed: _Typed) -> str:
    if "--watch" in typed.options:
        return typed.line("watch --follow", "--agent", "--json")
    return _INBOX(typed)


def _tail(typed: _Typed) -> str:
    """Return the line that prints what is new since the last one: there each reader has a cursor.

    One that begins anew does so here under another name.
    """
    name = "NAME" if "--reset" in typed.options else typed.last("--cursor") or "default"
    line = f"export --cursor {shlex.quote(name)}"
    return typed.line(line, "--agent", "--follow", "--json")


def _init(typed: _Typed) -> str:
    """Return the line that connects the host that is named, or all that are here."""
    host = _HOSTS.get(typed.last("--host-type"))
    if host is None and "--invoke" in typed.options:
        return _start(typed)
    return typed.line(f"install {host}", "--agent") if host else "setup"


def _start(typed: _Typed) -> str:
    """Return the line by which a task starts what is named, by its host if it is one of ours."""
    if "--invoke" not in typed.options:
        return "listen --install"
    agent, program = shlex.quote(typed.last("--agent") or "ID"), ["PROGRAM"]
    with suppress(ValueError):  # a quote stands open
        program = shlex.split(typed.last("--invoke")) or program
    names = [word.rpartition("/")[2] for word in program]
    if any("openclaw" in name for name in names):
        return f"agent add {agent} --host openclaw --wake work"
    if any("claude" in name for name in names):
        return f"agent add {agent} --host claude-code --dir FOLDER"
    return f"agent add {agent} --host command --dir FOLDER --wake work -- {shlex.join(program)}"


def _event(typed: _Typed) -> str:
    if "--to" in typed.options:
        return _publish(typed)
    return shlex.join(["events", "publish", *(typed.words[:2] or ["TOPIC"])])


def _subscribe(typed: _Typed) -> str:
    return shlex.join(["events", "subscribe", *typed.words[:1]])


def _as(line: str, *options: str, most: int = 0) -> Callable[[_Typed], str]:
    """Return what writes that line, with those of the options that were typed.

    Its limit is no more than `most`, which is all that it takes here; 0: it has none.
    """

    def limit(given: str) -> str:
        return str(most) if given.isdecimal() and int(given[:18]) > most else given

    def write(typed: _Typed) -> str:
        if not most:
            return typed.line(line, *options)
        limits = [limit(each) for each in typed.options.get("--limit", ())]
        limited = typed._replace(options={**typed.options, "--limit": limits})
        return limited.line(line, *options, "--limit")

    return write


_INBOX: Final = _as("inbox", "--agent", "--json", most=50)
_TOLD: Final = (
    "--agent", "--priority", "--task-type", "--content-type", "--body-file", "--json",
)  # fmt: skip
_SENT: Final = (
    "--agent", "--priority", "--reply-to", "--task-type", "--content-type", "--body-file",
    "--no-body", "--json",
)  # fmt: skip
#: By the words that it begins with. The last ones are typed by whoever tries.
_LINES: Final[Mapping[str, Callable[[_Typed], str]]] = {
    "task publish": _publish,
    "result get": _results,
    "send": _send,
    "init": _init,
    "mcp-server": _as("serve", "--agent"),
    "start": _start,
    "read": _INBOX,
    "tail": _tail,
    "list": _as("agents --online", "--json"),
    "history": _as("tasks", "--agent", "--json", most=100),
    "log": _as("audit", "--agent", "--follow", "--json", most=10_000),
    "peek": _as("inbox --peek", "--agent", "--json", most=50),
    "publish": _event,
    "subscribe": _subscribe,
}
