# SPDX-License-Identifier: Apache-2.0
"""Why nobody learns where a server listens that has just started, and which one holds its lock."""

from pathlib import Path

import pytest
from local_server import settings_at

from mcp_agentbus.bus import reach
from mcp_agentbus.core.processes import Process


def test_an_address_that_goes_as_its_server_ends_says_nothing_of_the_disk(tmp_path):
    (tmp_path / "nats-server_1.ports").symlink_to(tmp_path / "gone")

    assert reach.untold(tmp_path, tmp_path / "nats.log") is None


def test_a_lock_is_named_as_it_is_typed_in_a_shell():
    """In macOS' own folders there is a space."""
    error = reach.not_ours(None, Path("/Library/Application Support/nats.lock"))

    assert error.hint.endswith(": fuser -v '/Library/Application Support/nats.lock'")


def test_a_server_of_another_container_is_stopped_before_it_is_killed(monkeypatch, tmp_path):
    """Else a listener in there starts it again; `server stop` has noted it before it refuses."""
    there = Process(1, space="boot pid:[7]", network="boot net:[7]")
    monkeypatch.setattr(reach.processes, "holding", lambda _: [7])
    monkeypatch.setattr(reach.processes, "network", lambda: "boot net:[8]")
    monkeypatch.setattr(reach, "is_isolated", lambda: False)

    away = reach.cut_off(there, tmp_path)
    assert away.hint.startswith("Run: agentbus server stop; kill 7, then this again")
    assert reach.not_ours(there, tmp_path).hint == "Run: kill 7."


BEGUN = "[7] 2026/11/29 02:11:38.000000 [INF] Starting nats-server\n"
#: As a server of nats ends where `ulimit -v` leaves it too little.
BROKEN = """\
fatal error: failed to reserve page summary memory

runtime stack:
runtime.throw({0xc68456?, 0x20000000?})
\truntime/panic.go:1229 +0x48 fp=0x7ffc54568d90
runtime.rt0_go()
\truntime/asm_amd64.s:340 +0x11d fp=0x7ffc54568d98
"""


@pytest.mark.parametrize(
    ("log", "end", "mends"),
    [
        (BEGUN + BROKEN, ": fatal error: failed to reserve page summary memory", "ulimit -v"),
        (f"{BEGUN}panic: a\n\tb.go:1\n", ": panic: a", "AGENTBUS_NATS_SERVER"),
        (BROKEN + BEGUN, f"fp=0x7ffc54568d98 | {BEGUN[:-1]}", "AGENTBUS_NATS_SERVER"),
    ],
    ids=["no memory", "panic", "of an earlier start"],
)
def test_a_server_that_broke_is_told_by_why_and_not_by_where(tmp_path, log, end, mends):
    """It was told by the last places of its stack, and as one to start again."""
    (tmp_path / "nats.log").write_text(log)
    told = reach.end_of_log(tmp_path / "nats.log")

    assert told.endswith(end)
    named = settings_at(tmp_path, AGENTBUS_NATS_SERVER="/usr/bin/nats-server")
    assert mends in reach.mends(told, named)
    assert (reach.mends(told, settings_at(tmp_path)) == "") is ("ulimit" not in mends)
