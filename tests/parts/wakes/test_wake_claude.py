# SPDX-License-Identifier: Apache-2.0
"""Claude Code's waker: what it starts, what it reads, when it resumes; the line to a live one."""

import asyncio
import json
import os
import sys
import uuid

import pytest
from local_server import script
from noticed import telling
from timeless import timeless

from mcp_agentbus.config import claude_user
from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.core.hosts import WOKEN
from mcp_agentbus.core.processes import born
from mcp_agentbus.wakes.hosts import claude_code, claude_session, claude_settings, cursor
from mcp_agentbus.wakes.hosts.protocol import WakeOrder
from mcp_agentbus.wakes.hosts.registry import WAKERS

SESSION = "49556dc4-5283-4caa-ad8b-67524eedda10"
ONLY_BUS = ["-p", "--permission-mode", "dontAsk", "--strict-mcp-config", "--mcp-config"]
LIVE = {
    "CLAUDE_CODE_MESSAGING_SOCKET": "/tmp/x.sock",
    "CLAUDE_CODE_ENTRYPOINT": "cli",
    "AI_AGENT": "claude-code_2-1-329_harness",
}


@pytest.fixture
def programs(tmp_path):
    """A folder for PATH with a `claude` and an `agent` that say what they were given."""
    (tmp_path / "bin").mkdir()
    for name in ("claude", "agent"):
        script(tmp_path / "bin" / name, "/usr/bin/env; /bin/cat")
    return tmp_path / "bin"


@pytest.fixture
def call(tmp_path, programs):
    def make(profile="answer", session="", environ=None, host="claude-code", **fields):
        (tmp_path / "shop").mkdir(exist_ok=True)
        rules = Rules("coder", host, tmp_path / "shop", profile, **fields)
        around = {"PATH": str(programs), "HOME": str(tmp_path), **(environ or {})}
        told = telling("1 task waits.")
        return WakeOrder(rules, told, around, lambda _: None, host_session=session)

    return make


def after(argv, option):
    """Return the words after an option, up to the next one."""
    words = argv[argv.index(option) + 1 :]
    end = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:end]


def say(tmp_path, *lines):
    script(tmp_path / "bin" / "claude", *lines)


def session_file(tmp_path, **content):
    folder = tmp_path / ".claude" / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{content.get('pid', 1)}.json").write_text(json.dumps(content))


def test_there_is_a_waker_for_each_host():
    assert sorted(WAKERS) == sorted(WOKEN)


def test_answer_may_use_the_bus_and_read_the_folder_and_nothing_else(call, tmp_path):
    argv = claude_code.argv(
        call(allow=("Bash(*)",), permission_mode="bypassPermissions"), tmp_path / "s.json"
    )

    assert argv[1:6] == ONLY_BUS
    assert after(argv, "--tools") == ["Read,Glob,Grep"]
    assert after(argv, "--setting-sources") == [""]
    assert after(argv, "--settings") == [str(tmp_path / "s.json")]
    assert after(argv, "--allowedTools") == ["mcp__agentbus"]
    assert "--resume" not in argv


USERS = {
    "apiKeyHelper": "/bin/key",
    "model": "opus",
    "permissions": {"allow": ["Read(//**)", "Bash(*)"], "additionalDirectories": ["/"]},
    "hooks": {"SessionStart": []},
    "enabledPlugins": {"p@m": True},
    "enableAllProjectMcpServers": True,
    "statusLine": {"type": "command", "command": "x"},
    "env": {
        "ANTHROPIC_API_KEY": "k",
        "AWS_PROFILE": "mine",
        "NODE_OPTIONS": "--require ./x.js",
        "PATH": ".",
        "ANTHROPIC_MODEL": 1,
    },
}


@pytest.mark.parametrize("own_folder", [True, False])
def test_the_settings_of_an_answer_log_in_and_choose_the_model_and_no_more(
    call, tmp_path, own_folder
):
    folder = tmp_path / "claude" if own_folder else tmp_path / ".claude"
    environ = {"CLAUDE_CONFIG_DIR": str(folder)} if own_folder else {}
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(USERS))

    said = claude_settings.settings(call(environ=environ))
    by_bedrock = claude_settings.settings(call(environ={**environ, "CLAUDE_CODE_USE_BEDROCK": "1"}))

    assert (said["apiKeyHelper"], said["model"]) == ("/bin/key", "opus")
    assert said["env"] == {"ANTHROPIC_API_KEY": "k"}
    assert by_bedrock["env"] == {"ANTHROPIC_API_KEY": "k", "AWS_PROFILE": "mine"}
    assert said["permissions"]["allow"] == ["Read(./**)"]
    assert f"Read(/{folder}/**)" in said["permissions"]["deny"]
    assert set(said) == {
        "apiKeyHelper", "model", "env", "permissions",
        "disableAllHooks", "autoMemoryEnabled", "includeGitInstructions",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["", "[1]", "// mine\n{}", "[" * 100_000, '{"env": ["x"]}'])
def test_settings_that_the_host_leaves_alone_give_nothing(call, tmp_path, content):
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text(content)

    assert claude_user.environ(call().environ) == {}
    assert claude_settings.settings(call())["env"] == {}


async def test_the_file_of_a_run_is_its_users_alone_and_gone_with_it(call, tmp_path):
    say(
        tmp_path, 'for word; do case $word in *.json) ls -ln "$word"; /bin/cat "$word";; esac; done'
    )

    environ = {"AGENTBUS_HOME": str(tmp_path / "bus"), "PATH": f"{tmp_path}/bin:/bin"}
    ended = await claude_code.wake(call(environ=environ))

    assert ended.output.startswith("-rw------- ")
    assert '"autoMemoryEnabled": false' in ended.output
    assert list((tmp_path / "bus" / "run").iterdir()) == []


async def test_a_run_whose_settings_cannot_be_written_is_not_started(call, tmp_path):
    (tmp_path / "bus").touch()

    ended = await claude_code.wake(call(environ={"AGENTBUS_HOME": str(tmp_path / "bus")}))

    assert ended.outcome == "not_started"
    assert ended.said.startswith("its settings cannot be written: ")


def test_work_may_do_what_the_rules_allow(call):
    argv = claude_code.argv(call("work", allow=("Edit", "Bash(make test)")))

    assert argv[1:6] == ONLY_BUS
    assert after(argv, "--allowedTools") == ["mcp__agentbus", "Edit", "Bash(make test)"]
    assert "--tools" not in argv
    assert "--settings" not in argv


def test_work_has_the_permission_mode_of_the_rules(call):
    argv = claude_code.argv(call("work", permission_mode="acceptEdits"))

    assert after(argv, "--permission-mode") == ["acceptEdits"]


def test_the_limits_are_passed_on(call):
    argv = claude_code.argv(call(limits=Limits(max_turns=5, max_usd=0.25)))

    assert (after(argv, "--max-turns"), after(argv, "--max-budget-usd")) == (["5"], ["0.25"])


@pytest.mark.parametrize("home", ["", "/tmp/bus"])
def test_its_only_server_is_this_one_for_this_agent(call, home):
    argv = claude_code.argv(call(environ={"AGENTBUS_HOME": home}))

    assert json.loads(after(argv, "--mcp-config")[0]) == {
        "mcpServers": {
            "agentbus": {
                "command": sys.executable,
                "args": ["-E", "-P", "-m", "mcp_agentbus", "serve", "--agent", "coder"],
                "env": {"AGENTBUS_HOST": "claude-code"} | ({"AGENTBUS_HOME": home} if home else {}),
                "alwaysLoad": True,
            }
        }
    }


async def test_a_host_that_is_not_installed_is_named(call):
    empty = {"PATH": "/nowhere"}

    for profile, where in (("work", ""), ("answer", " outside of its folder")):
        ended = await claude_code.wake(call(environ=empty, profile=profile))
        assert ended.said == f"claude is not installed{where}"
    assert (await cursor.wake(call(environ=empty))).outcome == "not_started"


async def test_a_run_has_the_environment_of_its_call_and_reads_the_notice(call):
    ended = await claude_code.wake(call(environ={"KEPT": "1"}))

    names = {line.partition("=")[0] for line in ended.output.splitlines()[:-1]}
    # The shell adds PWD, and some add _ and SHLVL.
    assert names - {"PWD", "_", "SHLVL"} == {"KEPT", "PATH", "HOME"}
    assert ended.output.endswith("\n1 task waits.\n")


async def test_the_cost_is_read_even_of_an_answer_far_longer_than_what_is_kept(call, tmp_path):
    result = {"type": "result", "total_cost_usd": 0.25, "result": "é" * 20_000}
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "said").write_text(json.dumps(result, ensure_ascii=False))
    say(tmp_path, "echo a warning >&2; /bin/cat said; echo")

    ended = await claude_code.wake(call())

    assert (ended.outcome, ended.usd) == ("exited", 0.25)
    assert len(ended.output.encode()) <= 4096


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no json",
        "[1]",
        "{}",
        '{"total_cost_usd": true}',
        '{"total_cost_usd": -1}',
        '{"total_cost_usd": NaN}',
        '{"total_cost_usd": "1"}',
        '{"type":"x","total_cost_usd":1}',
    ],
)
async def test_a_run_that_says_no_cost_has_none(call, tmp_path, said):
    say(tmp_path, f"echo '{said}'")

    assert (await claude_code.wake(call())).usd is None


async def test_a_run_that_reached_a_limit_says_so(call, tmp_path):
    result = {"type": "result", "subtype": "error_max_turns", "total_cost_usd": 1}
    say(tmp_path, f"echo '{json.dumps(result)}'; exit 1")

    ended = await claude_code.wake(call())

    assert timeless(ended.said) == "exit code 1 after N s: it reached its limit of turns"
    assert (ended.outcome, ended.usd) == ("failed", 1.0)


def test_a_conversation_that_nobody_has_open_is_resumed(call, tmp_path):
    session_file(tmp_path, pid=os.getpid(), sessionId=str(uuid.uuid4()))
    session_file(tmp_path, pid=2**22 + 1, sessionId=SESSION)
    (tmp_path / ".claude" / "sessions" / "3.json").write_text("{")

    argv = claude_code.argv(call("work", SESSION, resume=True))

    assert after(argv, "--resume") == [SESSION]


def test_whoever_may_only_answer_is_not_given_a_conversation_with_other_tools(call):
    assert "--resume" not in claude_code.argv(call("answer", SESSION, resume=True))


@pytest.mark.parametrize("session", ["", "x", "--continue", SESSION.upper(), f"{{{SESSION}}}"])
def test_what_is_no_id_of_a_conversation_is_not_resumed(call, session):
    assert "--resume" not in claude_code.argv(call("work", session, resume=True))


def test_a_conversation_is_not_resumed_without_a_rule(call):
    assert "--resume" not in claude_code.argv(call("work", SESSION))


@pytest.mark.parametrize("own_folder", [True, False])
def test_a_conversation_that_a_live_process_has_is_not_resumed(call, tmp_path, own_folder):
    me = os.getpid()
    session_file(tmp_path, pid=me, sessionId=SESSION, procStart=born(me))
    environ = {}
    if own_folder:
        environ = {"CLAUDE_CONFIG_DIR": str(tmp_path / ".claude"), "HOME": "/nowhere"}

    argv = claude_code.argv(call("work", SESSION, environ, resume=True))

    assert "--resume" not in argv


def test_a_later_process_with_the_same_number_is_not_the_live_one(call, tmp_path):
    session_file(tmp_path, pid=os.getpid(), sessionId=SESSION, procStart="1")

    assert "--resume" in claude_code.argv(call("work", SESSION, resume=True))


@pytest.mark.parametrize(
    ("changed", "can"),
    [
        ({}, True),
        ({"AI_AGENT": "claude-code_2-1-224_harness"}, True),
        ({"AI_AGENT": "claude-code_2-1-223_harness"}, False),
        ({"AI_AGENT": "claude-code_3-0-0"}, True),
        ({"AI_AGENT": "claude-code_2-1_harness"}, False),
        ({"AI_AGENT": "other_9-9-9_harness"}, False),
        ({"AI_AGENT": ""}, False),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}, False),
        ({"CLAUDE_CODE_MESSAGING_SOCKET": ""}, False),
    ],
)
def test_only_a_session_that_takes_lines_is_given_one(changed, can):
    assert claude_session.can_nudge({**LIVE, **changed}) is can


def test_no_environment_is_no_session():
    assert claude_session.can_nudge({}) is False


@pytest.mark.parametrize("current", ["", "now-another"])
async def test_a_line_reaches_the_session_that_is_open_now(tmp_path, current):
    if current:
        session_file(tmp_path, pid=os.getppid(), sessionId=current)
    got = asyncio.get_running_loop().create_future()

    async def listen(reader, writer):
        got.set_result(await reader.read())
        writer.close()

    path = str(tmp_path / "s")
    environ = {
        "HOME": str(tmp_path),
        "CLAUDE_CODE_MESSAGING_SOCKET": path,
        "CLAUDE_CODE_MESSAGING_TOKEN": "secret",
        "CLAUDE_CODE_SESSION_ID": SESSION,
    }
    async with await asyncio.start_unix_server(listen, path), asyncio.timeout(20):
        await asyncio.to_thread(claude_session.nudge, environ, "1 task\nwaits.")
        lines = [json.loads(line) for line in (await got).splitlines()]

    assert lines == [
        {"type": "auth", "token": "secret"},
        {
            "type": "user",
            "message": {"role": "user", "content": "1 task\nwaits."},
            "session_id": current or SESSION,
            "priority": "next",
        },
    ]


@pytest.mark.parametrize("path", ["", "/nowhere/s", "/" + "x" * 200])
async def test_a_session_that_is_gone_is_an_error(path):
    with pytest.raises(OSError):  # noqa: PT011
        await asyncio.to_thread(claude_session.nudge, {"CLAUDE_CODE_MESSAGING_SOCKET": path}, "x")


async def test_a_session_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(claude_session, "NUDGE_TIMEOUT_S", 0.2)
    release = asyncio.Event()

    async def hang(_, writer):
        await release.wait()
        writer.close()

    path = str(tmp_path / "s")
    async with await asyncio.start_unix_server(hang, path):
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(
                claude_session.nudge, {"CLAUDE_CODE_MESSAGING_SOCKET": path}, "x" * (8 << 20)
            )
        release.set()


def test_cursor_is_started_in_its_folder_and_may_not_change_files(call, programs, tmp_path):
    argv = cursor.argv(call("work", host="cursor"), "1 task waits.")

    assert argv == [
        str(programs / "agent"),
        *("-p", "--output-format", "json", "--approve-mcps", "--trust"),
        *("--workspace", str(tmp_path / "shop"), "1 task waits."),
    ]


def test_cursor_is_forced_and_continues_a_chat_where_the_rules_say_so(call, programs):
    script(programs / "cursor-agent")

    argv = cursor.argv(call("work", host="cursor", permission_mode="force", chat="c1"), "1 task")

    assert argv[0] == str(programs / "cursor-agent")
    assert argv[-4:] == ["--force", "--resume", "c1", "1 task"]
    assert "--force" not in cursor.argv(call("work", host="cursor", permission_mode="other"), "")


async def test_cursor_gets_its_environment_and_its_end_is_told(call):
    ended = await cursor.wake(call("work", host="cursor", environ={"CURSOR_API_KEY": "k"}))

    assert ended.outcome == "exited"
    assert "CURSOR_API_KEY=k\n" in ended.output
