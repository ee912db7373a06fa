# SPDX-License-Identifier: Apache-2.0
"""What a shell's session remembers in its file, by what name it is known, and what it goes on from."""

import hashlib
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from messages import read_record, read_task

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import processes, text
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.noted import CauseMemory
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.handoff.shells import session_id


@pytest.fixture
def file(tmp_path):
    """Where a session of `coder` remembers."""
    return shells.file_of(tmp_path, "coder")


def noted(file, chain, hops):
    """Write down by what way a task came that was ended just now."""
    claims = Claims(None, "coder", "session-0")
    claims.recall(chain, hops, text.now())
    CauseMemory(file, claims).note()


def test_the_end_of_a_task_is_written_once_and_no_command_waits_for_the_disk(
    tmp_path, file, monkeypatch
):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    claims = Claims(None, "coder", "session-1")
    memory = CauseMemory(file, claims)
    memory.note()
    before = file.exists()
    claims.recall(["planner"], 2, text.now())
    memory.note()
    file.unlink()
    memory.note()

    assert (before, file.exists(), synced) == (False, False, [])


def test_a_file_that_is_not_there_is_made_for_its_user_alone_and_left_open_nowhere(tmp_path):
    file = shells.file_of(tmp_path / "state", "coder")
    opened = len(list(Path("/dev/fd").iterdir()))
    for _ in range(2):
        CauseMemory(file, Claims(None, "coder", "session-1")).recall()

    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"{}", 0o600)
    assert file.parent.stat().st_mode & 0o077 == 0
    assert len(list(Path("/dev/fd").iterdir())) == opened


def test_an_empty_file_says_nothing_and_is_no_fault(file, caplog):
    file.touch(0o600)
    claims = Claims(None, "coder", "session-1")
    CauseMemory(file, claims).recall()

    assert (claims.ways.deepest, caplog.messages) == (None, [])


def test_a_file_that_cannot_be_used_is_told_of_and_gone_on_without(tmp_path, file, caplog):
    caplog.set_level(logging.WARNING)
    claims = Claims(None, "coder", "session-1")
    claims.recall(["planner"], 2, text.now())
    file.mkdir()
    CauseMemory(file, claims).recall()
    CauseMemory(file, claims).note()
    file.rmdir()
    file.touch(0o600)
    file.write_text('{"ended": {"at": 5}}')
    CauseMemory(file, claims).recall()

    assert [said.partition(". Hint: ")[0] for said in caplog.messages] == [
        f"{file} cannot be read: it is a folder and no file",
        f"{file} cannot be written: it is a folder and no file",
        f"{file} says nothing of use: fromisoformat: argument must be str",
    ]
    assert claims.cause() == (("planner",), 2)


@pytest.fixture
def bus(tmp_path):
    """No bus, with a user's settings."""
    return SimpleNamespace(settings=load_settings({"HOME": str(tmp_path / "home")}))


async def ran(bus, folder, work, **more):
    """Have a shell's session do some work."""
    async with shell_session(bus, Agent("coder"), folder, **more) as one:
        return work(one)


def holds(one):
    one.claims.hold(Claim(read_task(), None, read_record(), 1))


async def test_a_shells_session_is_a_lease_under_its_name_that_goes_on_and_notes(
    bus, tmp_path, file
):
    noted(file, ["planner"], 2)

    def work(one):
        found = (one.id, one.leased, one.claims.cause())
        one.claims.end(read_task().model_copy(update={"hops": 3}))
        return found

    known = await ran(bus, tmp_path, work)

    assert known == (session_id("coder", tmp_path), True, (("planner",), 2))
    later = Claims(None, "coder", "session-2")
    CauseMemory(file, later).recall()
    assert later.cause() == (read_task().chain, 3)


async def test_of_a_command_that_leaves_tasks_held_its_shell_is_noted(bus, tmp_path, monkeypatch):
    noted_of = []
    monkeypatch.setattr(shells, "above", lambda pid: [pid])
    monkeypatch.setattr(shells, "note", lambda *noted: noted_of.append(noted))
    for work, more in ((holds, {"pid": 47}), (holds, {}), (lambda _: None, {"pid": 48})):
        await ran(bus, tmp_path, work, **more)

    assert noted_of == [(tmp_path, session_id("coder", tmp_path), [47], ["t1"])]


def test_the_id_of_a_shells_session_differs_by_agent_folder_and_machine(tmp_path, monkeypatch):
    odd = os.fsdecode(b"/home/\xff")

    assert re.fullmatch(r"shell-[0-9a-f]{16}", session_id("coder", tmp_path))
    first = [session_id("coder", tmp_path) for _ in range(2)]
    others = [session_id("tester", tmp_path), session_id("coder", Path(odd))]
    monkeypatch.setattr(processes, "machine", lambda: "another")
    others.append(session_id("coder", tmp_path))
    assert len({*first, *others}) == 4


@pytest.fixture
def ids(tmp_path, monkeypatch):
    """What a shell's session is on a machine of that name, run, number and folder of files."""
    monkeypatch.setattr(shells, "_MACHINE_IDS", (str(tmp_path / "0"), str(tmp_path / "1")))
    monkeypatch.setattr(processes, "machine", str)

    def called(name, *, runs="boot", number=b"7\n", folder=tmp_path):
        (tmp_path / "0").write_bytes(number)
        monkeypatch.setattr(processes, "naming", lambda: runs)
        monkeypatch.setattr(shells.socket, "gethostname", lambda: name)
        return session_id("coder", folder)

    return called


def known(number, folder):
    """Return the id by what no other machine has."""
    named = "\0".join((number, os.path.realpath(folder), "coder"))
    return f"shell-{hashlib.sha256(named.encode()).hexdigest()[:16]}"


@pytest.mark.parametrize(
    ("files", "number"), [((b"7\n", b"8\n"), "7"), ((b"", b"8\n"), "8"), ((b"\xff", b""), "")]
)
def test_a_machine_is_known_by_its_number_and_its_name(tmp_path, ids, files, number):
    (tmp_path / "1").write_bytes(files[1])

    assert ids("pi", number=files[0]) == known(f"{number} pi", tmp_path)


@pytest.mark.parametrize("number", [b"7\n", b""])
def test_a_machine_that_is_renamed_keeps_what_its_shells_hold(tmp_path, ids, number):
    """A laptop that was renamed left its tasks to nobody for two hours."""
    before = ids("pi", number=number)
    seen = [ids("pea", number=number)]
    seen += [ids("pea", number=number, runs="next"), ids("pod", number=number, runs="next")]

    assert seen == [before] * 3
    assert (tmp_path / "machines").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [b"7\n", b""])
def test_machines_that_are_copies_of_one_do_not_take_up_what_another_holds(ids, number):
    """Also where the copy was made after the first use, or shares the first one's folder."""
    first, copy = ids("pi", number=number), ids("pea", number=number, runs="beside")

    assert first != copy
    assert ids("pi", number=number, runs="next") == first
    assert ids("pea", number=number, runs="later") == copy
    assert ids("pea", number=b"8", runs="boot") not in {first, copy}


@pytest.mark.parametrize("content", [None, b"\xff\n7\tboot\n", b"x" * (2 << 20)])
def test_a_machine_of_which_nothing_is_noted_is_known_by_the_name_of_now(tmp_path, ids, content):
    folder = tmp_path / "file" / "under"
    folder.parent.touch()
    if content is not None:
        folder = tmp_path
        (folder / "machines").write_bytes(content)

    assert ids("pi", folder=folder) == known("7 pi", folder)


def test_of_machines_the_latest_are_noted(tmp_path, ids):
    for each in range(100):
        ids("pi", runs=f"boot {each}")

    assert len((tmp_path / "machines").read_bytes().splitlines()) == 64
    assert ids("pea", runs="boot 99") == ids("pi")


def test_a_mac_is_known_by_its_number_whatever_its_name_is(tmp_path, ids, monkeypatch):
    monkeypatch.setattr(processes, "machine", lambda: "00ff")

    assert ids("pi") == ids("pea", runs="next") == known("00ff", tmp_path)
