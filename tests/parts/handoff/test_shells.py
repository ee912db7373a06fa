# SPDX-License-Identifier: Apache-2.0
"""From which shells commands were typed: noted, and gone where none of the processes is left."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from planners_task import TASK
from server_stand_in import NOON, Server

from mcp_agentbus.core import processes
from mcp_agentbus.errors import Refused
from mcp_agentbus.handoff import shell_session, shells

SESSION = "shell-0123456789abcdef"
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is noted")


def ended():
    """Return a process that has lived."""
    with subprocess.Popen(["/bin/sh", "-c", "read end"], stdin=subprocess.PIPE) as shell:
        return processes.known(shell.pid)


@ON_LINUX
def test_above_a_command_is_all_that_ends_with_its_shell(tmp_path):
    pids = [each.pid for each in shells.above(os.getpid())]

    assert pids[:1] == [os.getppid()]
    assert 1 not in pids
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as below:
        assert shells.above(below.pid) == []  # of what does the command there
    assert shells.above(0) == []


@pytest.mark.parametrize(
    ("lines", "noted"),
    [
        ({7: ["/bin/bash", "-l"], 8: ["/usr/bin/tmux", "new"], 9: ["/bin/zsh"]}, [7]),
        ({7: ["bash"], 8: ["sshd: me@pts/0"], 9: ["bash"]}, [7]),
        ({7: ["SCREEN"], 8: ["bash"]}, []),
        ({7: ["/opt/my tools/tmux"], 8: ["bash"]}, []),
        ({7: ["bash"], 8: ["sshd:", "me@ttys000"], 9: ["bash"]}, [7]),
        ({7: ["bash"], 8: ["tmux new"]}, [7]),
        ({7: ["node", "tmux"], 1: ["any"], 9: ["bash"]}, [7]),
        ({7: ["bash"], 8: None, 9: ["code"]}, [7, 9]),
    ],
    ids=[
        "a path", "with a title", "at once", "a folder with a blank", "a title in two words",
        "a title in one", "the first", "one that has ended",
    ],
)  # fmt: skip
def test_a_shell_ends_below_what_outlives_it(monkeypatch, lines, noted):
    def words(pid):
        if lines[pid] is None:
            raise ProcessLookupError
        return lines[pid]

    monkeypatch.setattr(processes, "above", lambda _: list(lines))
    monkeypatch.setattr(shells.ancestors, "words", words)
    monkeypatch.setattr(processes, "known", lambda pid: pid)

    assert shells.above(5) == noted


def test_without_a_note_or_with_a_torn_one_no_shell_counts_as_gone(tmp_path):
    assert shells.gone_since(tmp_path, SESSION) is None
    shells.note(tmp_path, SESSION, [])
    assert list(tmp_path.iterdir()) == []
    for torn in (b"", b"\n", b"47", b"x 1 2\n", b"\xff\n"):
        (tmp_path / f"{SESSION}.above").write_bytes(torn)
        assert shells.gone_since(tmp_path, SESSION) is None


@ON_LINUX
def test_shells_are_gone_once_nothing_is_left_above_any_command(tmp_path):
    me, other = processes.known(os.getpid()), ended()
    shells.note(tmp_path, SESSION, [other])
    since = shells.gone_since(tmp_path, SESSION)
    assert abs(since - datetime.now(UTC)) < timedelta(minutes=1)

    shells.note(tmp_path, SESSION, [other, me])  # a program within that shell goes on
    assert shells.gone_since(tmp_path, SESSION) is None
    assert (tmp_path / f"{SESSION}.above").stat().st_mode & 0o077 == 0


@ON_LINUX
def test_what_was_claimed_below_a_program_is_known_once_nothing_of_it_is_left(tmp_path):
    me, program, child = processes.known(os.getpid()), ended(), ended()
    shells.note(tmp_path, SESSION, [child, program, me], ["7f", "8a"])
    shells.note(tmp_path, SESSION, [me, program], ["9b"])  # what it has started goes on
    shells.note(tmp_path, SESSION, [child, me], ["ac"])
    shells.note(tmp_path, SESSION, [child, program, me])
    assert len((tmp_path / f"{SESSION}.above").read_bytes().splitlines()) == 3

    assert shells.claimed_below(tmp_path, SESSION, program) == {"7f", "8a"}
    assert shells.claimed_below(tmp_path, SESSION, me) == frozenset()


@ON_LINUX
def test_a_task_is_of_the_shell_that_went_on_with_it_last(tmp_path):
    me, program = processes.known(os.getpid()), ended()
    below = []
    for shell in ([program, me], [me], [program, me], [me]):
        shells.note(tmp_path, SESSION, shell, ["7f"])
        below.append(shells.claimed_below(tmp_path, SESSION, program))

    assert below == [{"7f"}, frozenset(), {"7f"}, frozenset()]


@ON_LINUX
@pytest.mark.parametrize(
    ("space", "gone"),
    [("another-boot pid:[1]", True), ("{boot} pid:[1]", False)],
    ids=["another boot", "another container"],
)
def test_of_another_boot_no_shell_is_left_and_of_another_container_nobody_knows(
    tmp_path, space, gone
):
    boot = processes.space().partition(" ")[0]
    there = processes.known(os.getpid())._replace(space=space.format(boot=boot))
    shells.note(tmp_path, SESSION, [there])

    assert (shells.gone_since(tmp_path, SESSION) is not None) == gone


@ON_LINUX
def test_a_shell_is_noted_once_and_those_that_are_gone_make_room(tmp_path):
    file, me = tmp_path / f"{SESSION}.above", processes.known(os.getpid())
    shells.note(tmp_path, SESSION, [me])
    os.utime(file, (0, 0))
    shells.note(tmp_path, SESSION, [me])
    assert len(file.read_bytes().splitlines()) == 1
    assert file.stat().st_mtime > 0

    for number in range(2 * shells._LINES_MAX):
        shells.note(tmp_path, SESSION, [me._replace(pid=4_194_304 + number)])
    assert len(file.read_bytes().splitlines()) <= shells._LINES_MAX
    assert shells.gone_since(tmp_path, SESSION) is None


@ON_LINUX
def test_what_is_claimed_stays_noted_however_many_commands_follow(tmp_path):
    file, me, program = tmp_path / f"{SESSION}.above", processes.known(os.getpid()), ended()
    shells.note(tmp_path, SESSION, [program, me], ["7f", "8a"])
    shells.note(tmp_path, SESSION, [program, me], ["9b"])
    shells.note(tmp_path, SESSION, [me], ["8a"])
    for number in range(2 * shells._LINES_MAX):
        shells.note(tmp_path, SESSION, [me._replace(pid=4_194_304 + number), me])

    assert len(file.read_bytes().splitlines()) <= shells._LINES_MAX
    assert shells.claimed_below(tmp_path, SESSION, program) == {"7f", "9b"}


@ON_LINUX
def test_of_tasks_without_end_those_that_were_noted_last_are_kept(tmp_path):
    me, program = processes.known(os.getpid()), ended()
    shells.note(tmp_path, SESSION, [program, me], ["7f"])
    for number in range(2 * shells._LINES_MAX):
        shells.note(tmp_path, SESSION, [program, me], [str(number)])

    below = shells.claimed_below(tmp_path, SESSION, program)
    assert shells._TASKS_KEPT <= len(below) <= shells._LINES_MAX + shells._TASKS_KEPT
    assert str(2 * shells._LINES_MAX - 1) in below


class Held(dict):
    """What shells hold, of which the bus does not take the first back."""

    def __init__(self, *task_ids):
        super().__init__({each: self.claim(each) for each in task_ids})
        self.given_back = []

    @staticmethod
    def claim(task_id):
        record = SimpleNamespace(updated_at=NOON, state="claimed")
        return SimpleNamespace(task=TASK.model_copy(update={"id": task_id}), record=record)

    async def give_back(self, claim, **_):
        if claim.task.id == "t1":
            raise Refused("Another writes it.")
        self.given_back.append(claim.task.id)


async def test_a_task_that_cannot_be_given_back_keeps_no_other_held(tmp_path, monkeypatch):
    claims, bus = Held("t1", "t2", "t3"), Server(state_dir=tmp_path)

    async def held(*_):
        return claims

    monkeypatch.setattr(shell_session, "held", held)

    with pytest.raises(Refused):
        await shell_session.give_back(bus, "coder", ["t1", "t2"], NOON)

    assert claims.given_back == ["t2"]
