# SPDX-License-Identifier: Apache-2.0
"""The command line, as a person or a shell agent uses it: real processes, exit codes, JSON."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import uuid

import forking
import pytest

from mcp_agentbus.errors import NOT_DONE

_WITHIN_S = 60


class Shell:
    """Runs `agentbus` commands on one bus, in an empty home."""

    def __init__(self, home, folder):
        self.suffix = uuid.uuid4().hex[:8]
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AGENTBUS_HOME": str(home),
        }
        self.folder = folder

    def name(self, agent):
        return f"{agent}-{self.suffix}"

    def start(self, *arguments, **options):
        return forking.start(
            [sys.executable, "-m", "mcp_agentbus", *arguments],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(self, *arguments, code=0, stdin="", agent=None):
        more = ("--agent", self.name(agent)) if agent else ()
        process = self.start(*arguments, *more)
        out, err = process.communicate(stdin, timeout=_WITHIN_S)
        assert process.returncode == code, (process.returncode, out, err)
        assert "Traceback" not in err
        return out if code == 0 else out + err

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options))


@pytest.fixture
def shell(home, tmp_path, way):
    return Shell(home.data_dir.parent, tmp_path)


@pytest.fixture
def bare(home, tmp_path):
    """A shell for what ends before it matters whether a listener runs."""
    return Shell(home.data_dir.parent, tmp_path)


def _claimed(shell):
    """Have planner send coder a task, and coder claim it; return its id."""
    shell("inbox", agent="coder")
    sent = shell.json("send", shell.name("coder"), "Do it", "please", agent="planner")
    shell("inbox", agent="coder")
    return sent["receipts"][0]["task_id"]


def test_a_task_goes_from_shell_to_shell_and_its_result_comes_back(shell):
    shell("inbox", agent="coder")

    sent = shell.json(
        "send", shell.name("coder"), "Count", agent="planner", stdin="the files in /srv\n"
    )
    [task] = shell.json("inbox", agent="coder")["tasks"]
    done = shell.json(
        "result", task["task_id"], "completed", "--summary", "3", "--body-file", "-",
        agent="coder", stdin="a b c",
    )  # fmt: skip
    [result] = shell.json("watch", "--task", task["task_id"], agent="planner")["results"]

    assert sent["receipts"][0]["state"] == "stored"
    assert (task["subject"], task["body"]) == ("Count", "the files in /srv\n")
    assert done["state"] == "completed"
    assert (result["summary"], result["body"]) == ("3", "a b c")


def test_a_shell_s_claim_outlives_its_process_until_it_is_released_or_finished(shell):
    task_id = _claimed(shell)

    told = shell("task", task_id, agent="planner")
    [held] = shell.json("inbox", agent="coder")["tasks"]
    shell("result", task_id, "released", agent="coder")
    [offered] = shell.json("inbox", agent="coder")["tasks"]
    shell("result", task_id, "completed", agent="coder")
    finished = shell.json("inbox", agent="coder")["tasks"]

    assert f"Task {task_id}: claimed" in told
    assert "stored" in told
    assert (held["task_id"], held["new"], held["attempt"]) == (task_id, False, 1)
    assert (offered["task_id"], offered["new"], offered["attempt"]) == (task_id, True, 2)
    assert finished == []


def test_sending_can_wait_for_the_results_of_all_at_once(shell):
    for agent in ("coder", "tester", "idler"):
        shell("inbox", agent=agent)
    to = ",".join(map(shell.name, ("coder", "tester", "idler")))
    waiting = shell.start(
        "send", to, "Q", "q", "--wait", "60", "--json", "--agent", shell.name("planner")
    )
    tasks = {
        agent: shell.json("watch", "--timeout", "60", agent=agent)["tasks"][0]["task_id"]
        for agent in ("coder", "tester", "idler")
    }

    shell("result", tasks["tester"], "needs_approval", "--summary", "May I?", agent="tester")
    shell("result", tasks["coder"], "completed", "--summary", "A", agent="coder")
    assert waiting.poll() is None
    shell("result", tasks["idler"], "rejected", agent="idler")

    out, _ = waiting.communicate(timeout=_WITHIN_S)
    answer = json.loads(out)
    assert (waiting.returncode, len(answer["receipts"])) == (NOT_DONE, 3)
    assert [(result["task_id"], result["state"], result["summary"]) for result in answer["results"]] == [
        (tasks["coder"], "completed", "A"),
        (tasks["tester"], "needs_approval", "May I?"),
        (tasks["idler"], "rejected", ""),
    ]  # fmt: skip
    assert (answer["unanswered"], answer["timed_out"]) == ([], False)


def test_a_task_that_was_waited_for_is_not_done_but_by_its_completion(shell):
    """By its id; whoever watches an inbox is only shown what came."""
    shell("inbox", agent="coder")
    send = ("send", shell.name("coder"), "Q", "q")
    failed, done = [shell.json(*send, agent="planner")["receipts"][0]["task_id"] for _ in range(2)]
    shell("result", failed, "failed", "--summary", "No such file", agent="coder")
    shell("result", done, "completed", agent="coder")

    told = shell("watch", "--task", failed, agent="planner", code=NOT_DONE)
    assert "No such file" in told
    assert done in shell("watch", "--task", done, agent="planner", code=0)
    shell("watch", "--timeout", "0", agent="coder", code=4)


def test_a_number_of_a_parked_task_is_told_as_such_where_an_id_is_due(shell):
    shell("inbox", agent="coder")
    for command in (
        ("result", "1", "working"),
        ("task", "1"),
        ("watch", "--task", "1"),
        ("why", "1"),
    ):
        agent = None if command[0] == "why" else "coder"
        assert "one of `agentbus parked`" in shell(*command, agent=agent, code=1)


def test_a_wait_for_several_that_runs_out_says_how_each_of_them_stands(shell):
    coder, idler = map(shell.name, ("coder", "idler"))
    for agent in ("coder", "idler"):
        shell("inbox", agent=agent)
    send = ("send", f"{coder},{idler}", "Q", "q", "--request-id", "r1")
    shell(*send, agent="planner")
    [task] = shell.json("inbox", agent="coder")["tasks"]

    out, as_json = (
        shell(*send, "--wait", "0.2", *more, agent="planner", code=4) for more in ((), ("--json",))
    )

    assert f"{coder}: timed out. Task {task['task_id']} is claimed by {coder}" in out
    assert f"{idler}: timed out. Task " in out
    assert "agentbus watch --task ID" in out
    answer = json.loads(as_json)
    idle = answer["receipts"][1]["task_id"]
    assert (answer["results"], answer["timed_out"]) == ([], True)
    assert [tuple(one.values()) for one in answer["unanswered"]] == [
        (task["task_id"], coder, "claimed", coder),
        (idle, idler, "stored", ""),
    ]


def test_a_wait_that_is_too_long_is_refused_before_anything_is_stored(shell):
    shell("inbox", agent="coder")

    shell("send", shell.name("coder"), "Q", "q", "--wait", "7200", agent="planner", code=2)

    assert shell.json("inbox", agent="coder")["tasks"] == []


@pytest.fixture
def waiting(shell):
    """A command of planner's that waits for a result; its task's id."""
    shell("inbox", agent="coder")
    command = shell.start(
        "send", shell.name("coder"), "Q", "q", "--wait", "60", "--agent", shell.name("planner")
    )
    task_id = command.stdout.readline().partition("task ")[2].partition(".")[0]
    yield command, task_id
    command.kill()
    command.communicate()


def test_other_commands_of_an_agent_do_their_work_while_one_of_them_waits(shell, waiting):
    command, task_id = waiting

    told = shell("task", task_id, agent="planner")
    shell("inbox", agent="planner")
    sent = shell.json("send", shell.name("coder"), "R", "r", agent="planner")
    shell("result", sent["receipts"][0]["task_id"], "cancelled", agent="planner")

    assert f"Task {task_id}: stored" in told
    assert command.poll() is None


def test_a_command_that_waits_ends_at_ctrl_c_and_its_task_is_read_and_answered(shell, waiting):
    command, task_id = waiting

    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=_WITHIN_S)
    shell("inbox", agent="coder")
    shell("result", task_id, "completed", "--summary", "A", agent="coder")

    assert (command.returncode, "Traceback" in err) == (130, False)
    assert "Summary: A" in shell("inbox", agent="planner")


def test_a_worker_that_was_killed_with_a_task_gets_it_from_watch_again(shell):
    shell("inbox", agent="coder")
    shell("send", shell.name("coder"), "Count", "the files", agent="planner")

    first = shell.json("watch", agent="coder")
    again = shell.json("watch", agent="coder")

    [held], [shown] = first["tasks"], again["tasks"]
    assert (held["task_id"], held["new"]) == (shown["task_id"], True)
    assert (shown["new"], shown["attempt"]) == (False, 1)


def test_running_out_of_time_is_exit_code_4(shell):
    out = shell("watch", "--timeout", "0.05", agent="coder", code=4)

    assert "timed out" in out


def test_an_unknown_agent_is_exit_code_1_with_a_hint(shell):
    shell("inbox", agent="coder")

    out = shell("send", shell.name("codr"), "x", "y", agent="planner", code=1)

    assert f"Nearest: {shell.name('coder')}" in out
    assert "or from `agentbus inbox --agent ID` on." in out


def test_an_error_is_json_where_json_was_asked_for(shell):
    out = shell("send", "nobody-at-all", "x", "y", "--json", agent="planner", code=1)

    error = json.loads(out)["error"]
    assert error["kind"] == "UnknownAgent"
    assert error["hint"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("send", "Not An Id", "x", "y"),
        ("send", "coder"),
        ("send", "coder", "x", "y", "--priority", "urgent"),
        ("send", "coder", "x", "y", "--body-file", "-"),
        ("send", "coder", "x", "--body-file", "/nowhere/at/all"),
        ("inbox", "--limit", "0"),
        ("watch", "--since", "2h"),
        ("result", "a.b", "completed"),
        ("result", "abc", "finished"),
        ("frobnicate",),
        (),
    ],
)
def test_wrong_usage_is_exit_code_2(bare, wrong):
    agent = ("--agent", bare.name("planner")) if wrong[:1] in {("send",), ("inbox",)} else ()

    process = bare.start(*wrong, *agent)
    _, err = process.communicate("", timeout=_WITHIN_S)

    assert process.returncode == 2
    assert err
    assert "Traceback" not in err


def test_no_server_is_exit_code_3_and_says_that_nothing_was_stored(bare):
    bare.env["AGENTBUS_URL"] = "nats://127.0.0.1:1"

    out = bare("send", "coder", "x", "y", agent="planner", code=3)

    assert "Nothing was stored" in out


def test_text_that_is_not_utf_8_is_refused(bare, tmp_path):
    (tmp_path / "body").write_bytes(b"\xff\xfe")

    out = bare("send", "coder", "x", "--body-file", str(tmp_path / "body"), code=2)

    assert "not UTF-8" in out


def test_agents_are_listed_with_state_and_what_waits(shell):
    shell("inbox", agent="coder")
    shell("send", shell.name("coder"), "x", "y", "--priority", "high", agent="planner")

    [coder] = shell.json("agents", shell.name("coder"))["agents"]

    assert coder["state"] == "offline"
    assert coder["waiting"] == {"high": 1}


def test_the_server_starts_stops_and_says_how_it_stands(tmp_path):
    shell = Shell(tmp_path / "own", tmp_path)
    try:
        out = shell("server", "status", code=3)
        assert "not running" in out
        started = shell.json("server", "start")
        assert started["running"]
        assert started["streams"]["AGENTBUS_TASKS"]["messages"] == 0
        assert str(started["pid"]) in shell("server", "status")
    finally:
        stopped = shell.json("server", "stop")
    assert stopped == {"running": False, "stopped": True}
    assert shell.json("server", "stop")["stopped"] is False


def test_following_prints_a_line_for_each_change_and_claims_nothing(shell):
    shell("inbox", agent="coder")
    following = shell.start("watch", "--follow", "--json", "--agent", shell.name("coder"))
    try:
        assert json.loads(following.stdout.readline())["waiting"] == {
            "high": 0,
            "normal": 0,
            "low": 0,
        }
        shell("send", shell.name("coder"), "<peer>", "<peer>", agent="planner")

        line = following.stdout.readline()

        assert json.loads(line)["waiting"]["normal"] == 1
        assert "<peer>" not in line
    finally:
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=_WITHIN_S)
    assert following.returncode == 130
    assert len(shell.json("inbox", agent="coder")["tasks"]) == 1


@pytest.mark.promise(41)
def test_what_a_shell_keeps_is_its_user_s_alone_and_else_refused_with_the_mend(shell, home):
    _claimed(shell)
    kept = home.state_dir / f"shell-{shell.name('coder')}.jsonl"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept.parent)]
    kept.chmod(0o644)

    out = shell("inbox", agent="coder", code=1)

    assert modes == [0o600, 0o700]
    assert f"chmod 600 {kept}" in out


def test_the_demo_hands_a_real_task_over_and_leaves_nothing_behind(bare, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "one.py").write_text("x = 1  # TODO\n")
    bare.env["TMPDIR"] = str(tmp_path / "temporary")
    (tmp_path / "temporary").mkdir()

    shown = bare.json("demo", str(work))

    assert "1 file, 1 line; mostly Python (1 file); 1 TODO note" in shown["result"]
    assert {one["who"] for one in shown["timeline"]} == {"server", "planner", "coder"}
    assert len(shown["stored"]) == 2
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_demo_refuses_a_folder_that_is_not_there(bare):
    out = bare("demo", "/nowhere/at/all", code=2)

    assert "not a folder" in out
