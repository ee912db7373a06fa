# SPDX-License-Identifier: Apache-2.0
"""No secret is shown anywhere, and no file of ours is open to others, in a run of all processes."""

import asyncio
import json
import os
import shlex
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import forking
import pytest
import served
from listeners import configure, known, listening, recorder, send
from local_server import command_lines, kill_servers, script, server_pids, settings_at
from mcp_agentbus.installers import launchd
from posting import taking_posts

from mcp_agentbus.bus import address, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.handoff.dispatch.noted import CauseMemory
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.wakes.hosts import openclaw
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken

HOOKS_TOKEN = "hooks-canary-2f7c0b51aa"
CANARY = "canary-93d1e6c40b"
_WITHIN_S = 120  # only a hang takes as long


class Run:
    """All that a user's processes say in one run, as files in `folder/said`."""

    def __init__(self, folder):
        self.folder, self.bus, self.said = folder, folder / "bus", folder / "said"
        self.notes, self.bin = folder / "notes", folder / "bin"
        for one in (self.bus, self.said, self.notes, self.bin, folder / "tmp"):
            one.mkdir(mode=0o700)
        for manager in ("systemctl", "launchctl"):
            noted = shlex.quote(str(self.said / manager))
            no_gateway = 'case "$*" in *openclaw*) exit 1;; esac'
            script(self.bin / manager, f"(echo $0 $*; env) >> {noted}", no_gateway)
        server = shlex.quote(str(embedded.binary(settings_at(self.bus))))
        self.environ = {
            **served.environ(self.bus),
            # As much as a nats-server can say of what it does.
            "AGENTBUS_NATS_SERVER": str(script(self.bin / "nats", f'exec {server} -DVV "$@"')),
            "HOME": str(folder),
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHONASYNCIODEBUG": "1",
            "TMPDIR": str(folder / "tmp"),
        }
        self.settings = settings_at(self.bus, **self.environ)

    def keep(self, name, text):
        """Keep what was said, beside what was said before."""
        with (self.said / name).open("a", errors="surrogateescape") as file:
            file.write(f"{text}\n")

    def typed(self, *argv, code=0, **environ):
        """Run a command; keep and return all that it prints."""
        ran = forking.ran(
            [sys.executable, "-m", "mcp_agentbus", *argv],
            _WITHIN_S,
            env=self.environ | environ,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
        )
        self.keep("typed", f"{argv}: {ran.returncode}\n{ran.stdout}")
        assert ran.returncode == code, ran.stdout
        return ran.stdout

    def json_of(self, *argv):
        """Run a command by `--json`, beside which asyncio tells nothing of a slow machine."""
        return json.loads(self.typed(*argv, "--json", PYTHONASYNCIODEBUG=""))

    @contextmanager
    def session(self, agent, **environ):
        """Run a session of a host; keep what it writes to standard error."""
        with served.Pipes(self.environ | environ, agent=agent) as pipes:
            yield lambda tool, **given: self._called(pipes, tool, given)
            self.keep("sessions", pipes.said())

    def _called(self, pipes, tool, given):
        answer = pipes.ask("tools/call", {"name": tool, "arguments": given}, era=served.MODERN)
        self.keep("tools", json.dumps(answer))
        return answer["result"]

    def token_file(self, name, text):
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(f"{text}\n")
        return file

    def holders(self, secret):
        """Return every file of the run in which a secret stands, or the beginning of one."""
        piece = secret[:12].encode()
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and piece in path.read_bytes()
        }


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path)
    yield made
    kill_servers(made.settings)


@pytest.fixture
def gateway():
    """OpenClaw's wake hook, as far as it matters: it takes the notice, or refuses its token."""
    seen = SimpleNamespace(asked=[])

    def take(path, headers, _):
        seen.asked.append(headers["Authorization"])
        return 401 if "refused" in path else 200

    with taking_posts(take) as seen.url:
        yield seen


def agents_of(run, gateway):
    """Set up an agent that stays when it is woken, and three of OpenClaw, two of which cannot."""
    os.mkfifo(run.notes / "go")
    claw = {"host": "openclaw", "token_file": str(run.token_file("hooks", HOOKS_TOKEN))}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    configure(
        run.settings,
        run.notes,
        coder={"command": recorder(run.notes, "wait")},
        taken=claw | {"gateway_url": gateway.url},
        refused=claw | {"gateway_url": f"{gateway.url}/refused"},
        away=claw | {"gateway_url": dead},
    )


async def woken(run):
    """Have all be woken while a session and a listener live; keep everybody's command line."""
    async with listening(run.settings, **run.environ | {"PYTHONASYNCIODEBUG": ""}) as listener:
        await listener.logged("ready")
        with run.session("planner") as call:
            for agent in ("coder", "taken", "refused", "away"):
                sent = await asyncio.to_thread(
                    call, "send_task", to=agent, subject="Count", body="x", priority="high"
                )
                assert not sent.get("isError"), sent
                await listener.logged("started" if agent == "coder" else "ended", agent=agent)
            lines = "\n".join(command_lines().values())
            run.keep("processes", lines)
            for part in ("nats-server -DVV", "agentbus listen", "agentbus serve", "recorder.py"):
                assert part in lines
            (run.notes / "go").write_text("go\n")
            for tool, given in (("list_agents", {}), ("read_inbox", {}),
                                ("watch_inbox", {"timeout_s": 0})):  # fmt: skip
                await asyncio.to_thread(call, tool, **given)
            await asyncio.to_thread(all_commands, run)
            await listener.logged("ended", agent="coder")
        for pid in server_pids(run.settings):  # what is said when the server dies is kept, too
            os.kill(pid, 9)
        await listener.end()
    run.keep("listener", "\n".join(json.dumps(one) for one in listener.log))


def all_commands(run):
    """Type every command that shows anything of how things are set up."""
    run.typed("listen", "--install")
    run.keep("launchd", launchd.plist(Path(sys.executable), str(run.bus), run.environ["PATH"]))
    for argv in (
        ("server", "status", "--json"), ("server", "status"), ("server", "config"),
        ("agents", "--json"), ("inbox", "--agent", "coder", "--json"), ("parked", "--json"),
        ("send", "coder", "Count", "x", "--agent", "planner", "--json"),
        ("listen", "--status", "--json"), ("agent", "wakes", "refused", "--json"),
        ("agent", "list", "--json"), ("install", "--print"),
    ):  # fmt: skip
        run.typed(*argv)
    run.typed("doctor", "--json")
    run.typed("doctor", "--self-test")


@pytest.mark.started  # their command lines are looked at
@pytest.mark.promise(40)
async def test_a_secret_stands_in_the_files_that_keep_it_and_is_shown_nowhere(run, gateway):
    agents_of(run, gateway)
    run.typed("server", "start", "--json")
    await woken(run)
    token = embedded.read_token(run.settings)

    assert gateway.asked == [f"Bearer {HOOKS_TOKEN}"] * 2  # it was used
    assert "CONNECT" in (run.bus / "data" / "nats.log").read_text()  # so was the other
    # Were the search blind, it would not find these.
    assert run.holders(token) == {"bus/data/token", "bus/data/nats.conf"}
    assert run.holders(HOOKS_TOKEN) == {"hooks"}


@pytest.mark.promise(40)
@pytest.mark.parametrize("fault", ["wrong", "open", "down", "damaged", "url", "key"])
def test_no_failure_shows_a_secret(run, fault):
    url = run.json_of("server", "start")["url"]
    token, copy = embedded.read_token(run.settings), run.folder / "copy"
    shared = {"AGENTBUS_URL": url, "AGENTBUS_TOKEN_FILE": str(run.token_file("copy", CANARY))}
    if fault != "wrong":
        copy.write_text(token)
    match fault:
        case "open":
            copy.chmod(0o644)
        case "down":
            run.typed("server", "stop")
        case "damaged":
            shared = {}
            (run.bus / "data" / "token").write_text(CANARY)
        case "url":
            shared = {"AGENTBUS_URL": f"nats://me:{CANARY}@127.0.0.1:4222"}
        case "key":
            run.token_file("bus/config.toml", f'[server]\ntoken = "{CANARY}"')

    code = 3 if fault == "down" else 1
    run.typed("agents", "--json", code=code, **shared)
    run.typed("send", "coder", "Count", "x", "--agent", "planner", code=code, **shared)
    run.typed("doctor", "--json", code=1, **shared)
    run.typed("doctor", code=1, **shared)
    if fault in {"url", "key"}:
        run.typed("serve", "--agent", "planner", code=1, **shared)
    else:
        with run.session("planner", **shared) as call:
            assert call("list_agents")["isError"]

    kept = {"bus/data/token", "bus/data/nats.conf", "copy"}
    damaged = {"bus/data/token"} if fault == "damaged" else set()
    unused = {"copy"} if fault == "wrong" else set()
    written = {"wrong": {"copy"}, "damaged": damaged, "key": {"bus/config.toml"}}
    assert run.holders(token) == kept - damaged - unused
    assert run.holders(CANARY) == written.get(fault, set())


@pytest.fixture
def open_home(tmp_path, monkeypatch):
    """The environment of a user with the platform's own folders, who closes nothing by umask."""
    environ = {
        "AGENTBUS_HOME": "",
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
        if value:
            Path(value).mkdir(mode=0o700)
    for kind in ("CONFIG", "DATA", "STATE"):
        monkeypatch.delenv(f"XDG_{kind}_HOME", raising=False)
    before = os.umask(0)
    yield environ
    os.umask(before)


def modes(paths):
    return {path: oct(stat.S_IMODE(path.lstat().st_mode)) for path in paths}


@pytest.mark.promise(41)
async def test_all_that_a_run_leaves_is_its_users_alone_and_nothing_is_in_tmp(open_home, tmp_path):
    settings = load_settings({"PATH": os.environ["PATH"], **open_home})
    settings.config_file.parent.mkdir(mode=0o700, parents=True)
    notes = tmp_path / "notes"
    notes.mkdir()
    held = {"command": recorder(notes), "wake": "hold"}
    configure(settings, notes, coder={"command": recorder(notes)}, held=held)
    embedded.ensure(settings)
    try:
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(settings, **open_home) as listener,
        ):
            await known(planner, "coder", "held")
            await send(planner, "held")
            await listener.logged("held", agent="held")
            await send(planner, "coder")
            await listener.logged("read", agent="coder")
            with served.Pipes(served.environ("") | open_home) as session:
                session.call("read_inbox")
                told = await asyncio.to_thread(local_socket.ask, settings, hooked(open_home))
            folders = {
                settings.config_file.parent, settings.data_dir, settings.state_dir,
                settings.runtime_dir,
            }  # fmt: skip
            below = [path for folder in folders for path in folder.rglob("*")]
            files = modes(path for path in below if not path.is_dir())
            folders = modes([*folders, *(path for path in below if path.is_dir())])
    finally:
        kill_servers(settings)

    assert "1 task" in told["text"]
    assert {path for path, mode in folders.items() if mode != "0o700"} == set()
    assert {path for path, mode in files.items() if mode != "0o600"} == set()
    assert {path.name for path in files} >= {
        "config.toml", "token", "nats.conf", "nats.log", "wakes.db", "told.json", "meta.inf",
        "shell-coder.jsonl", "listener.sock", "listener.lock",
    }  # fmt: skip
    assert list((tmp_path / "tmp").iterdir()) == []


def hooked(environ):
    """Return what a hook asks the listener, which then remembers what it has told."""
    return {
        "op": "mail", "host": "claude-code", "session": "s", "urgent": False, "looked": False,
        "folder": environ["HOME"], "environ": environ | {"AGENTBUS_AGENT": "held"},
    }  # fmt: skip


# Each file that holds a secret or a record, and what reads it.
READERS = {
    "config.toml": lambda settings, _: load_settings(settings.environ),
    "data/token": lambda settings, _: embedded.read_token(settings),
    "shared.token": lambda settings, file: address.find_servers(
        replace(settings, url="tls://bus.example.org", token_file=file), may_start=True
    ),
    "hooks.token": lambda _, file: openclaw._token(
        Rules("claw", "openclaw", file.parent, "work", token_file=file)
    ),
    "state/wakes.db": lambda settings, _: Ledger(settings.ledger_file).unended(),
    "state/shell-coder.jsonl": lambda _, file: CauseMemory(file, None).recall(),
}
FAULTS = {
    "open": "Run: chmod 600 {}",
    "another's": "Run: sudo chown $USER {}",
    "a link": "Put the file itself there",
}


@pytest.mark.promise(41)
@pytest.mark.parametrize(
    ("name", "fault"),
    [(name, fault) for name in READERS for fault in FAULTS
     if (name, fault) != ("config.toml", "a link")],  # it holds no secret: a link is followed
)  # fmt: skip
def test_a_file_that_is_not_its_users_alone_is_refused_with_what_to_do(
    tmp_path, monkeypatch, name, fault
):
    settings, file = settings_at(tmp_path), tmp_path / name
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    match fault:
        case "open":
            file.chmod(0o662 if name == "config.toml" else 0o640)
        case "another's":
            mine = os.getuid()
            monkeypatch.setattr(os, "getuid", lambda: mine + 1)
        case "a link":
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")

    with pytest.raises((BadSetup, LedgerBroken)) as refusal:
        READERS[name](settings, file)

    assert FAULTS[fault].format(file) in str(refusal.value)


@pytest.mark.promise(42)
def test_a_server_off_this_machine_gets_no_word_without_tls_unless_that_is_allowed(run):
    url = run.json_of("server", "start")["url"]
    copy = run.token_file("copy", embedded.read_token(run.settings))
    # No address of loopback as it is written, but it leads there.
    shared = {
        "AGENTBUS_URL": url.replace("127.0.0.1", "127.1"),
        "AGENTBUS_TOKEN_FILE": str(copy),
    }
    log = run.bus / "data" / "nats.log"
    before = log.read_text().count("CONNECT {")

    refused = [
        run.typed("agents", code=1, **shared),
        run.typed("serve", "--agent", "planner", code=1, **shared),
        run.typed("listen", code=1, **shared),
    ]
    between = log.read_text().count("CONNECT {")
    run.token_file("bus/config.toml", "[server]\nallow_plaintext = true")
    run.typed("agents", **shared)

    assert all("allow_plaintext = true" in said for said in refused)
    assert before == between < log.read_text().count("CONNECT {")
