# SPDX-License-Identifier: Apache-2.0
"""`agentbus join` and `agentbus leave`, as typed.

    $ agentbus join
    Paste the line of `agentbus server invite` (it is not shown):
    You are the account laptop of bus.example.org:4222; its gate answers in 3 ms. ...
    All 16 checks are ok.
    The task came through, and its result came back. ...

A line is a secret until it is used, so it is no argument: those are in the list of processes and in
the shell's history.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.address import starting_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli.account import unseen_line
from mcp_agentbus.cli.output import agreed, beforehand, show
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core.feather.printer import say, tell
from mcp_agentbus.core.text import from_json, many
from mcp_agentbus.doctor import listener
from mcp_agentbus.doctor.stored import claims
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.shared.membership import invitation
from mcp_agentbus.shared.membership.join import Joined, join
from mcp_agentbus.shared.membership.leave import Left, leave
from mcp_agentbus.shared.membership.place import JoinedFolder
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.outbox.outbox import read_outbox
from mcp_agentbus.store.outbox.own import own_server
from mcp_agentbus.store.subjects import AGENTS

_PROMPT: Final = "Paste the line of `agentbus server invite` (it is not shown): "
#: Of a line that was typed where others see it.
SEEN: Final = BadInput(
    "The line of an invitation is a secret, and no argument: it was in the list of processes, and "
    "is now in your shell's history. Nothing was done.",
    hint="Have it revoked by whoever gave it to you, and get another. Then run `agentbus join` "
    "alone: it asks for the line.",
)
# Of those that are on the bus of before.
_NAMED_MAX: Final = 8
_SESSIONS: Final = (
    "Start the open sessions of your hosts, and workers, anew: what they hold is on the bus of "
    "before."
)


def run(args: argparse.Namespace) -> int:
    """Become an account, and see that all works; return the exit code, which is 1 if not.

    Raises:
        BadInput: the line is none, or was typed as an argument; and as `join`.
    """
    if args.words:
        raise BadInput(
            "`agentbus join` takes no words: it asks for the line. Nothing was done.",
            hint="Run `agentbus join`, or pipe the line into it.",
        )
    settings = load_settings()
    line = invitation.decode(unseen_line.asked(_PROMPT, invitation.CHARS_MAX))
    joined = asyncio.run(join(settings, line))
    if not args.json:
        tell(_text(joined))
    listens = _listener(joined.settings)
    own = _own_server_ended(joined.settings)
    if not args.json:
        tell(" ".join(filter(None, (listens, own, _SESSIONS))))
    code, looked = asyncio.run(_looked(joined.settings, as_json=args.json))
    if args.json:
        show(args, "", {**_data(joined), "listener": listens, "own_server": own, **looked})
    elif code:
        tell(
            f"You are the account {joined.account}, but not all is well: do what is said above, "
            "then run `agentbus doctor --self-test`."
        )
    else:
        tell(
            "All is well. Who is there: agentbus agents. To be no account any more: agentbus leave"
        )
    return code


def run_leave(args: argparse.Namespace) -> int:
    """Be no account any more; return the exit code.

    Raises:
        BadInput: this user is none, or nobody is there to be asked; and as `leave`.
    """
    settings = load_settings()
    # A join that was killed has come this far, and not to config.toml.
    kept_here = JoinedFolder(settings).record()
    account = kept_here.account if kept_here else settings.account
    kept = asyncio.run(read_outbox(settings))
    held = asyncio.run(claims.of_shells(settings)) if settings.account else {}
    lines = _before_leaving(account, len(kept), held, give_back=args.give_back)
    with beforehand():
        for line in () if args.json else lines:
            tell(line)
    if account and not agreed(args, "Leave?"):
        say("Nothing was done.")
        return 0
    left = asyncio.run(leave(settings, give_back=args.give_back))
    listens = _listener(left.settings)
    show(args, _left(left, listens), {**_left_data(left, listens), "outbox": len(kept)})
    return int(not left.told)


def _before_leaving(
    account: str | None, kept: int, held: Mapping[str, int], *, give_back: bool
) -> Iterator[str]:
    """Yield what is told to whoever is about to leave."""
    if account:
        waits = "ends as rejected" if give_back else "waits there, until you join again"
        yield (
            f"You are the account {account}. What waits for its agents {waits}; what they hold of "
            "a role goes to others who have it; its key goes, and config.toml says again what it "
            "did before."
        )
    for agent, count in held.items():
        rejected = "which ends as rejected" if count == 1 else "which end as rejected"
        becomes = rejected if give_back else "which nobody ends then"
        yield (
            f"{agent} holds {many(count, 'task')} in a shell, {becomes}: "
            f"`agentbus inbox --agent {agent}` shows what."
        )
    if kept:
        yield (
            f"{many(kept, 'task')} stored here and not yet at the bus: kept, and handed on "
            "only once you are an account of it again."
        )


def _text(joined: Joined) -> str:
    again = "again " if joined.was_joined else ""
    where = ", ".join(url.partition("//")[2] for url in joined.urls)
    said = f"You are {again}the account {joined.account} of {where}; its gate answers in "
    said += f"{joined.gate_ms:.0f} ms. Its key is in {joined.settings.nkey_file}."
    if joined.before.get("url"):
        said += " What config.toml named before is kept: agentbus leave brings it back."
    elif not joined.was_joined:
        said += " What your own server holds stays there: agentbus leave brings it back."
    return said


def _data(joined: Joined) -> dict[str, Any]:
    return {
        "account": joined.account,
        "urls": list(joined.urls),
        "was_joined": joined.was_joined,
        "gate_ms": joined.gate_ms,
        "config": str(joined.settings.config_file),
        "nkey_file": str(joined.settings.nkey_file),
    }


def _listener(settings: Settings) -> str:
    """Have the listener that runs be one of this bus; say so."""
    try:
        renewed = listener.moved(settings)
    except AgentbusError as error:
        return f"The listener could not be started anew: {error.message} {error.hint}"
    return f"Started anew: {renewed}." if renewed else ""


def _own_server_ended(settings: Settings) -> str:
    """Stop the server that was the bus before, unless somebody needs it still; say so.

    A session would start it again, and the result of a worker wait for ever.
    """
    own = own_server(settings)
    try:
        there = asyncio.run(_at_work(own))
        ended = not there and embedded.end(own)
    except AgentbusError as error:
        return f"Your own server runs still: {error.message} {error.hint}"
    if there:
        return (
            f"Your own server runs still: sessions or workers of {_named(there)} may be at work "
            "there. Once they are started anew: agentbus server stop"
        )
    return "Your own server was stopped." if ended else ""


async def _at_work(own: Settings) -> list[str]:
    """Return the agents that may have a session or a worker on a server that runs."""
    if not await asyncio.to_thread(embedded.find, own):
        return []
    with starting_no_server():
        async with Bus(own) as bus:
            if AGENTS not in ((await bus.api("STREAM.NAMES"))["streams"] or ()):
                return []
            await streams.ensure_streams(bus)  # that of signs of life is gone with a server's end
            everybody = await roster.everybody(bus)
    return [each.id for each in everybody if each.state in {"live session", "not known"}]


def _named(agents: Sequence[str]) -> str:
    more = len(agents) - _NAMED_MAX
    return ", ".join(agents[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


async def _looked(settings: Settings, *, as_json: bool) -> tuple[int, dict[str, Any]]:
    """Tell what doctor and its self-test tell that is not as it should be, and how they end.

    Return the code, and the data of both.
    """
    from mcp_agentbus.doctor.run import run

    printed: list[str] = []
    out = printed.append if as_json else tell
    failed = await run(settings, out, as_json=as_json, faults_only=True)
    looked = {"checks": from_json(printed.pop())["checks"]} if as_json else {}
    tested = await run(settings, out, as_json=as_json, self_test=True, faults_only=True)
    if as_json:
        looked["self_test"] = from_json(printed.pop())
    return failed or tested, looked


def _left(left: Left, listens: str) -> str:
    lines = [f"You are the account {left.account} no more."]
    if not left.told:
        lines = [
            f"You are the account {left.account} no more on this machine.",
            f"The server was not told: {left.why_not}.",
            f"Have whoever runs it remove it there: agentbus server remove {left.account}.",
        ]
    here = left.settings.url or "your own server"
    return " ".join(filter(None, (*lines, f"The bus is {here} again.", listens, _SESSIONS)))


def _left_data(left: Left, listens: str) -> dict[str, Any]:
    return {
        "account": left.account,
        "told": left.told,
        "why_not": left.why_not,
        "url": left.settings.url,
        "listener": listens,
    }
