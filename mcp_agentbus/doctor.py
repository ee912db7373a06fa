# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor`: look at all that agentbus needs here, and say how to mend what is wrong.

    $ agentbus doctor
    ok  versions     agentbus 0.1.0, Python 3.12.3, mcp 2.3.0, nats-py 2.16.0
    --  server       not running; the first command or session that needs it starts it
                     Run `agentbus server start`.

Each check has a time limit, and one that fails is not known to be good. Nothing is changed unless
`--fix` is given; then what is agentbus's own alone, and never a host's file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from mcp_agentbus import (
    bus_checks,
    checks,
    config,
    embedded,
    host_checks,
    listener_checks,
    self_test,
)
from mcp_agentbus.checks import Check, State
from mcp_agentbus.config import Settings
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup

_T = TypeVar("_T")
Out = Callable[[str], None]

# All checks but the hooks' run side by side; with theirs it is less than 30 s.
_LIMIT_S: Final = 10.0
# A host starts node, and that starts us.
_HOST_LIMIT_S: Final = 18.0
# Its commands end before nobody waits for them any more.
_HOST_COMMANDS_S: Final = 16.0
_HOOKS_LIMIT_S: Final = 8.0
_MARKS: Final[Mapping[State, str]] = {"ok": "ok", "warning": "--", "wrong": "!!", "unknown": "??"}
_WORDS: Final[Mapping[State, str]] = {
    "ok": "ok",
    "warning": "with a warning",
    "wrong": "wrong",
    "unknown": "not known",
}
_COLOURS: Final[Mapping[State, str]] = {
    "ok": "green",
    "warning": "yellow",
    "wrong": "bold red",
    "unknown": "magenta",
}
# After a mended configuration more can be looked at, and so on; it ends by itself.
_ROUNDS: Final = 3
_SECRET_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_MIN_CHARS: Final = 8


def settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings for a look at them: the defaults if config.toml cannot be read."""
    try:
        return config.load(environ)
    except BadSetup:
        with suppress(BadSetup):
            return config.load(environ, text="")
        without = {name: value for name, value in environ.items() if name != "AGENTBUS_URL"}
        return replace(config.load(without, text=""), environ=dict(environ))


async def run(args: argparse.Namespace, given: Settings, out: Out) -> int:
    """Do what the arguments of `agentbus doctor` say; return the exit code.

    It is 0 if nothing is wrong or unknown, or the self-test came through, else 1.

    Args:
        args: json, fix, dry_run, self_test and wake.
        given: of `settings`.
        out: takes what is to be printed.

    Raises:
        BadInput: the arguments do not go together.
    """
    _check_arguments(args)
    show = _veiled(given, out)
    if args.self_test:
        return await self_test.run(given, wake=args.wake, as_json=args.json, out=show)
    found = await examine(given)
    done: list[dict[str, str]] = []
    if args.fix:
        found, done = await _mended(given, found, dry_run=args.dry_run)
    if args.json:
        data = [{one: getattr(check, one) for one in _FIELDS} for check in found]
        told: dict[str, object] = {"steps": done, "dry_run": args.dry_run} if args.fix else {}
        show(json.dumps({"ok": not _code(found), "checks": data, **told}, ensure_ascii=False))
    else:
        for line in (*(one["text"] for one in done), *_lines(found, fixing=bool(args.fix))):
            show(line)
    return _code(found)


_FIELDS: Final = ("name", "state", "said", "fix")


def _check_arguments(args: argparse.Namespace) -> None:
    if args.self_test and args.fix:
        raise BadInput("Either --fix or --self-test.", hint="Run --fix first.")
    if args.dry_run and not args.fix:
        raise BadInput("--dry-run is for --fix.", hint="Without --fix nothing is changed anyway.")
    if args.wake and not args.self_test:
        raise BadInput("--wake is for --self-test.", hint="Add --self-test.")


def _code(found: Iterable[Check]) -> int:
    return int(any(one.state in {"wrong", "unknown"} for one in found))


async def examine(given: Settings) -> list[Check]:
    """Make all checks; return what they found, in the order in which it is to be mended."""
    read = await _limited("config", _LIMIT_S, _in_thread(checks.configuration, given))
    config_check, loaded = read if isinstance(read, tuple) else (read[0], None)
    hosts = (
        _limited(name, _HOST_LIMIT_S, _in_thread(host_checks.host, given, name, _HOST_COMMANDS_S))
        for name in host_checks.HOSTS
    )
    some = await asyncio.gather(
        _limited("versions", _LIMIT_S, _in_thread(checks.versions)),
        _limited("nats-server", _LIMIT_S, _in_thread(checks.nats_server, loaded or given)),
        _with(config_check),
        _limited("files", _LIMIT_S, _in_thread(checks.files, loaded or given)),
        _needs(loaded, "server", bus_checks.bus),
        _limited("listener", _LIMIT_S, _in_thread(listener_checks.listener, loaded or given)),
        _needs(loaded, "agents", lambda usable: _in_thread(checks.agents, usable)),
        *hosts,
    )
    # Alone: it compares times.
    cost = await _limited("hooks", _HOOKS_LIMIT_S, _in_thread(host_checks.hooks, given))
    return [check for few in (*some, cost) for check in _several(few)]


def _several(found: Any) -> list[Check]:
    return [found] if isinstance(found, Check) else list(found)


async def _with(check: Check) -> list[Check]:
    return [check]


async def _needs(
    loaded: Settings | None, name: str, look: Callable[[Settings], Coroutine[Any, Any, Any]]
) -> Any:
    """Make a check that would look at something else without the user's configuration."""
    if loaded is None:
        fix = "Mend config.toml first."
        return [Check(name, "unknown", "not looked at, as config.toml cannot be read", fix)]
    return await _limited(name, _LIMIT_S, look(loaded))


async def _limited(name: str, limit_s: float, look: Awaitable[_T]) -> _T | list[Check]:
    """Return what a check found; that it is not known if it failed or took too long."""
    try:
        async with asyncio.timeout(limit_s):
            return await look
    except TimeoutError:
        said = f"no answer within {limit_s:.0f} s"
        return [Check(name, "unknown", said, "Try again when the machine is less busy.")]
    except AgentbusError as error:
        return [Check(name, "unknown", error.message, error.hint)]
    except Exception as error:  # noqa: BLE001  # a check's fault must not hide what others found
        # Not its text, which may hold anything.
        why = f"the check failed: {type(error).__name__}"
        if isinstance(error, OSError) and error.strerror:
            why += f" ({error.strerror})"
        return [Check(name, "unknown", why)]


async def _in_thread(work: Callable[..., _T], *given: Any) -> _T:
    """Run `work` aside. Unlike asyncio's own, its thread does not keep the process at its end."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if not outcome.done():
            outcome.set_exception(error) if error else outcome.set_result(value)

    def do() -> None:
        value, failed = None, None
        try:
            value = work(*given)
        except Exception as error:  # noqa: BLE001  # raised where it is awaited
            failed = error
        with suppress(RuntimeError):  # nobody waits for it any more
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=do, name="agentbus-check", daemon=True).start()
    return await outcome


async def _mended(
    given: Settings, found: list[Check], *, dry_run: bool
) -> tuple[list[Check], list[dict[str, str]]]:
    """Mend what can be mended safely; return what is found then, and what was done."""
    done: list[dict[str, str]] = []
    tried: set[str] = set()
    for _ in range(_ROUNDS):
        steps = [one.mend for one in found if one.mend and one.mend.what not in tried]
        if not steps:
            break
        for step in steps:
            if step.what in tried:
                continue
            tried.add(step.what)
            if dry_run:
                done.append({"step": step.what, "state": "would", "text": f"would: {step.what}"})
                continue
            try:
                said = await _in_thread(step.do)
                text = f"done: {step.what}" + (f" ({said})" if said else "")
                done.append({"step": step.what, "state": "done", "text": text})
            except AgentbusError as error:
                text = f"not done: {step.what}. {error.message} {error.hint}"
                done.append({"step": step.what, "state": "failed", "text": text})
        if dry_run:
            break
        given = await _in_thread(settings, given.environ)
        found = await examine(given)
    return found, done or [
        {"step": "", "state": "none", "text": "nothing that --fix mends is to be mended"}
    ]


def _lines(found: list[Check], *, fixing: bool) -> Iterable[str]:
    """Yield what is shown to a person."""
    found = host_checks.in_few_lines(found)
    width = max(len(one.name) for one in found)
    for one in found:
        yield f"{_painted(one.state)}  {one.name:{width}}  {_plain(one.said)}"
        if one.fix:
            yield f"{'':{width + 4}}  {_plain(one.fix)}"
    counts = {state: sum(one.state == state for one in found) for state in _MARKS}
    if counts["ok"] == len(found):
        yield f"All {len(found)} checks are ok."
        return
    said = ", ".join(f"{many} {_WORDS[state]}" for state, many in counts.items() if many)
    mends = {one.mend.what for one in found if one.mend}
    more = f" `agentbus doctor --fix` mends {len(mends)} of them." if mends and not fixing else ""
    yield f"{len(found)} checks: {said}.{more}"


def _plain(text: str) -> str:
    """Return one line without control characters, whatever a host's program has printed."""
    return "".join(one if one.isprintable() else " " for one in text)


def _painted(state: State) -> str:
    mark = _MARKS[state]
    if not sys.stdout.isatty():
        return mark
    from rich.console import Console  # only where a person looks

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(mark, style=_COLOURS[state], end="")
    return captured.get()


def _veiled(given: Settings, out: Out) -> Out:
    """Return an `out` that shows none of the secrets which checks may have come across.

    No check prints one; but a host's own words are passed on, and may hold anything.
    """
    secrets = {
        value
        for name, value in given.environ.items()
        if _SECRET_NAMES.search(name) and not value.startswith("/")  # a path is none
    }
    tokens = [embedded.Files(given.data_dir).token, given.token_file]
    tokens += [one.token_file for one in given.rules.values()]
    for file in tokens:
        with suppress(OSError, ValueError):
            if file:
                secrets |= {*file.read_text(errors="replace").split()}
    hidden = sorted((one for one in secrets if len(one) >= _SECRET_MIN_CHARS), key=len)

    def show(text: str) -> None:
        for one in reversed(hidden):
            text = text.replace(one, "***")
        out(text)

    return show
