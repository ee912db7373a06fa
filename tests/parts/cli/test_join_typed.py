# SPDX-License-Identifier: Apache-2.0
"""`agentbus join` as a person types it: the line is seen nowhere, however long it is."""

import asyncio
import io
import json
import os
import pty
import subprocess
import sys
import termios
from dataclasses import replace
from datetime import UTC, datetime

import forking
import pytest
import served
from local_server import settings_at

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import new_seed
from mcp_agentbus.cli.account import join as cli_join
from mcp_agentbus.cli.account import unseen_line
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared.membership import invitation
from mcp_agentbus.shared.membership.invitation import Line
from mcp_agentbus.shared.membership.place import JoinedFolder, JoinedRecord
from mcp_agentbus.work.worker import Worker

_LINE = invitation.encode(
    Line(
        urls=tuple(f"tls://bus-{at}.example.org:4222" for at in range(150)),
        ca_pem="",
        lobby_seed=new_seed(),
        id="0123456789abcdef",
        secret="x" * 43,
        name="laptop",
        expires_at=datetime(2026, 11, 27, tzinfo=UTC),
    )
)


def joined(home, *argv, piped=None):
    argv = [sys.executable, "-m", "mcp_agentbus", "join", *argv]
    with forking.on():
        return forking.ran(argv, 60, piped=piped, env=served.environ(home))


def test_a_line_as_an_argument_is_refused_and_said_to_be_in_the_history(tmp_path):
    for argv in ([_LINE], [f"--line={_LINE}"], ["--line", _LINE], ["my", _LINE]):
        done = joined(tmp_path, *argv)
        assert done.returncode == 2
        assert "shell's history" in done.stderr, argv
        assert "revoked" in done.stderr
        assert _LINE[17:41] not in done.stdout + done.stderr
    seen = joined(tmp_path, _LINE, "--json")
    assert "shell's history" in json.loads(seen.stdout)["error"]["message"]
    done = joined(tmp_path, "laptop", "--json")
    assert "takes no words" in json.loads(done.stdout)["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_piped_line_is_read_and_what_is_none_is_refused(tmp_path):
    assert "is cut" in joined(tmp_path, piped=_LINE[:2_000]).stderr
    assert "is no line" in joined(tmp_path, piped="a token").stderr
    assert "No line" in joined(tmp_path, piped="").stderr
    assert "No line" in joined(tmp_path).stderr


def test_who_has_joined_and_is_not_yet_in_config_toml_is_asked_before_it_leaves(
    tmp_path, monkeypatch, capsys
):
    settings = settings_at(tmp_path)
    place = JoinedFolder(settings)
    place.folder.mkdir(parents=True)
    place.keep(JoinedRecord("laptop", ("tls://127.0.0.1:1",), "0123456789abcdef", "", {}))
    monkeypatch.setattr(cli_join, "load_settings", lambda: settings)
    monkeypatch.setattr(cli_join, "agreed", lambda *_: False)

    assert cli_join.run_leave(parser().parse_args(["leave"])) == 0
    said = capsys.readouterr()
    assert "You are the account laptop." in said.err + said.out
    assert place.record()


@pytest.mark.parametrize(
    ("give_back", "becomes"),
    [
        (False, ["which nobody ends then"] * 2),
        (True, ["which end as rejected", "which ends as rejected"]),
    ],
)
def test_who_leaves_is_told_what_its_shells_hold_and_what_becomes_of_that(give_back, becomes):
    held = {"coder": 2, "me": 1}
    lines = [*cli_join._before_leaving("laptop", 0, held, give_back=give_back)]

    assert [line.partition(": ")[0] for line in lines[1:]] == [
        f"coder holds 2 tasks in a shell, {becomes[0]}", f"me holds 1 task in a shell, {becomes[1]}",
    ]  # fmt: skip
    assert "`agentbus inbox --agent coder`" in lines[1]


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (True, "Your own server was stopped."),
        (False, ""),
        (BadSetup("It runs elsewhere.", hint="Stop it there."),
         "Your own server runs still: It runs elsewhere. Stop it there."),
    ],
)  # fmt: skip
def test_who_has_joined_is_told_what_became_of_the_server_of_before(
    tmp_path, monkeypatch, ended, said
):
    def stop(own):
        assert own.url is None
        if isinstance(ended, BadSetup):
            raise ended
        return ended

    monkeypatch.setattr(cli_join.embedded, "end", stop)
    settings = settings_at(tmp_path, AGENTBUS_URL="tls://127.0.0.1:1")

    assert cli_join._own_server_ended(settings) == said


def test_the_server_of_before_runs_on_for_whoever_is_at_work_there(settings):
    """The result of a worker waited for ever, and a session started it again."""
    shared = replace(settings, url="tls://127.0.0.1:1")
    embedded.ensure(settings)
    assert cli_join._own_server_ended(shared) == "Your own server was stopped."
    assert not embedded.Files(settings.data_dir).stopped.exists()  # for a time after `leave`

    async def at_work():
        async with (
            Bus(settings) as bus,
            Worker(bus, Agent("coder")),
            Session(bus, Agent("tester")) as tester,
        ):
            await tester.called()
            said = await asyncio.to_thread(cli_join._own_server_ended, shared)
            runs = embedded.find(settings)
        return said, runs, await asyncio.to_thread(cli_join._own_server_ended, shared)

    said, runs, left = asyncio.run(at_work())
    assert runs
    assert left == "Your own server was stopped."
    assert (
        "sessions or workers of coder, tester may be at work there. Once they are started" in said
    )
    assert said.endswith("agentbus server stop")


def test_of_many_that_are_at_work_some_are_named():
    agents = [f"a{number}" for number in range(9)]

    assert cli_join._named(agents[:8]) == "a0, a1, a2, a3, a4, a5, a6, a7"
    assert cli_join._named(agents) == "a0, a1, a2, a3, a4, a5, a6, a7 and 1 more"


def test_bytes_that_are_no_text_are_no_line(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), "utf-8"))

    with pytest.raises(BadInput, match="is no line"):
        invitation.decode(unseen_line.asked("", invitation.CHARS_MAX))


@pytest.mark.parametrize("end", ["\n", "\r", "\nrm -rf x\n", "\x04"])
def test_a_terminal_shows_nothing_of_a_line_longer_than_it_hands_over_and_leaves_none(
    tmp_path, end
):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    argv = [sys.executable, "-m", "mcp_agentbus.cli.main", "join"]
    process = subprocess.Popen(
        argv, env=served.environ(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs
    )
    shown = b""
    while not shown.endswith(b"(it is not shown): "):
        shown += os.read(ours, 65_536)
    assert not termios.tcgetattr(theirs)[3] & termios.ECHO
    os.write(ours, f"\x1b[200~{_LINE[:5_000]}{end}".encode())
    process.wait(timeout=60)
    assert termios.tcgetattr(theirs) == before
    os.set_blocking(theirs, False)
    with pytest.raises(BlockingIOError):  # nothing is left for the shell
        os.read(theirs, 1)
    os.close(theirs)
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # the end of a terminal
        pass
    os.close(ours)
    assert _LINE[4_000:4_020].encode() not in shown
    assert b"is cut" in shown
    assert process.returncode == 2
