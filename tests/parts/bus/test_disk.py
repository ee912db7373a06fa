# SPDX-License-Identifier: Apache-2.0
"""What the embedded server's log says of a write that failed, and when it is started anew."""

import errno
import os
import resource
import time
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus import embedded, said
from mcp_agentbus.bus.own import disk
from mcp_agentbus.core import locks
from mcp_agentbus.doctor import server as doctor

BEGUN = "[7] 2026/11/29 02:11:38.000000 [INF] Starting nats-server\n"
FAILED = (
    "[7] 2026/11/29 02:11:42.460683 [ERR] JetStream failed to store a msg on stream "
    "'$G > AGENTBUS_TASKS': write /home/a: b/store/msgs/1.blk: {}\n"
)
OTHER = "[7] 2026/11/29 02:11:43.000000 [ERR] a@b - maximum connections exceeded: bad\n"
DISABLED = (
    "[7] 2026/11/29 02:11:42.460683 [ERR] File system permission denied when writing, "
    "disabling JetStream: open /home/a: b/store/msgs/1.blk: permission denied\n"
)


@pytest.fixture
def runs(files):
    """A server that seems to run; write its log, and see how often it is started anew."""
    files.store.mkdir(parents=True)
    with locks.held(files.lock, wait=False):
        yield


@pytest.fixture
def anew(runs, monkeypatch):
    done = []
    monkeypatch.setattr(disk.embedded, "end", done.append)
    monkeypatch.setattr(disk.embedded, "ensure", done.append)
    return done


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", ""),
        (BEGUN + OTHER, ""),
        (BEGUN + FAILED.format("no space left on device"), "no space left on device"),
        (BEGUN + FAILED.format("disk quota exceeded") + OTHER, "disk quota exceeded"),
        (BEGUN + FAILED.format("file too large"), "file too large"),
        (BEGUN + FAILED.format("input/output error"), "input/output error"),
        (BEGUN + FAILED.format("read-only file system"), "read-only file system"),
        (BEGUN + DISABLED, "permission denied"),
        (BEGUN + FAILED.format("/home/x\x1b[31m"), "a reason that its log names"),
        (BEGUN + FAILED.format("file too large") + BEGUN, ""),
    ],
)
def test_a_write_that_failed_is_told_in_the_systems_words_until_the_next_start(
    settings, files, runs, log, why
):
    files.log.write_text(log)

    assert disk.write_error(settings) == why


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
def test_a_disk_that_is_read_only_is_told_though_the_log_on_it_says_nothing(
    settings, runs, monkeypatch, code
):
    """It was told as full; and of a server outside a sandbox, that it stores nothing any more."""

    def refused(*_, **__):
        raise OSError(code, "no")

    monkeypatch.setattr(disk.tempfile, "TemporaryFile", refused)

    why, check = disk.write_error(settings), doctor._writing(settings, "it runs")
    if code == errno.EIO:
        assert (why, check.state) == ("", "ok")
        return
    monkeypatch.setattr(disk.locks, "take", refused)  # nothing is written to be locked there either
    assert not disk.revive(settings)
    told = said.nothing_kept(why)
    assert (check.state, check.mend) == ("warning", None)
    for words in (f"{check.said} {check.fix}", f"{told.message} {told.hint}"):
        assert all(part in words for part in ("read-only", "sandbox", "disk that has failed"))
        assert "started anew" not in words
        assert "could not write" not in words


def test_of_a_server_that_does_not_run_nothing_is_told(settings, files):
    files.store.mkdir(parents=True)
    files.log.write_text(BEGUN + FAILED.format("file too large"))

    assert disk.write_error(settings) == ""


@pytest.mark.parametrize("why", ["file too large", "no space left on device"])
def test_one_that_can_write_nothing_is_started_anew_and_for_no_full_disk_once_a_minute(
    settings, files, anew, why
):
    files.log.write_text(BEGUN + FAILED.format(why))
    full = why.startswith("no space")

    assert [disk.revive(settings) for _ in range(3)] == [True, full, full]
    assert len(anew) == (6 if full else 2)
    minute_ago = time.time() - 61
    os.utime(files.root / "revived", (minute_ago, minute_ago))
    assert disk.revive(settings)


def test_one_whose_store_takes_nothing_is_left_alone(settings, files, anew):
    files.log.write_text(BEGUN + DISABLED)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        assert not disk.revive(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not anew


@pytest.mark.parametrize(
    ("given", "may", "is_widened"),
    [
        ("31097520", 62195040, True),
        ("31097521", 62195040, False),
        ("little", 62195040, False),
        ("", 62195040, False),
        ("0", 8 << 20, True),
        ("0", (8 << 20) - 1, False),
        ("0", 0, False),
    ],
)
def test_one_that_began_on_a_nearly_full_disk_is_started_anew_for_much_more_room(
    files, anew, monkeypatch, *, given, may, is_widened
):
    settings = SimpleNamespace(data_dir=files.root, url=None)
    if given:
        files.conf.write_text(f"  max_file_store: {given}\n")
    monkeypatch.setattr(disk.limits, "store_limit", lambda _: may)

    assert disk.widen(settings) is is_widened
    assert len(anew) == (2 if is_widened else 0)
    check = doctor._writing(settings, "it runs")
    assert (check.state, bool(check.mend)) == (("warning" if is_widened else "ok"), is_widened)


def test_of_one_that_does_not_run_no_limit_is_too_low(settings, files):
    files.store.mkdir(parents=True)
    files.conf.write_text("max_file_store: 1\n")

    assert not disk.widen(settings)


def test_a_store_that_is_gone_has_no_room(settings, files):
    files.root.mkdir(parents=True)

    assert not disk.has_room(settings)


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("why", "has_room", "fix"),
    [
        ("no space left on device", False, "Free some disk space"),
        ("no space left on device", True, "agentbus server stop"),
        ("permission denied", False, "ls -ld"),
        ("read-only file system", False, "mount; dmesg"),
        ("file too large", True, "ulimit -f"),
    ],
)
def test_doctor_names_the_reason_and_what_mends_it(settings, monkeypatch, why, has_room, fix):
    embedded.Files(settings.data_dir).log.write_text(BEGUN + FAILED.format(why))
    monkeypatch.setattr(disk, "has_room", lambda _: has_room)

    check = doctor._writing(settings, "it runs")

    assert check.state == "wrong"
    assert ("its disk was full" if "space" in why else why) in check.said
    assert fix in check.fix
    assert bool(check.mend) is has_room


@pytest.mark.parametrize("why", ["", "no space left on device", "file too large"])
def test_what_is_not_confirmed_is_told_with_the_reason(why):
    told = said.nothing_kept(why)

    assert ("its disk is full" in told.message) is (why != "file too large")
    assert (why in told.message) is (why != "no space left on device")
    assert "agentbus doctor" in told.hint
