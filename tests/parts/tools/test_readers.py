# SPDX-License-Identifier: Apache-2.0
"""Hints are written once; a model reads of tools, whoever types reads of commands."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import mcp_agentbus
from mcp_agentbus import errors
from mcp_agentbus.core import ids
from mcp_agentbus.handoff.inbox import Inbox, read_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.tools.answers import render
from mcp_agentbus.tools.answers.readers import MODEL, SHELL
from mcp_agentbus.tools.catalog import TOOLS

ROOT = Path(mcp_agentbus.__file__).parent
# What a tool's call may come to; the other rooms speak to whoever types alone.
ROOMS = ("bus", "config", "core", "handoff", "store", "tools")
TYPED_ONLY = {
    "commands.py",
    "forget.py",
    "rename.py",
    "parking.py",
    "replaying.py",
    "server_conf.py",
    "editor.py",
    "readers.py",
}
ARGUMENTS = {name for tool in TOOLS.values() for name in tool.args.model_fields if "_" in name}
TOOL_WORDS = re.compile(rf"\b({'|'.join((*TOOLS, *ARGUMENTS))})\b")


def literal(node):
    """Return the text that an expression of the source makes, X for what is put in."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(literal(part) or "X" for part in parts)
        case ast.BinOp(left=left, right=right):
            return (literal(left) or "X") + (literal(right) or "X")
    return ""


@pytest.fixture(scope="module")
def hints():
    """Every hint and every note that the source writes out for an answer of a tool."""
    return sorted({hint for hint in written() if " " in hint})


def written():
    files = [ROOT / "errors.py", *(f for room in ROOMS for f in (ROOT / room).glob("*.py"))]
    for file in files:
        if file.name in TYPED_ONLY:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            is_hint = isinstance(node, ast.keyword) and node.arg in {"hint", "again", "mend"}
            is_default = isinstance(node, ast.Assign) and "hint" in ast.unparse(node.targets[0])
            is_note = isinstance(node, ast.Call) and ast.unparse(node.func) == "_Parked"
            if is_hint or is_default:
                yield literal(node.value)
            elif is_note:
                yield literal(node.args[0])


def test_hints_were_found(hints):
    assert len(hints) > 60
    assert errors.NotClaimed.hint in hints


def test_whoever_types_reads_of_no_tool_and_of_no_argument(hints):
    typed = map(SHELL.hint, hints)

    assert [hint for hint in typed if TOOL_WORDS.search(hint)] == []


def test_whoever_writes_python_reads_of_no_function_that_is_not_there(hints):
    called = re.compile(rf"\b({'|'.join(TOOLS)}|task_life)\b(?: with this (\w+))?")
    for hint in hints:
        for name, with_ in called.findall(hint):
            assert name in mcp_agentbus.__all__, hint
            taken = inspect.signature(getattr(mcp_agentbus, name)).parameters
            assert not with_ or with_ in taken, hint


def test_a_model_is_told_to_type_nothing(hints):
    for said in map(MODEL.hint, hints):
        for order in re.finditer(r"(.{0,16})\b[Rr]un(:| `)", said):
            assert order[1].endswith("sk your user to "), said
        for command in re.finditer(r"`agentbus", said):
            assert "our user " in said[: command.start()], said
        assert "user to ask" not in said
        assert MODEL.hint(said) == said


@pytest.mark.parametrize(
    "said",
    [
        ids.PARKED_NUMBER,
        "You are me-a: b. A better name: agentbus agent rename me-a NAME",
        "/a/.agentbus.toml asks for role:b. To let it: agentbus agent allow /a",
        "Under a, which b was before, waits: 1 task. To have that here: agentbus agent rename a b",
    ],
)
def test_a_command_that_a_model_reads_is_its_users_to_type(said):
    told = MODEL.hint(said)

    assert re.search(r"our user \w[^.]*agentbus |agentbus [^.]* your user ", told), told
    assert MODEL.hint(told) == told
    assert SHELL.hint(said) == said


@pytest.mark.parametrize(
    ("hint", "typed"),
    [
        (errors.UnknownAgent.hint,
         ("Run `agentbus agents` to see who is there; an agent is known from the first call of a "
         "tool in a session of it, from `agentbus agent add`, or from `agentbus inbox --agent ID` "
         "on.")),
        ("Call read_inbox: it claims tasks.", "Run `agentbus inbox`: it claims tasks."),
        ("Call read_inbox with limit 1 for another.",
         "Run `agentbus inbox --limit 1` for another."),
        (errors.AlreadyEnded.hint, "Run `agentbus task ID` to see the stored result."),
        (errors.Unconfirmed.hint, "Run it again: what is stored already is not stored twice."),
        ("Call again with request_id='ab': it is kept.",
         "Run it again with --request-id ab: it is kept."),
        ("To withdraw it, publish status 'cancelled'.",
         "To withdraw it, run `agentbus result ID cancelled`."),
        (errors.HopLimit.hint,
         ("Finish the task you hold with `agentbus result` instead of passing it on, or wait for "
         "the others to end: what this agent had at hand on this machine within 10 minutes counts; "
         "a person's own errand goes under a name of its own: --agent NAME. Ask the person you work "
         "for if agents keep handing it round.")),
        ("A session of coder can read it.", "With --agent coder you can read it."),
        (errors.BusUnreachable.hint, errors.BusUnreachable.hint),
    ],
)  # fmt: skip
def test_a_hint_reads_well_for_whoever_types(hint, typed):
    assert SHELL.hint(hint) == typed


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        (f"Task {'1f' * 16} has failed.", f"Run `agentbus task {'1f' * 16}` to see"),
        (f"Task {'1f' * 16} has failed as {'2a' * 16} did.", "Run `agentbus task ID` to see"),
        ("The task has failed.", "Run `agentbus task ID` to see"),
    ],
)
def test_whoever_types_can_copy_the_line_where_the_message_names_the_task(message, typed):
    assert SHELL.error(errors.AlreadyEnded(message))["hint"].startswith(typed)


def test_a_model_reads_of_its_tools_where_python_has_other_names():
    assert MODEL.hint(errors.AlreadyEnded.hint).startswith("Call read_inbox with this task_id")
    assert MODEL.hint(errors.HopLimit.hint) == errors.HopLimit.hint
    assert MODEL.hint(errors.UnknownAgent.hint) == (
        "Call list_agents to see who is there; an agent is known from the first call of a tool in "
        "a session of it, or once your user has added it by `agentbus agent add`."
    )


def test_only_where_ids_may_be_short_is_that_said():
    assert "6 characters" not in errors.UnknownTask.hint
    for reader in (MODEL, SHELL):
        assert "or its first 6 characters and more." in reader.hint(errors.UnknownTask.hint)


def test_of_a_message_only_its_beginning_is_put_into_other_words():
    """What follows may be a name that a caller has written."""
    assert SHELL.message("expires_in_s is 700000.") == "--expires-in is 700000."
    assert SHELL.message("This request_id was used.") == "This --request-id was used."
    assert SHELL.message("No agent 'request_id' is there.") == "No agent 'request_id' is there."


@pytest.mark.parametrize(
    ("asked", "what"),
    [("send_task", "stored"), ("send", "stored"), ("result", "stored"), ("", "stored"),
     ("list_agents", "read"), ("read_inbox", "read"), ("agents", "read"), ("task", "read"),
     ("tasks", "read"), ("search", "read"), ("audit", "read"), ("export", "read")],
)  # fmt: skip
def test_who_only_read_is_not_told_that_nothing_was_stored(asked, what):
    for reader in (MODEL, SHELL):
        assert f"Nothing was {what}." in reader.sentences(errors.BusUnreachable(), asked)


async def test_each_reader_is_told_in_its_words_how_to_read_on(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Long", "x" * 40_000)
    read, life = await read_inbox(coder), await task_life(coder, receipt.task_id)
    more = Inbox(waiting={}, next_cursor="claim-4", notes=("Parked. See `agentbus parked`.",))

    for_model = render.inbox_text(more, "coder") + render.life_text(life)
    typed = "\n".join(
        (
            render.inbox_text(read, coder.me.id, full=True, reader=SHELL),
            render.inbox_text(more, "coder", reader=SHELL),
            render.life_text(life, 0, SHELL),
        )
    )

    assert re.search(rf"read_inbox\(task_id='{receipt.task_id}', cursor='\d+'\)", for_model)
    assert "cursor 'claim-4'" in for_model
    assert "Your user can see `agentbus parked`" in for_model
    assert re.search(rf"agentbus task {receipt.task_id} --cursor \d+", typed)
    assert "--cursor claim-4" in typed
    assert "See `agentbus parked`." in typed
    assert "read_inbox" not in typed
