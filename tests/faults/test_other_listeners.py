# SPDX-License-Identifier: Apache-2.0
"""A command whose words meet a listener that does not do it; and one whose output meets nobody."""

import asyncio
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import forking
import pytest
import served
from listeners import false_listener, known, listening
from local_server import until

from mcp_agentbus.cli import main
from mcp_agentbus.core.feather import printer
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.listener import endpoint
from mcp_agentbus.listener.carried import order
from mcp_agentbus.relay.carried import command, words
from mcp_agentbus.version import __version__

SENT = ["send", "--agent", "coder", "planner", "Count"]


@pytest.fixture
def here(house, monkeypatch):
    """Commands are typed on that bus, and a listener has not long to take them."""
    for name, value in served.environ(house.data_dir.parent).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", 0.2)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":"The listener knows no such question.","hint":"Correct it."}\n',
        b'{"error":"This listener is agentbus 0.0.9.","hint":"Correct it."}\n',
        b"left 0\n", b"taken x\n", b"\xff\xff\n", b"x" * 1000, b"",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("here")
def test_what_another_listener_does_not_take_is_begun_by_nobody(house, answer):
    with false_listener(house, answer):
        begun = command.run([*SENT, "x"])

    assert isinstance(begun, command.Begun)
    assert (begun.failed, begun.hangs, begun.body, begun.changed) == (None, False, None, {})


@pytest.mark.usefixtures("here")
def test_what_a_listener_may_have_done_is_stored_once(capsys):
    """Its process goes on by the id that the listener had for it."""
    begun = command.Begun()
    main.main(["inbox", "--json", "--agent", "planner"])
    ran = [main.main([*SENT, "x", "--json"], begun=begun) for _ in "12"]
    _, *printed = capsys.readouterr().out.splitlines()
    one, again = (json.loads(line)["receipts"][0] for line in printed)

    assert ran == [0, 0]
    assert one["task_id"] == again["task_id"]
    assert (one["duplicate"], again["duplicate"]) == (False, True)


def killed(listener):
    raise command._Lost


def ends(listener):
    listener.close()


@pytest.fixture
async def typed(planner, monkeypatch, capfd):
    """Types a command whose listener goes before it says a certain word."""
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", served.ANSWER_WITHIN_S)
    for name, value in served.environ(planner.bus.settings.data_dir.parent).items():
        monkeypatch.setenv(name, value)
    frames = command._Listener.frames

    async def type_(argv, goes, before):
        def cut(listener):
            for kind, said in frames(listener):
                if kind == before:
                    goes(listener)
                    return
                yield kind, said

        monkeypatch.setattr(command._Listener, "frames", cut)
        async with listening(planner.bus.settings):
            done = await asyncio.to_thread(command.run, [*argv, "--json"])
        return done, capfd.readouterr().out

    return type_


AS_PLANNER = ["--agent", "planner"]


@pytest.mark.parametrize("goes", [killed, ends])
@pytest.mark.parametrize(
    ("before", "argv", "exit_code"),
    [
        ("reached", ["inbox", *AS_PLANNER], 0),
        ("reached", ["watch", "--timeout", "0", *AS_PLANNER], 4),
        ("reached", [*SENT, "x", "--wait", "0"], 4),
        ("end", ["inbox", *AS_PLANNER], 0),
        ("end", [*SENT, "x"], 0),
        ("end", ["agents"], 0),
        ("end", ["tasks", *AS_PLANNER], 0),
        ("end", ["search", "Count"], 0),
        ("end", ["parked", *AS_PLANNER], 0),
        ("end", ["status"], 0),
        ("end", ["result", "0" * 32, "completed", *AS_PLANNER], 1),
    ],
)
async def test_what_is_printed_to_its_end_is_not_done_again_by_whoever_would_go_on(
    typed, goes, before, argv, exit_code
):
    """Its listener may not have noted that this was seen: the next command shows it again."""
    done, printed = await typed(argv, goes, before)

    assert done == exit_code
    assert json.loads(printed)


@pytest.mark.usefixtures("here")
def test_what_cannot_be_printed_behind_its_last_text_is_no_success(house):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    said = [("changed", f"{printer.EXIT_CODE} 0"), ("say", "all"), ("complain", "It failed.")]
    answer = b"".join(words.frame(*each) for each in [("taken", ""), *said])
    with false_listener(house, answer):
        begun = command.run([*SENT, "x"], {"say": lambda _: None, "complain": full})

    assert begun.failed.errno == errno.ENOSPC


async def test_what_may_have_been_offered_again_is_not_said_to_be_unknown(typed, capfd):
    """It is parked no more once the listener has done that, and may have done so before its end."""
    argv = ["replay", "9", *AS_PLANNER]
    begun, printed = await typed(argv, killed, "say")
    code = await asyncio.to_thread(main.main, [*argv, "--json"], begun=begun)
    error = json.loads(capfd.readouterr().out)["error"]

    assert (printed, code, error["kind"]) == ("", 5, "Unconfirmed")
    assert "agentbus parked" in error["hint"]


def ended(house, argv, **streams):
    """Type it, as its process does; return how that ended."""
    process = forking.start(
        [*served.AGENTBUS, *argv], env=served.environ(house.data_dir.parent),
        stderr=subprocess.PIPE, **streams,
    )  # fmt: skip
    _, said = process.communicate(timeout=served.ANSWER_WITHIN_S)
    return process.returncode, said.decode()


async def test_where_nobody_reads_it_ends_without_a_word(planner):
    house = planner.bus.settings
    reading, writing = os.pipe()
    os.close(reading)
    async with listening(house):
        with os.fdopen(writing, "w") as nobody:
            gone = await asyncio.to_thread(ended, house, ["agents"], stdout=nobody)

    assert gone == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a device that is full")
async def test_where_there_is_no_room_for_its_answer_it_says_so(planner):
    house = planner.bus.settings
    async with listening(house):
        with os.fdopen(os.open("/dev/full", os.O_WRONLY), "w") as full:
            code, said = await asyncio.to_thread(ended, house, ["agents"], stdout=full)

    assert code == 7
    assert "agentbus: Standard output cannot be written: No space left on device." in said


def _is_full(pipe):
    waits = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(waits, sys.byteorder) > 60_000


async def test_more_than_a_socket_and_a_pipe_hold_is_printed_whole(planner):
    """What is piped in goes there, too."""
    house, text = planner.bus.settings, "é" * 30_000
    environ = served.environ(house.data_dir.parent)
    async with listening(house):
        for _ in range(5):
            ran = await asyncio.to_thread(
                subprocess.run, [*served.AGENTBUS, *SENT], input=text.encode(), env=environ,
                capture_output=True, check=False,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr
        argv = [*served.AGENTBUS, "inbox", "--json", "--agent", "planner"]
        with forking.start(argv, env=environ, stdout=subprocess.PIPE) as slow:
            await asyncio.to_thread(until, lambda: _is_full(slow.stdout), "nobody reads it")
            shown = json.loads(slow.stdout.read())

    assert [task["body"] for task in shown["tasks"]] == [text] * 5


def begun_by(argv):
    """Begin a command as its process would; return its connection once the listener has it."""
    listener = command._Listener()
    typed = command._typed([*argv], command.Begun())
    listener.call(words.request(__version__, typed.pack()))
    return listener, next(listener.frames())[0]


def failures(listener):
    return [line for line in listener.log if line["event"] == "failed"]


@pytest.mark.usefixtures("here")
async def test_a_listener_that_ends_begins_nothing_and_leaves_what_waits_for_its_text(
    house, monkeypatch
):
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", served.ANSWER_WITHIN_S)
    async with listening(house) as listener:
        waits, said = await asyncio.to_thread(begun_by, ["send", "coder", "s"])
        began = time.monotonic()
        await listener.end()
        ended_after_s = time.monotonic() - began
    left = waits._received()
    waits.close()

    assert (said, left) == ("read", b"")
    assert not failures(listener)
    assert ended_after_s < endpoint._CLOSE_TIMEOUT_S


async def test_a_listener_ends_without_a_word_before_whoever_reads_nothing(planner, monkeypatch):
    for name, value in served.environ(planner.bus.settings.data_dir.parent).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "_TAKES_WITHIN_S", served.ANSWER_WITHIN_S)
    await known(planner, "coder")
    for _ in range(10):
        await send_task(planner, "coder", "Count", "é" * 30_000)
    async with listening(planner.bus.settings) as listener:
        reads_nothing, said = await asyncio.to_thread(begun_by, ["export", "--json"])
        reads_nothing.send(words.frame("go"))
        await asyncio.to_thread(
            until, lambda: _is_full(reads_nothing._connection), "it says no more"
        )
        await listener.end()
    reads_nothing.close()

    assert said == "taken"
    assert not failures(listener)


async def test_whoever_goes_with_something_unread_has_gone_as_any_other():
    """The system says then that the connection was reset, and not that it has ended."""
    reader = asyncio.StreamReader()
    reader.set_exception(ConnectionResetError())
    gone = SimpleNamespace(connection=SimpleNamespace(reader=reader), heard=asyncio.Queue())

    assert await order.hear(gone) is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_whoever_reads_slowly_has_each_step_once_though_its_listener_ends(planner, how):
    """Most of them lie in the listener until then."""
    house = planner.bus.settings
    await known(planner, "coder")
    sent = [(await send_task(planner, "coder", "Count", "é" * 30_000))[0] for _ in range(10)]
    argv = [*served.AGENTBUS, "export", "--json", "--cursor", how.name]
    async with listening(house) as listener:
        environ = served.environ(house.data_dir.parent)
        with forking.start(argv, env=environ, stdout=subprocess.PIPE) as slow:
            await asyncio.to_thread(until, lambda: _is_full(slow.stdout), "nobody reads it")
            await listener.end(how)
            steps = [json.loads(line) for line in await asyncio.to_thread(slow.stdout.readlines)]

    assert slow.returncode == 0
    assert [step["task"]["task_id"] for step in steps] == [receipt.task_id for receipt in sent]
