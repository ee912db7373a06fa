# SPDX-License-Identifier: Apache-2.0
"""The ways in which an agent speaks to the bus, all real processes: MCP over stdio, shell, Python.

    >>> voice = Mcp("ana", place)
    >>> await voice.start()
    >>> await voice.call("read_inbox", limit=5)
    Answer(outcome='stored', tasks=[Item(task='9d0c...', ...)], ...)

What a call came to is one of three words: `stored` (it did its work), `refused` (it changed nothing,
and asking again will not help), `unknown` (it may be done, or may be asked again).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from place import Place

ROOT = Path(__file__).parents[2]
_WORKER = ROOT / "tests/support/worker.py"
#: Only a call that nobody will ever answer takes as long; `watch_inbox` gets its own time besides.
ANSWER_WITHIN_S = 60.0
#: A host kills a session that needs 2 s to end; two cores may be busy with something else.
ENDS_WITHIN_S = 20.0
# As `served.living`: this one serves itself, beside whatever listener there is.
# Its models send more in a minute than sessions may.
_UNLIMITED = "from mcp_agentbus.handoff.dispatch import rate; rate.SENT_A_MINUTE = 10**9; "
_ALONE = (
    f"import sys; {_UNLIMITED}from mcp_agentbus.relay import session; "
    "session._Listener.asked = classmethod(lambda *_: None); "
    "from mcp_agentbus import __main__ as agentbus; sys.exit(agentbus.main())"
)
AGENTBUS = [sys.executable, "-m", "mcp_agentbus"]
# The listener, which serves sessions; whatever else is started is as users start it.
_LISTENING = (
    f"import sys; {_UNLIMITED}from mcp_agentbus import __main__ as agentbus; "
    "sys.exit(agentbus.main())"
)
LISTEN = [sys.executable, "-c", _LISTENING, "listen"]
# What `tests/support/worker.py` calls the tools.
_PYTHONS = {
    "send_task": "post",
    "read_inbox": "read",
    "watch_inbox": "watch",
    "publish_result": "publish",
}
# What the errors say in which asking again is no use, see `errors`.
_FINAL = (
    "is over:", "did not claim it", "hand-offs", "taken over", "sent no task", "is registered",
    "was used for another", "takes no more", "neither sent nor received", "held by",
    "Only the addressee", "was sent by another", "has asked nothing",
)  # fmt: skip
# What a command is said to have done that printed two answers: it was done twice.
_TWICE = "More than one answer was printed."
_BUG = ("which is a bug", "That is a bug", "Traceback (most recent call last)", _TWICE)
_LINE_MAX_BYTES = 16 << 20
# As `actors.reply_to` writes it.
_REPLY = re.compile(r"reply-([0-9a-f]+)-\w+")


class Gone(Exception):
    """The process ended before it had answered."""


class Refused(Gone):
    """It said why it cannot begin, and ended."""


@dataclass(frozen=True)
class Item:
    """A task in an answer."""

    task: str
    attempt: int
    new: bool


@dataclass(frozen=True)
class Answer:
    """What a call brought."""

    outcome: str
    text: str = ""
    task: str = ""
    items: tuple[Item, ...] = ()
    #: What became of sent tasks: their ids and states.
    results: tuple[tuple[str, str], ...] = ()
    #: The inbox said that it could be read as a whole.
    whole: bool = False
    #: What was sent is on its sender's machine, and not yet at the bus.
    is_here: bool = False

    @property
    def replies(self) -> set[tuple[str, str]]:
        """The tokens of replies to questions that it has, each with its task."""
        return {(found[0], found[1]) for found in _REPLY.finditer(self.text)}

    @property
    def is_bug(self) -> bool:
        """Whether it says that it is one, or shows a traceback."""
        return any(word in self.text for word in _BUG)


def _failed(text: str) -> Answer:
    return Answer("refused" if any(word in text for word in _FINAL) else "unknown", text)


def _read(document: dict, text: str = "") -> Answer:
    """Return what the data of an answer says, from whichever tool it is."""
    receipts = document.get("receipts") or [{}]
    return Answer(
        "stored",
        text,
        receipts[0].get("task_id", ""),
        tuple(
            Item(item["task_id"], item["attempt"], item["new"])
            for item in document.get("tasks", ())
        ),
        tuple((result["task_id"], result["state"]) for result in document.get("results", ())),
        document.get("inbox") == "ok",
        receipts[0].get("state") == "stored_here",
    )


class Voice:
    """One session of an agent, process after process."""

    def __init__(self, name: str, agent: str, place: Place) -> None:
        self.name, self.agent, self._place = name, agent, place
        self._lives = itertools.count(1)
        self.session = f"{name}#0{place.mark}"
        self.process: asyncio.subprocess.Process | None = None

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Begin a session of a process of its own."""
        self.session = f"{self.name}#{next(self._lives)}{self._place.mark}"
        with self._place.log(self.session) as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._argv(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._place.environ,
                limit=_LINE_MAX_BYTES,
            )

    def _argv(self) -> list[str]:
        raise NotImplementedError

    @property
    def said(self) -> str:
        """The end of what its process has said of what is wrong."""
        log = self._place.logs / f"{self.session}.err"
        return log.read_text(errors="replace")[-400:] if log.exists() else ""

    async def call(self, tool: str, **arguments) -> Answer:
        """Ask for one of the tools.

        Raises:
            Gone: the process has ended.
            TimeoutError: nobody answered.
        """
        raise NotImplementedError

    async def end(self) -> bool:
        """End its input, as a host does; tell whether it then ended in time."""
        self.process.stdin.close()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """Kill -9, stopped or not."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    async def _line(self) -> dict:
        try:
            line = await self.process.stdout.readline()
        except (ConnectionError, ValueError) as error:
            raise Gone from error
        if not line:
            raise Gone
        return json.loads(line)

    async def _write(self, message: dict) -> None:
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            await self.process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise Gone from error


class Mcp(Voice):
    """A host's session, relayed through the listener where one runs, or `alone`."""

    def __init__(self, name: str, agent: str, place: Place, *, alone: bool = False) -> None:
        super().__init__(name, agent, place)
        self._alone = alone
        self._numbers = itertools.count(1)

    def _argv(self) -> list[str]:
        program = [sys.executable, "-c", _ALONE] if self._alone else AGENTBUS
        return [*program, "serve", "--agent", self.agent]

    async def start(self) -> None:
        await super().start()
        about = {"name": "soak", "version": "1"}
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about}
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await self._ask("initialize", hello)
            await self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def call(self, tool: str, **arguments) -> Answer:
        within_s = ANSWER_WITHIN_S + arguments.get("timeout_s", 0)
        async with asyncio.timeout(within_s):
            answer = await self._ask("tools/call", {"name": tool, "arguments": arguments})
        if "error" in answer:
            return Answer("unknown", json.dumps(answer["error"]))
        result = answer["result"]
        text = "\n".join(part["text"] for part in result["content"])
        if result.get("isError"):
            return _failed(text)
        data = result.get("structuredContent") or (result.get("_meta") or {}).get("agentbus/inbox")
        return _read(data or {}, text)

    async def _ask(self, method: str, params: dict) -> dict:
        number = next(self._numbers)
        await self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        while (message := await self._line()).get("id") != number:
            pass
        return message


class Python(Voice):
    """A program that uses the package: `tests/support/worker.py`."""

    def _argv(self) -> list[str]:
        return [sys.executable, str(_WORKER), self.agent, "{}"]

    async def start(self) -> None:
        await super().start()
        async with asyncio.timeout(ANSWER_WITHIN_S):
            if "error" in await self._line():
                raise Refused

    async def call(self, tool: str, **arguments) -> Answer:
        async with asyncio.timeout(ANSWER_WITHIN_S + arguments.get("timeout_s", 0)):
            await self._write({"do": _PYTHONS[tool], **arguments})
            said = await self._line()
        if "error" in said:
            return _failed(said["message"])
        items = zip(said.get("tasks", ()), said.get("attempts", ()), strict=True)
        return Answer(
            "stored",
            json.dumps(said),
            (said.get("receipts") or [{}])[0].get("task_id", ""),
            tuple(Item(task, attempt, new=False) for task, attempt in items),
            tuple((task, state) for task, state in said.get("results", ())),
        )


class Shell(Voice):
    """Commands typed one after the other: a session without a process."""

    def __init__(self, name: str, agent: str, place: Place) -> None:
        super().__init__(name, agent, place)
        self.session = f"shell:{agent}{place.mark}"

    @property
    def alive(self) -> bool:
        return True

    async def start(self) -> None:
        """Nothing is needed."""

    async def end(self) -> bool:
        """There is nobody to end."""
        return True

    async def call(self, tool: str, **arguments) -> Answer:
        argv = _typed(tool, arguments)
        within_s = ANSWER_WITHIN_S + arguments.get("timeout_s", 0)
        code, out, err = await typed(
            self._place, *argv, "--json", "--agent", self.agent, within_s=within_s, who=self.agent
        )
        if code not in {0, 4} and code >= 0:
            return _failed(out + err)  # with --json an error is on standard output
        try:
            documents = list(_documents(out))
        except ValueError:
            raise Gone from None
        if code < 0 and not documents:  # what one that was killed has printed was seen
            raise Gone
        if len(documents) > 1:
            err += _TWICE
        merged = {key: value for document in documents for key, value in document.items()}
        if "error" in merged:  # one that was killed has no exit code that tells
            return _failed(out + err)
        return _read(merged, out + err)


def _typed(tool: str, given: dict) -> list[str]:
    """Return how a tool's call is typed."""
    options = []
    for name, option in (
        ("priority", "--priority"), ("request_id", "--request-id"), ("limit", "--limit"),
        ("expires_in_s", "--expires-in"), ("deliver_in_s", "--deliver-in"),
        ("timeout_s", "--timeout"), ("summary", "--summary"), ("in_reply_to", "--in-reply-to"),
    ):  # fmt: skip
        if given.get(name) is not None:
            options += [option, str(given[name])]
    match tool:
        case "send_task":
            return ["send", given["to"], given["subject"], given["body"], *options]
        case "read_inbox":
            return ["inbox", *options]
        case "watch_inbox":
            return ["watch", *options]
        case _:
            return ["result", given["task_id"], given["status"], *options]


def _documents(out: str):
    decoder, at = json.JSONDecoder(), 0
    while at < len(out.rstrip()):
        document, at = decoder.raw_decode(out, at)
        yield document
        at += 1


async def typed(
    place: Place,
    *argv: str,
    within_s: float = ANSWER_WITHIN_S,
    given: str | None = None,
    who: str = "",
):
    """Run `agentbus ARGV`, which is given a text; return its exit code and what it printed.

    By `who` its clock is known, see `clocks`.

    Raises:
        TimeoutError: it did not end, and was killed.
    """
    process = await asyncio.create_subprocess_exec(
        *AGENTBUS, *argv,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**place.environ, "SOAK_CLOCK": who},
    )  # fmt: skip
    place.commands.add(process)
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate(given and given.encode())
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    finally:
        place.commands.discard(process)
    return process.returncode, out.decode(), err.decode()
