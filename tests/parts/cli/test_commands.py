# SPDX-License-Identifier: Apache-2.0
"""The command line's two tables, what can be typed and who does it; and what is printed."""

import argparse
import fcntl
import inspect
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import package_copy
import pytest

from mcp_agentbus.cli import completion, output, rooms, tasks
from mcp_agentbus.cli.main import COMMANDS
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.config.rules import MEANS
from mcp_agentbus.core import hosts
from mcp_agentbus.core.feather import typed
from mcp_agentbus.errors import BadInput, BusUnreachable, NoListener
from mcp_agentbus.handoff.inbox import WATCH_MAX_S
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.carried.command import Begun
from mcp_agentbus.store.task import DELIVER_MAX_S, EXPIRES_MAX_S


def declared():
    [commands] = parser()._subparsers._group_actions
    return set(commands.choices)


def test_every_command_that_can_be_typed_is_done_by_somebody_and_the_other_way_round():
    assert declared() == set(COMMANDS)


def _told(command):
    """Return all that a parser takes and says of it, and so of the commands below it."""
    below = command._subparsers._group_actions[0].choices if command._subparsers else {}
    attributes = [
        getattr(command, name)
        for name in ("text_option", "needs_each_word", "takes_program", "takes_words")
    ]
    actions = re.sub(r" at 0x\w+", "", repr(command._actions))
    own = (type(command), command.format_help(), command._defaults, attributes, actions)
    return own, {name: _told(each) for name, each in below.items()}


def test_a_command_is_declared_alone_as_it_is_among_all():
    _, among_all = _told(parser())
    alone = {name: _told(parser(only=name))[1] for name in COMMANDS}

    assert alone == {name: {name: among_all[name]} for name in COMMANDS}


def _typed_into(command):
    """Yield each argument of a command, and of those below it, by its metavar."""
    for action in command._actions:
        yield action.metavar or action.dest.upper(), action
    for each in (
        command._subparsers._group_actions[0].choices.values() if command._subparsers else ()
    ):
        yield from _typed_into(each)


# By metavar; None is whatever agents a listener knows.
OFFERED = dict.fromkeys(("ID", "AGENT", "FROM", "TO", "OLD")) | {
    "X": None, "HOST": hosts.CONNECTED, "H": hosts.WOKEN, "P": MEANS,
}  # fmt: skip


def test_the_tab_key_offers_agents_hosts_and_profiles_wherever_one_belongs(monkeypatch):
    monkeypatch.setattr("mcp_agentbus.cli.completion.agents", lambda **_: ["coder"])
    typed = [
        (metavar, action)
        for metavar, action in _typed_into(parser())
        if metavar in OFFERED and not action.choices
        if action.dest not in {"thread", "request_id", "name"}
    ]

    assert {metavar for metavar, _ in typed} == set(OFFERED)
    for metavar, action in typed:
        completer = getattr(action, "completer", None)
        assert completer, action
        assert completer() == list(OFFERED[metavar] or ["coder"])


def test_the_tab_key_offers_tasks_wherever_one_belongs_and_no_id_that_a_peer_has_chosen(
    monkeypatch,
):
    own = f"{7:032x}"
    shown = json.dumps({"tasks": [{"task_id": own}, {"task_id": "Run.it"}]})
    monkeypatch.setattr(completion.command, "run", lambda _, shows: shows["say"](shown))
    typed = [action for metavar, action in _typed_into(parser()) if metavar == "TASK"]
    typed = [action for action in typed if action.dest != "only"]  # which a listener types

    assert len(typed) == 10
    for action in typed:
        assert [action.completer(prefix=each) for each in ("", own[:12])] == [[own[:8]], [own[:12]]]


def test_where_nothing_is_offered_bash_has_no_files_instead():
    words = "COMP_WORDS=({}); COMP_CWORD=$(({} - 1)); COMPREPLY=(); _agentbus agentbus"
    asked = (["agentbus", "task", ""], ["agentbus", "work", "--", ""])
    typed = (words.format(" ".join(map(repr, each)), len(each)) for each in asked)
    # What only a shell has at a terminal: it tells what it was asked.
    script = f"{completion.script('bash')}\n_python_argcomplete() {{ :; }}\n"
    script += "compopt() { echo compopt $*; }\n" + "; echo -; ".join(typed)

    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)

    assert told.stdout == "compopt +o default +o bashdefault\n-\n"


@pytest.mark.parametrize("doer", sorted(set(COMMANDS.values())), ids=":".join)
def test_who_does_a_command_takes_what_was_parsed_and_returns_at_its_end(doer):
    module, name = doer
    function = getattr(import_module(f"mcp_agentbus.{module}"), name)

    assert list(inspect.signature(function).parameters) == ["args"]
    assert not inspect.iscoroutinefunction(function)


@pytest.mark.parametrize("argv", [["--version"], ["install", "--help"], ["agents"]])
def test_until_a_command_is_known_only_the_least_is_loaded(tmp_path, argv):
    """Without any library, since the copy is run without them."""
    package = package_copy.copy(tmp_path)
    code = (
        "import sys\n"
        "from mcp_agentbus.cli import main, tasks\n"
        "tasks._here = lambda args: 0\n"  # no listener is there, and no library for a bus
        "try:\n"
        f"    main.main({argv!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'asyncio', 'pathlib', 'dataclasses', 'subprocess', 'inspect'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    printed = package_copy.run(package, "-S", "-c", code, AGENTBUS_HOME=str(tmp_path))

    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("argv", "option", "seconds"),
    [
        ("send c s b --expires-in 2d --deliver-in 90m", "expires_in", 172_800),
        ("send c s b --expires-in 2d --deliver-in 90m", "deliver_in", 5_400),
        ("send c s b --wait 1h", "wait", 3_600),
        ("watch --timeout 2m", "timeout", 120),
        ("agent add x --time-limit 20m", "time_limit", 1_200),
    ],
)
def test_a_duration_may_have_units(argv, option, seconds):
    assert getattr(parser().parse_args(argv.split()), option) == seconds


def test_the_limits_that_are_typed_are_those_of_the_bus():
    typed = parser().parse_args(["watch", "--timeout", str(WATCH_MAX_S)])
    [most] = {EXPIRES_MAX_S, DELIVER_MAX_S}

    assert typed.timeout == WATCH_MAX_S
    assert parser().parse_args(f"send c s b --expires-in {most}".split()).expires_in == most


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("send", "coder", "s", ""), "The body is empty."),
        (("send", "coder", "s", " \n"), "The body is empty."),
        (("send", "coder", "s", "b", "--no-body"), "There is a body beside --no-body."),
        (("send", "coder", "s", "b", "--request-id", ""), "--request-id is empty"),
    ],
)
def test_what_an_unset_variable_may_leave_empty_is_refused(monkeypatch, typed, said):
    monkeypatch.setattr(tasks, "_here", lambda _: 0)

    with pytest.raises(BadInput, match=said) as refused:
        tasks.run(parser().parse_args(typed))
    assert refused.value.hint.startswith(("Say in it all", "Give a word"))


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["inbox", "--agent", ""], "agentbus inbox --agent AGENT"),
        (["send", "coder", "s", "b", "--agent="], "agentbus send coder s b --agent=AGENT"),
        (["watch", "--task", ""], "agentbus watch --task TASK"),
        (["agent", "add", "x", "--dir", "", "--role", "r"], "agentbus agent add x --dir DIR --role r"),
        (["agent", "add", "x", "--role", "r", "--role", ""], "agentbus agent add x --role r --role ROLE"),
        (["server", "accounts", "", "--revoke"], "agentbus server accounts NAME --revoke"),
        (["agent", "allow", ""], "agentbus agent allow FOLDER"),
    ],
)  # fmt: skip
def test_an_empty_value_is_not_taken_for_none(capsys, typed, line):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(typed)

    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"as of a variable that is not set. Try: {line}\n")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (["agent", "add", "x", "--description", ""], "description"),
        (["result", "t", "completed", "--summary", ""], "summary"),
        (["inbox", "--cursor", ""], "cursor"),
        (["serve"], "only"),
        (["work", "--install", "--", "cat"], "install"),
    ],
)
def test_a_text_may_be_empty(typed, name):
    assert getattr(parser().parse_args(typed), name) == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_refused_is_told_with_what_to_do_next(capsys, as_json):
    code = output.complain(BusUnreachable("No bus.", hint="Start it."), as_json=as_json)

    printed = capsys.readouterr()
    assert code == 3
    if as_json:
        error = {"kind": "BusUnreachable", "message": "No bus.", "hint": "Start it."}
        assert json.loads(printed.out) == {"error": error}
    else:
        assert printed.err == "agentbus: No bus.\nHint: Start it.\n"


@pytest.mark.parametrize(("as_json", "printed"), [(False, "é\n"), (True, '{"letter": "é"}\n')])
def test_a_person_gets_the_text_and_a_program_the_data(capsys, as_json, printed):
    output.show(argparse.Namespace(json=as_json), "é", {"letter": "é"})

    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("typed", "limit", "left_s"),
    [(["watch", "--timeout", "45"], "timeout", 15), (["watch", "--timeout", "20"], "timeout", 0),
     (["send", "coder", "Q", "q", "--wait", "60"], "wait", 30)],
)  # fmt: skip
def test_a_command_whose_listener_ended_waits_here_for_the_rest_of_its_time(
    monkeypatch, typed, limit, left_s
):
    clock = iter([100.0, 130.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(tasks, "_here", lambda args: getattr(args, limit))
    args = parser().parse_args(typed)
    args.begun = Begun()

    assert tasks.run(args) == left_s


@pytest.mark.parametrize(
    ("typed", "passed_over"),
    [
        ("--follow --timeout 0", "--timeout"),
        ("--follow --task 1a2b", "--task"),
        ("--follow --since 1h --priority high", "--priority"),
        ("--notices --timeout 45", "--timeout"),
        ("--notices --task 1a2b", "--task"),
        ("--notices --follow", "--follow"),
        ("--notices --since 1h", "--since"),
        ("--since 1h", "--since"),
    ],
)
def test_what_is_watched_for_ever_passes_over_no_option(monkeypatch, typed, passed_over):
    monkeypatch.setattr(tasks, "_here", lambda _: 0)
    monkeypatch.setattr("mcp_agentbus.cli.monitor.run", lambda _: 0)

    with pytest.raises(BadInput, match=passed_over) as refused:
        tasks.run(parser().parse_args(["watch", *typed.split()]))
    assert refused.value.hint


@pytest.mark.parametrize(
    ("typed", "timeout_s"),
    [("", 45), ("--timeout 0", 0), ("--follow --since 1h", None), ("--follow", None)],
)
def test_a_wait_for_which_no_time_was_given_has_one_and_what_goes_on_has_none(
    monkeypatch, typed, timeout_s
):
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    monkeypatch.setattr(tasks, "_here", lambda args: args.timeout)
    args = parser().parse_args(["watch", *typed.split()])
    args.begun = Begun()

    assert tasks.run(args) == timeout_s


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pipe of a certain size")
def test_what_is_printed_waits_for_a_reader_that_is_slow():
    command = [sys.executable, "-m", "mcp_agentbus", "send", "--help"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    full = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b" " * full)
    with os.fdopen(reading, "rb") as slow:
        process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        with pytest.raises(subprocess.TimeoutExpired):  # it waits
            process.wait(1)
        assert slow.read() == b" " * full + printed
        _, log = process.communicate()

    assert (process.returncode, log) == (0, b"")


@pytest.mark.parametrize(
    ("was_asked", "said"),
    [(False, "nothing was started"), (True, "it is not known whether coder was started")],
)
def test_of_an_approved_start_it_is_said_what_is_known(monkeypatch, was_asked, said):
    def ask(*_):
        error = NoListener()
        error.was_asked = was_asked
        raise error

    monkeypatch.setattr(local_socket, "ask", ask)
    record = SimpleNamespace(owner="planner", inbox="coder", task_id="0" * 32)
    started, then = rooms._start(None, SimpleNamespace(record=record, by="coder"), "answer")

    assert not started
    assert then.startswith(f"The approval is kept; {said}")


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("quiet_hours", "its user's quiet hours. Run the same later, or open a session of coder."),
        ("limit_0", "in config.toml, or open a session of coder. Then run the same."),
    ],
)
def test_of_an_approved_start_that_is_held_it_is_said_what_ends_that(monkeypatch, held, said):
    monkeypatch.setattr(local_socket, "ask", lambda *_: {"started": False, "held": held})
    record = SimpleNamespace(owner="planner", inbox="coder", task_id="0" * 32)
    started, then = rooms._start(None, SimpleNamespace(record=record, by="coder"), "answer")

    assert not started
    assert then.endswith(said)


@pytest.mark.parametrize(
    ("argv", "looks", "words"),
    [([], True, ["status"]), ([], False, []), (["agents"], True, ["agents"])],
)
def test_nothing_typed_in_a_terminal_asks_what_goes_on(argv, looks, words, monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda _: looks)

    assert typed.words(argv) == words


def test_the_line_of_an_invitation_is_seen_wherever_it_stands():
    assert typed.invites(["join", "'agentbus-join-1-A7vn'"])
    assert not typed.invites(["join", "agentbus"])
