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
from typing import Final, NamedTuple

#: Of an option there, the one here.
_OPTIONS: Final = {
    "--agent-id": "--agent",
    "--from": "--agent",
    "--max": "--limit",
    "--consumer": "--cursor",
}
_VALUES: Final = {
    "text/plain": "text",
    "text/markdown": "markdown",
    "application/json": "json",
    "broadcast": "all",
}
_WITHOUT_VALUE: Final = frozenset({"--watch", "--follow", "--json", "--tls", "--no-body"})
_HOSTS: Final = {"cc": "claude-code", "openclaw": "openclaw"}
# Commands of `agent`: to `agents`, which lists, such a word is one to look for.
_OF_AGENT: Final = frozenset({"add", "remove", "wake", "wakes", "rename", "forget", "allow"})
_FOREIGN: Final = frozenset({"--to", "--subject", "--body", "--from", "--agent-id"})


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
    rest = _without_server(typed)
    if len(rest) < len(typed):
        return here(rest) or shlex.join(["agentbus", *rest])
    if typed[:1] == ["agents"] and not _OF_AGENT.isdisjoint(typed[1:2]):
        return shlex.join(["agentbus", "agent", *typed[1:]])
    for words, ours in _LINES.items():
        count = len(words.split())
        if list(typed[:count]) == words.split():
            line = ours(_behind(typed[count:]))
            return f"agentbus {line}" if line else ""
    return ""


def left_out(typed: Sequence[str]) -> str:
    """Return why that line has no server though one was typed; empty if none was.

    The one of another bus is no server for this one: it may be without TLS, and has other streams.
    """
    if len(_without_server(typed)) == len(typed):
        return ""
    return (
        ", without --server-url: if that leads to the task bus agentbus 0.1, it is no server of "
        "this one. A server of your own stands as url in [server] of config.toml, or for one "
        "command as AGENTBUS_URL=URL before it"
    )


def _without_server(typed: Sequence[str]) -> list[str]:
    for at, word in enumerate(typed):
        option, is_joined, _ = word.partition("=")
        if option == "--server-url":
            return [*typed[:at], *typed[at + (1 if is_joined else 2) :]]
    return list(typed)


def _behind(typed: Sequence[str]) -> _Typed:
    words: list[str] = []
    options: dict[str, list[str]] = {}
    rest = list(typed)
    while rest:
        word, is_joined, value = rest.pop(0).partition("=")
        if not word.startswith("--"):
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
    line = f"send {shlex.quote(to)} {shlex.quote(subject)}"
    if not {"--body-file", "--no-body"} & set(typed.options):
        line += f" {shlex.quote(typed.last('--body') or ' '.join(words) or 'BODY')}"
    return typed.line(line, *_SENT)


def _publish(typed: _Typed) -> str:
    """Return the line that sends a text, which is a subject here; there its sender is `main`."""
    to = ",".join(typed.options.get("--to", ())) or "TO"
    line = f"send {shlex.quote(to)} {shlex.quote(' '.join(typed.words) or 'SUBJECT')} --no-body"
    by = "" if "--agent" in typed.options else " --agent main"
    return typed.line(line, *_SENT) + by


def _results(typed: _Typed) -> str:
    if "--watch" in typed.options:
        return typed.line("watch --follow", "--agent", "--json")
    return typed.line("inbox", "--agent", "--limit", "--json")


def _init(typed: _Typed) -> str:
    """Return the line that connects the host that is named, or all that are here."""
    host = _HOSTS.get(typed.last("--host-type"))
    return typed.line(f"install {host}", "--agent") if host else "setup"


def _start(typed: _Typed) -> str:
    if "--invoke" not in typed.options:
        return "listen --install"
    agent = shlex.quote(typed.last("--agent") or "ID")
    if "openclaw" in typed.last("--invoke"):
        return f"agent add {agent} --host openclaw --wake work"
    return f"agent add {agent} --host claude-code --dir FOLDER"


def _event(typed: _Typed) -> str:
    if "--to" in typed.options:
        return _publish(typed)
    return shlex.join(["events", "publish", *(typed.words[:2] or ["TOPIC"])])


def _subscribe(typed: _Typed) -> str:
    return shlex.join(["events", "subscribe", *typed.words[:1]])


def _as(line: str, *options: str) -> Callable[[_Typed], str]:
    """Return what writes that line, with those of the options that were typed."""

    def write(typed: _Typed) -> str:
        return typed.line(line, *options)

    return write


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
    "read": _as("inbox", "--limit", "--agent", "--json"),
    "tail": _as("export", "--cursor", "--agent", "--follow", "--json"),
    "list": _as("agents --online", "--json"),
    "history": _as("tasks", "--agent", "--limit", "--json"),
    "log": _as("audit", "--agent", "--limit", "--follow", "--json"),
    "peek": _as("inbox --peek", "--agent", "--limit", "--json"),
    "publish": _event,
    "subscribe": _subscribe,
}
