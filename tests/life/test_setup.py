# SPDX-License-Identifier: Apache-2.0
"""`agentbus setup`, `install` and `uninstall` as typed, on a home with Cursor's folder in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import forking
import pytest
from local_server import server_folder


@pytest.fixture
def home(tmp_path):
    """A user's home, whose server ends with the test."""
    (tmp_path / ".cursor").mkdir()
    with server_folder(tmp_path / "bus"):
        yield tmp_path


def typed(home, *argv, code=0, stdin=subprocess.DEVNULL, by=()):
    ran = forking.ran(
        [*by, sys.executable, "-m", "mcp_agentbus", *argv], 120,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "AGENTBUS_HOME": str(home / "bus")},
        stdin=stdin,
    )  # fmt: skip
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stdout + ran.stderr


def printed_json(output):
    """Return the JSON that output begins with; from a venv below /tmp a warning follows it."""
    return json.JSONDecoder().raw_decode(output)[0]


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


SETUP = ("setup", "--host", "cursor", "--no-listener")


def test_a_dry_run_tells_every_step_and_takes_none(home):
    said = typed(home, *SETUP, "--dry-run")

    assert "mcp.json" in said
    assert said.endswith("Nothing was done. Run the same without --dry-run.\n")
    assert files(home) == {}


@pytest.mark.promise(44)
def test_set_up_once_or_twice_it_is_connected_and_taken_out_again_nothing_is_left(home):
    said = typed(home, *SETUP, "--yes")
    once = files(home / ".cursor")
    typed(home, *SETUP, "--yes")

    assert "cursor connected, and asked" in said
    assert "agentbus doctor --self-test" in said
    assert "agentbus" in json.loads(once["mcp.json"])["mcpServers"]
    assert files(home / ".cursor") == once
    removed = typed(home, "uninstall", "cursor")
    assert "cursor removed" in removed
    assert "the bus server runs: agentbus server stop" in removed
    assert files(home / ".cursor") == {}


def test_what_was_done_is_told_as_json_too(home):
    typed(home, "install", "cursor")
    said = json.loads(typed(home, "install", "cursor", "--json"))

    assert said["hosts"]["cursor"]["state"] == "connected"


def test_what_would_be_done_is_told_as_json_too(home):
    said = json.loads(typed(home, *SETUP, "--dry-run", "--json"))

    assert said["planned"][0] == "start the server, if it does not run"
    assert f"write {home}/.cursor/mcp.json: mcpServers.agentbus" in said["planned"]
    assert said["hosts"]["cursor"]["state"] == "planned"
    assert said["done"] == []
    assert files(home) == {}


def test_why_it_does_not_all_work_is_told_as_json_too(home):
    (home / "bus").mkdir(mode=0o700)
    (home / "bus" / "config.toml").touch(mode=0o600)
    (home / "bus" / "config.toml").write_text(
        f'[agents.x]\nhost = "command"\ncommand = ["true"]\ndir = "{home}/gone"\nwake = "work"\n'
    )

    said = json.loads(typed(home, *SETUP, "--yes", "--json", code=1))

    assert said["hosts"]["cursor"]["state"] == "connected"
    assert {"ok"} & {one["state"] for one in said["checks"]} == set()
    [agent] = [one for one in said["checks"] if one["name"] == "agent x"]
    assert agent["state"] == "wrong"
    assert "gone is not there" in agent["said"]
    assert agent["fix"]
    assert "agentbus doctor --self-test" in said["next"][-1]
    assert said["next"][0].startswith("NOT ALL IS WELL: doctor found what is wrong")
    assert "wrong (agent x" in typed(home, *SETUP, "--yes", code=1)


@pytest.mark.parametrize("how", [("--dry-run",), ("--yes", "--no-listener")])
def test_a_host_that_was_named_and_is_not_here_is_a_fault_of_both(home, how):
    said = typed(home, "setup", "--host", "copilot", *how, code=1)
    told = json.loads(typed(home, "setup", "--host", "copilot", *how, "--json", code=1))

    assert "copilot is not here: Install Copilot CLI, or put its program on PATH" in said
    assert "No host was found. For any MCP host: agentbus install --print" in said
    assert told["hosts"]["copilot"]["state"] == "not_here"
    why, what = told["next"]
    assert why.startswith("NOT ALL IS WELL: copilot is not connected.")
    assert what == "No host was found. For any MCP host: agentbus install --print"


def test_who_closes_standard_input_is_not_asked(home):
    closed = ("/bin/sh", "-c", 'exec "$@" <&-', "sh")

    assert "Nobody is there to be asked" in typed(home, *SETUP, code=2, by=closed)
    assert files(home) == {}


@pytest.mark.parametrize("answer", [b"\x04", b"n\n"])
def test_no_or_the_end_of_what_is_typed_means_no(home, answer):
    terminal, stdin = os.openpty()
    os.write(terminal, answer)

    said = typed(home, *SETUP, code=1, stdin=stdin)

    os.close(stdin)
    os.close(terminal)
    assert said.endswith("Nothing was done.\n")
    assert files(home) == {}


def test_an_id_is_written_into_the_hosts_entry(home):
    typed(home, "install", "cursor", "--agent", "reviewer")
    typed(home, "install", "cursor")

    entry = json.loads((home / ".cursor" / "mcp.json").read_text())["mcpServers"]["agentbus"]
    assert entry["args"][-3:] == ["serve", "--agent", "reviewer"]


def test_where_nothing_is_there_it_is_said_so_and_is_no_fault(home):
    said = typed(home, "uninstall", "cursor", "openclaw")

    assert said == "".join(f"{name}:\n  nothing of agentbus is there\n" for name in ("cursor", "openclaw"))  # fmt: skip
    assert files(home) == {}
    outcome = json.loads(typed(home, "uninstall", "cursor", "--json"))["hosts"]["cursor"]
    assert outcome["state"] == "nothing"


def test_a_host_that_only_its_own_program_can_leave_is_said_to_be_there_still(home):
    (home / ".claude.json").write_text(
        json.dumps({"mcpServers": {"agentbus": {"command": "agentbus", "args": ["serve"]}}})
    )

    assert "claude-code NOT REMOVED: " in typed(home, "uninstall", "claude-code", code=1)


@pytest.mark.promise(44)
def test_a_host_that_cannot_be_connected_is_said_to_be_so(home):
    (home / ".cursor" / "mcp.json").write_text("{ mine\n}")
    said = typed(home, "install", "cursor", code=1)

    assert "cursor NOT CONNECTED" in said
    assert (home / ".cursor" / "mcp.json").read_text() == "{ mine\n}"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("setup",), 2, "give --yes"),
        (("install",), 2, "Which host?"),
        (("install", "emacs"), 2, "agentbus install --print"),
        (("install", "openclaw", "--dry-run"), 1, "openclaw is not here"),
        (("install", "cursor", "--no-plugin"), 2, "Run `agentbus install cursor`"),
        (("install", "--no-plugin"), 2, "Run `agentbus install claude-code --no-plugin`"),
        (("install", "cursor", "--agent", "No Id"), 2, "Use 1 to 63"),
        (("install", "cursor", "codex", "--agent", "x"), 2, "once for each host"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(home, argv, code, said):
    assert said in typed(home, *argv, code=code)


def test_the_entry_for_any_host_is_printed_with_an_id(home):
    printed = printed_json(typed(home, "install", "--print", "--agent", "reviewer"))

    assert printed["mcpServers"]["agentbus"]["args"][-2:] == ["--agent", "reviewer"]


def test_the_entry_for_any_host_is_printed_as_it_is_written(home):
    printed = printed_json(typed(home, "install", "--print"))

    assert printed["mcpServers"]["agentbus"]["args"][-1] == "serve"
