# SPDX-License-Identifier: Apache-2.0
"""`agentbus doctor` on real servers and listeners: what it finds, mends, and sends round."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import forking
import pytest
import served
from doctors import listener_goes, printed, report, with_streams
from halting import halted
from listeners import configure, false_listener, known, listening, recorder, send

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import streams
from mcp_agentbus.store.status import standing
from mcp_agentbus.version import __version__

_WITHIN_S = 90  # only a hang takes as long
# A listener as an earlier version had it.
_OLDER = (
    "import sys, mcp_agentbus.version as v; v.__version__ = '0.0.9'; "
    "from mcp_agentbus.cli.main import main; sys.exit(main(['listen']))"
)
# As `agentbus doctor` does, in a process of its own: it may leave a listener behind.
_DOCTOR = (
    "import asyncio, os, sys; from mcp_agentbus.doctor import hosts, run as doctor; "
    "from mcp_agentbus.config.settings import settings_or_defaults; "
    "hosts.HOSTS = (); "
    "look = doctor.run(settings_or_defaults(os.environ), print, as_json=True, fix=True); "
    "sys.exit(asyncio.run(look))"
)


def coder(folder, **more):
    """Write an agent that a listener can start."""
    return {"command": recorder(folder), **more}


async def test_where_all_is_well_each_check_is_ok(there, tmp_path):
    await with_streams(there)
    configure(there, tmp_path, coder=coder(tmp_path))
    async with listening(there):
        code, found = await report(there)

    found.pop("hooks")  # it compares times
    found.pop("disk")  # the machine's own
    assert code == 0
    assert {one["state"] for one in found.values()} == {"ok"}
    assert set(found) == {
        "versions", "nats-server", "config", "files", "server", "durability", "store", "clock",
        "listener", "agent coder", "messages",
    }  # fmt: skip


async def test_a_person_reads_a_line_for_each_check(there):
    await with_streams(there)
    code, text = await printed(there, as_json=False)

    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith("ok  versions     agentbus ")
    assert "\x1b" not in text


async def test_looking_starts_no_server(there):
    embedded.stop(there)
    code, found = await report(there)

    assert embedded.find(there) is None
    assert code == 0
    assert found["server"]["state"] == "warning"
    assert "agentbus server start" in found["server"]["fix"]


async def test_a_server_that_hangs_is_wrong(there):
    pid = embedded.find(there).pid
    with halted(pid):
        code, found = await report(there)

    assert code == 1
    assert found["server"]["state"] == "wrong"
    assert "does not answer" in found["server"]["said"]


async def test_a_server_without_durability_is_wrong_and_its_status_says_so(there):
    conf = embedded.Files(there.data_dir).conf
    conf.write_text(conf.read_text().replace("sync_interval: always", "sync_interval: 2m"))

    code, found = await report(there)
    async with Bus.connect(there) as bus:
        await streams.ensure_streams(bus)
        status = await standing(bus)

    assert code == 1
    assert found["durability"]["state"] == "wrong"
    assert status.data["acknowledged_is_on_disk"] is False
    assert found["durability"]["said"] in status.text


def opened(settings, what):
    """Open a file or folder of a bus to others; return it."""
    files = embedded.Files(settings.data_dir)
    path = {
        "config": settings.config_file,
        "token": files.token,
        "conf": files.conf,
        "ledger": settings.ledger_file,
        "archive": settings.archive_file,
        "data": settings.data_dir,
        "state": settings.state_dir,
        "run": Path(settings.runtime_dir),
        "home": settings.config_file.parent,
    }[what]
    folder = what in {"data", "state", "run", "home"}
    if folder:
        path.mkdir(exist_ok=True)
    else:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        path.touch()
    # Of what holds no secret only the right to change it matters.
    path.chmod(0o777 if folder else 0o666 if what == "config" else 0o644)
    return path


@pytest.mark.parametrize(
    "what", ["config", "token", "conf", "ledger", "archive", "data", "state", "run", "home"]
)
async def test_what_others_may_read_is_wrong_until_a_fix_closes_it(there, what):
    await with_streams(there)
    path = opened(there, what)
    before = path.stat().st_mode & 0o777

    code, found = await report(there)
    assert code == 1
    assert found["files"]["state"] == "wrong"
    open_ = "can be changed by" if what == "config" else "is open to"
    assert f"{path} {open_} other users" in found["files"]["said"]
    assert "chmod" in found["files"]["fix"]

    code, _ = await printed(there, fix=True, dry_run=True)
    assert code == 1
    assert path.stat().st_mode & 0o777 == before

    code, text = await printed(there, fix=True)
    assert code == 0, text
    assert path.stat().st_mode & 0o077 == 0
    [step] = json.loads(text)["steps"]
    assert step["state"] == "done"
    assert str(path) in step["step"]


async def test_a_fix_starts_the_server(there):
    embedded.stop(there)
    code, text = await printed(there, fix=True, dry_run=True, as_json=False)
    assert text.startswith("would: start this user's server\n")
    assert embedded.find(there) is None

    code, found = await report(there, fix=True)

    assert code == 0
    assert embedded.find(there)
    assert found["server"]["state"] == found["store"]["state"] == "ok"


async def test_a_fix_opens_the_way_for_the_next_one(there):
    embedded.stop(there)
    opened(there, "config")

    code, found = await report(there, fix=True)

    assert code == 0
    assert found["config"]["state"] == found["server"]["state"] == "ok"


@pytest.mark.parametrize(
    "text", ["no toml at all [", "[agents.coder]\nhosts = 1", '[server]\nurl = "http://x"']
)
async def test_with_a_broken_configuration_no_other_bus_is_looked_at(there, text):
    embedded.stop(there)
    there.config_file.write_text(text)
    there.config_file.chmod(0o600)

    code, found = await report(there)

    assert code == 1
    assert found["config"]["state"] == "wrong"
    assert found["server"]["state"] == found["agents"]["state"] == "unknown"
    assert "the configuration cannot be read" in found["server"]["said"]
    assert found["files"]["state"] == "ok"
    assert embedded.find(there) is None


async def test_a_url_with_a_secret_in_it_is_wrong_and_not_shown(there):
    environ = {**there.environ, "AGENTBUS_URL": "nats://me:hunter2hunter2@bus.example.org:4222"}
    code, text = await printed(replace(there, environ=environ))

    assert code == 1
    assert "has a secret in it" in text
    assert "hunter2" not in text


@pytest.mark.promise(40)
async def test_the_token_of_the_bus_is_never_shown(there, tmp_path):
    configure(there, tmp_path, coder=coder(tmp_path))
    token = embedded.read_token(there)
    async with listening(there):
        shown = [await printed(there, as_json=as_json) for as_json in (True, False)]
        shown.append(await printed(there, self_test=True, as_json=False))
        opened(there, "token")
        shown.append(await printed(there, as_json=False))

    assert len(token) > 40
    assert all(token not in text for _, text in shown)


async def test_without_a_listener_agents_are_not_woken(there, tmp_path):
    configure(there, tmp_path, coder=coder(tmp_path))

    code, found = await report(there)

    assert code == 0
    assert found["listener"]["state"] == "warning"
    assert "nothing wakes coder" in found["listener"]["said"]
    assert "agentbus listen --install" in found["listener"]["fix"]


def doctor_process(settings):
    """Run `agentbus doctor --fix` in a process of its own; return what it printed as data."""
    ran = forking.ran([sys.executable, "-c", _DOCTOR], _WITHIN_S, env=dict(settings.environ))
    assert not ran.stderr
    return ran.returncode, json.loads(ran.stdout)


async def test_a_fix_starts_a_listener_for_agents_that_are_to_be_woken(there, tmp_path):
    await with_streams(there)
    configure(there, tmp_path, coder=coder(tmp_path))
    with listener_goes(there):
        code, said = await asyncio.to_thread(doctor_process, there)
        status = await asyncio.to_thread(local_socket.ask, there, {"op": "status"})

    assert code == 0
    assert [one["state"] for one in said["steps"]] == ["done"]
    assert status["version"] == __version__


@pytest.mark.started  # it says its version before the rest of it is loaded
async def test_a_listener_of_another_version_is_wrong_until_a_fix_replaces_it(there, tmp_path):
    await with_streams(there)
    configure(there, tmp_path, coder=coder(tmp_path))
    async with listening(there, script=["-c", _OLDER]) as older:
        code, found = await report(there)
        assert code == 1
        assert found["listener"]["state"] == "wrong"
        assert "0.0.9" in found["listener"]["said"]
        assert "agentbus listen --replace" in found["listener"]["fix"]

        with listener_goes(there):
            code, _ = await asyncio.to_thread(doctor_process, there)
            status = await asyncio.to_thread(local_socket.ask, there, {"op": "status"})
            ended = await older.process.wait()

    assert (code, ended) == (0, 0)
    assert status["version"] == __version__
    assert status["pid"] != older.process.pid


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"version":"0.0.1"}\n', "another version"),
        (b'{"version":"0.0.1","since":"today","agents":7}\n', "another version"),
        (b"", "does not answer"),
    ],
)
async def test_a_listener_that_does_not_say_how_it_stands_is_wrong(there, answer, said):
    with false_listener(there, answer):
        code, found = await report(there)

    assert code == 1
    assert found["listener"]["state"] == "wrong"
    assert said in found["listener"]["said"]


async def test_a_listener_that_cannot_record_wakes_is_wrong(there, tmp_path):
    configure(there, tmp_path, coder=coder(tmp_path))
    there.state_dir.mkdir(mode=0o700)
    there.ledger_file.write_text("no database")
    there.ledger_file.chmod(0o600)
    async with listening(there) as listener:
        await listener.logged("ledger")
        code, found = await report(there)

    assert code == 1
    assert found["listener"]["said"].startswith("degraded: ")
    assert "wakes nobody" in found["listener"]["said"]
    assert str(there.ledger_file) in found["listener"]["fix"]


async def test_a_listener_that_has_no_bus_is_told_of(there, tmp_path):
    configure(there, tmp_path, coder=coder(tmp_path))
    async with listening(there) as listener:
        await listener.logged("ready")
        # After this no look of its own is under way, which would start the server again.
        await asyncio.to_thread(local_socket.ask, there, {"op": "wake", "agent": "coder"})
        await asyncio.to_thread(embedded.stop, there)
        await listener.logged("away")
        _, found = await report(there)

    assert found["listener"]["state"] == "warning"
    assert found["listener"]["said"].startswith("away: ")
    assert "no bus since" in found["listener"]["said"]


async def test_an_agent_that_is_held_is_told_of_with_what_to_do(there, tmp_path):
    configure(there, tmp_path, coder={"command": recorder(tmp_path, "look")})
    async with (
        listening(there) as listener,
        Bus.connect(there) as bus,
        Session(bus, Agent("planner")) as planner,
    ):
        await known(planner, "coder")
        await listener.logged("ready")
        await send(planner, "coder")
        await listener.logged("held", reason="backoff")
        code, found = await report(there)

    assert code == 0
    assert found["wake of coder"]["state"] == "warning"
    assert "agentbus agent wake coder" in found["wake of coder"]["fix"]


async def test_a_shared_server_is_asked_and_its_token_not_shown(shared):
    await with_streams(shared)
    code, text = await printed(shared)
    found = {one["name"]: one for one in json.loads(text)["checks"]}

    assert code == 0
    assert found["server"]["state"] == found["clock"]["state"] == "ok"
    assert found["durability"]["state"] == "warning"
    assert "of-the-bus" not in text


async def test_what_a_new_shared_server_lacks_is_made_by_the_command_that_is_named(shared):
    """`agentbus server start` keeps this user's own."""
    _, found = await report(shared)
    named = {found[name]["fix"] for name in ("store", "clock")}
    assert named == {"Run `agentbus agents`: it makes them."}

    ran = await asyncio.to_thread(
        forking.ran, [*served.AGENTBUS, "agents"], 60,
        env={**shared.environ, "PYTHONPATH": served.PACKAGE, "AGENTBUS_LISTENER": "off"},
    )  # fmt: skip
    _, found = await report(shared)

    assert ran.returncode == 0
    assert [found[name]["state"] for name in ("store", "clock")] == ["ok", "ok"]


@pytest.mark.parametrize("fault", ["another token", "no file", "open file"])
async def test_a_shared_server_that_does_not_open_is_wrong(shared, fault):
    match fault:
        case "another token":
            shared.token_file.write_text("of-somebody-else\n")
        case "no file":
            shared.token_file.unlink()
        case "open file":
            shared.token_file.chmod(0o644)

    code, found = await report(shared)

    assert code == 1
    assert found["server"]["state"] == "wrong"
    assert found["server"]["fix"]
