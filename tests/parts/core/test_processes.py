# SPDX-License-Identifier: Apache-2.0
"""Other processes: whose child one is and when it was started, whatever it calls itself."""

from __future__ import annotations

import ctypes
import os
import queue
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from undescribed import WAYS, take_descriptors

from mcp_agentbus.core import processes
from mcp_agentbus.core.feather import ancestors


def test_this_process_is_its_parents_child():
    assert ancestors.parent_of(os.getpid()) == os.getppid()


@pytest.fixture
def no_linux(monkeypatch):
    """Have what /proc says be asked of `ps`, as where there is none."""
    if not os.path.exists("/bin/ps"):  # noqa: PTH110  # as it is called
        pytest.skip("there is no ps")
    for module in (ancestors, processes):
        monkeypatch.setattr(module, "_LINUX", False)
    monkeypatch.setattr(ancestors, "status", lambda _: [])


@pytest.mark.parametrize("parent", [0, 2**22 + 1, os.getpid()], ids=["of none", "gone", "other"])
def test_who_has_another_parent_than_at_first_is_told_at_once_that_this_has_ended(parent):
    """Its number may be of no process, of another one, or of another namespace."""
    told = queue.Queue()

    processes.on_end(parent, lambda: told.put("ended"))

    assert told.get(timeout=60) == "ended"


def test_where_there_is_no_proc_ps_tells_of_a_parent(no_linux):
    assert ancestors.parent_of(os.getpid()) == os.getppid()
    assert processes.above(os.getpid())[0] == os.getppid()


def test_what_tells_a_process_from_others_stays_in_another_network(no_linux, monkeypatch):
    there = []
    for name in ("home.local", "office"):
        monkeypatch.setattr(os, "uname", lambda name=name: SimpleNamespace(nodename=name))
        there.append(processes.known(os.getpid()).mark)

    assert there[0] == there[1]
    assert processes.born(os.getpid())


def test_when_a_process_was_started_is_told_alike_in_each_time_zone(no_linux, monkeypatch):
    asked, run = [], subprocess.run

    def noted(argv, *, env, **more):
        asked.append(env)
        return run(argv, env=env, **more)

    monkeypatch.setattr(subprocess, "run", noted)

    assert processes.born(os.getpid())
    assert [env["TZ"] for env in asked] == ["UTC"]


@pytest.mark.skipif(sys.platform != "linux", reason="the name stands in /proc only")
@pytest.mark.parametrize("name", ["plain", "a b", "a) 1 2 (b", "(((", ") S 1 1", "end\nof line"])
def test_the_name_of_a_process_does_not_matter(name, tmp_path):
    program = tmp_path / name
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as child:
        try:
            assert ancestors.parent_of(child.pid) == os.getpid()
            assert processes.born(child.pid).isdecimal()
        finally:
            child.kill()


def test_of_a_process_that_has_ended_nothing_is_told():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    assert ancestors.parent_of(child.pid) == 0
    assert processes.born(child.pid) == ""


@pytest.mark.parametrize("way", [None, *WAYS])
def test_a_signal_goes_to_that_very_process_and_to_no_other(tmp_path, monkeypatch, way):
    take_descriptors(monkeypatch, way)
    file, other = tmp_path / "lock", tmp_path / "other"
    other.touch()
    with file.open("wb") as lock, subprocess.Popen(["cat", "-", "word"], stdin=-1) as stranger:
        argv = [sys.executable, "-c", "print(flush=True); input()", "word"]
        with subprocess.Popen(argv, stdin=-1, stdout=-1, pass_fds=[lock.fileno()]) as ours:
            ours.stdout.readline()  # while a program is loaded its command line is empty
            known = processes.known(ours.pid)
            refused = (
                (known._replace(born="1"), {}),
                (known._replace(pid=stranger.pid), {"holding": str(file)}),
                (known._replace(space="another-boot pid:[1]"), {}),
                (known._replace(pid=0, born=""), {}),
                (known, {"naming": "another word"}),
                (processes.known(stranger.pid), {"naming": "word", "holding": str(file)}),
            )
            if sys.platform == "linux":
                refused += ((known, {"holding": str(other)}),)
            assert [processes.signal(one, 9, **which) for one, which in refused] == [
                False for _ in refused
            ]
            assert (ours.poll(), stranger.poll()) == (None, None)
            unknown = known._replace(born="", space="")  # as an earlier version noted it
            assert processes.is_still(unknown, naming="word", holding=str(file))
            assert processes.signal(known, 9, naming="word", holding=str(file))
            assert ours.wait() == -9
            assert not processes.is_still(known)
        stranger.stdin.close()


# Enters a root of its own, in the mount namespace of all: as root, or as one of a user namespace.
ROOTED = """
import ctypes, os, sys
os.getuid() == 0 or ctypes.CDLL(None).unshare(0x10000000)
os.chroot(sys.argv[1])
print("there", flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the root stands in /proc only")
@pytest.mark.parametrize(("root", "same"), [("/", True), (None, False)], ids=["same", "other"])
def test_what_has_another_root_sees_other_files_by_the_same_names(tmp_path, root, same):
    """As what is started in a chroot of the same user: it has a folder of each name, too."""
    argv = [sys.executable, "-c", ROOTED, root or str(tmp_path)]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1) as other:
        if other.stdout.readline() != b"there\n":
            pytest.skip(f"no root of its own can be had: {other.stderr.read()[-300:]}")
        assert processes.sees_same_files(other.pid) is same
        other.kill()
    assert not processes.sees_same_files(other.pid)


@pytest.mark.parametrize("way", WAYS)
def test_without_descriptors_a_process_is_known_and_told_from_none(monkeypatch, way):
    known = processes.known(os.getpid())

    take_descriptors(monkeypatch, way)

    assert processes.known(os.getpid(), since=known.since) == known
    assert [processes.born(pid) for pid in (0, -1)] == ["", ""]


def test_without_descriptors_what_another_namespace_shows_is_of_nobody(monkeypatch):
    take_descriptors(monkeypatch, "unknown")
    monkeypatch.setattr(os, "readlink", lambda _: "4711")

    assert processes.born(os.getpid()) == ""


@pytest.fixture
def no_proc(monkeypatch):
    """Have it told by `ps` alone, as on macOS."""
    for module in (ancestors, processes):
        monkeypatch.setattr(module, "_LINUX", False)


@pytest.mark.parametrize("name", ["plain", "Application Support/agentbus.conf"])
def test_without_proc_a_word_with_blanks_is_found_in_a_command_line(no_proc, name):
    argv = ["/bin/sh", "-c", "echo; read line", name, "-"]
    with subprocess.Popen(argv, stdin=-1, stdout=-1) as child:
        child.stdout.readline()  # while a program is loaded its command line is empty
        known = processes.known(child.pid)

        assert processes.is_still(known, naming=name)
        assert not processes.is_still(known, naming="another")
        assert not processes.is_still(known, naming=name[1:])
        assert processes.is_still(known)
        assert processes.signal(known, 9, naming=name)
        assert child.wait() == -9


@pytest.mark.parametrize(
    ("library", "uuid"),
    [
        (lambda returned: SimpleNamespace(gethostuuid=returned(0)), bytes(range(16)).hex()),
        (lambda returned: SimpleNamespace(gethostuuid=returned(1)), ""),
        (lambda returned: SimpleNamespace(), ""),
    ],
    ids=["a Mac", "one that does not tell", "no Mac"],
)
def test_the_number_of_a_mac_is_asked_for_within_a_second(monkeypatch, library, uuid):
    at_most = []

    def returned(code):
        def gethostuuid(number, within):
            number[:] = bytes(range(16))
            at_most.append(list(within))
            return code

        return gethostuuid

    monkeypatch.setattr(ctypes, "CDLL", lambda _: library(returned))
    monkeypatch.setattr(processes, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(processes, "_machine", [])

    assert processes.machine() == uuid
    assert at_most in ([], [[1, 0]])
