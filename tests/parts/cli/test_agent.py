# SPDX-License-Identifier: Apache-2.0
"""`agentbus agent` as it is typed: what it writes, what it says, and what it refuses."""

import contextlib
import json
from functools import partial

import pytest
from local_server import configured, settings_at

from mcp_agentbus.bus.replies import ApiError, NotNow
from mcp_agentbus.cli import agent, parser
from mcp_agentbus.config import spelling
from mcp_agentbus.core import ids
from mcp_agentbus.errors import BadInput, BusUnreachable

TABLE = '[agents.coder]\nhost = "claude-code"\ndir = "/shop"\n'


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def file(home):
    return home / "config.toml"


@pytest.fixture
def configure(home):
    """Return the settings of a user who has written the given text into config.toml."""
    return partial(configured, home)


def parsed(*argv):
    return parser.parser().parse_args(["agent", *argv])


async def typed(settings, *argv):
    assert await agent.act(parsed(*argv), settings) == 0


@pytest.fixture
def on_the_bus(monkeypatch):
    """The agents that were registered; there is no bus."""
    found = []

    async def register(_, agent, now):
        found.append((agent, now))

    async def ensure(_):
        pass

    @contextlib.asynccontextmanager
    async def connect(_):
        yield None

    monkeypatch.setattr("mcp_agentbus.store.roster.register", register)
    monkeypatch.setattr("mcp_agentbus.store.streams.ensure_streams", ensure)
    monkeypatch.setattr("mcp_agentbus.bus.client.Bus.connect", connect)
    return found


async def test_add_writes_registers_and_says_what_may_wake_it(home, tmp_path, capsys, on_the_bus):
    await typed(
        settings_at(home), "add", "coder", "--host", "claude-code", "--dir", str(tmp_path),
        "--wake", "work", "--wake-from", "b", "--quiet-hours", "22:00-07:00", "--role", "review",
        "--permission-mode", "acceptEdits", "--allow", "Bash(git status)", "--time-limit", "60",
    )  # fmt: skip

    said = capsys.readouterr().out
    for part in ("config.toml", "acceptEdits", "Bash(git status)", "22:00 to 07:00", ", b", "60 s"):
        assert part in said
    assert "\nNext: agentbus listen, or agentbus listen --install to keep it running.\n" in said
    assert on_the_bus == [(ids.Agent("coder", "claude-code", "", ("review",)), None)]


async def test_add_says_which_agent_a_session_in_its_folder_is(home, tmp_path, capsys, on_the_bus):
    add = ("--host", "claude-code", "--dir", str(tmp_path))
    await typed(settings_at(home), "add", "coder", *add)
    alone = capsys.readouterr().out
    await typed(settings_at(home), "add", "critic", *add)
    both = capsys.readouterr().out
    (tmp_path / ".agentbus.toml").write_text('agent = "reviewer"\n')
    await typed(settings_at(home), "add", "coder", "--replace", *add)

    assert "A session that you open there is coder, too." in alone
    assert f"is {spelling.default_id(tmp_path, 'claude-code')}, ANOTHER AGENT" in both
    assert "is reviewer, ANOTHER AGENT" in capsys.readouterr().out


async def test_replace_changes_what_is_given_and_says_what_means_nothing_any_more(
    home, tmp_path, capsys, on_the_bus, monkeypatch
):
    add = ("--host", "claude-code", "--dir", str(tmp_path), "--role", "review")
    await typed(
        settings_at(home), "add", "coder", *add, "--wake", "work", "--allow", "Edit",
        "--quiet-hours", "22:00-07:00",
    )  # fmt: skip
    capsys.readouterr()
    monkeypatch.chdir(home)
    await typed(settings_at(home), "add", "coder", "--replace", "--wake", "answer")

    said = capsys.readouterr().out
    assert "Taken out, as it means nothing now: allow.\n" in said
    assert f"Host claude-code in {tmp_path}." in said
    assert "not from 22:00 to 07:00" in said
    assert on_the_bus[-1] == (ids.Agent("coder", "claude-code", "", ("review",)), None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("claude-code", "--wake", "work"), "dontAsk; allowed besides: nothing."),
        (("claude-code", "--wake", "work", "--permission-mode", "plan"), "plan; allowed besides:"),
        (("cursor", "--wake", "work"), "as its host is set up.\n"),
        (("cursor", "--wake", "work", "--permission-mode", "force"), "force.\n"),
        (("openclaw", "--wake", "work"), "those that it has by itself; agentbus cannot"),
    ],
)
@pytest.mark.usefixtures("on_the_bus")
async def test_add_says_the_permissions_with_which_it_will_be_started(home, capsys, argv, said):
    await typed(settings_at(home), "add", "job", "--dir", str(home.parent), "--host", *argv)

    assert f"\nPermissions: {said}" in capsys.readouterr().out


KEEP = "agentbus listen --install (where systemd or launchd runs)"


@pytest.mark.parametrize(
    ("kept", "started", "until"),
    [
        (False, "", f"until it ends, as with this machine; to keep one: {KEEP}"),
        (True, "", "from now on."),
        # Such as a container, which keeps it in its own way.
        (False, "off", "from now on."),
    ],
)
def test_add_says_how_long_the_listener_that_runs_looks_after_it(
    home, monkeypatch, kept, started, until
):
    monkeypatch.setattr(agent.starter, "keeps", lambda _: kept)
    settings = settings_at(home, AGENTBUS_LISTENER=started)

    said = agent._next(settings, 4711, "")
    assert said == f"The listener that runs (pid 4711) looks after it {until}"


NO_TOKEN = "`agentbus install openclaw`, then `agentbus agent add job --replace`; or"


@pytest.mark.parametrize(
    ("argv", "lacks", "todo"),
    [
        (("--host", "claude-code"), "claude is not on PATH ", "Install claude-code, or put its"),
        (("--host", "openclaw", "--wake", "work"), "no token_file is set for its ", NO_TOKEN),
        (("--host", "command", "--wake", "work", "--", "/x/y"), "/x/y is not there", "config.toml"),
        (("--host", "command", "--wake", "work", "--", "/bin/sh"), None, ""),
        (("--host", "claude-code", "--wake", "hold"), None, ""),
    ],
)
@pytest.mark.usefixtures("on_the_bus")
async def test_add_ends_with_what_its_start_lacks(tmp_path, capsys, argv, lacks, todo):
    await typed(settings_at(tmp_path), "add", "job", "--dir", str(tmp_path), *argv)

    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"NOTHING CAN START IT YET: {lacks}" if lacks else "Next: ")
    assert todo in said


async def test_a_command_keeps_its_own_options(home, tmp_path, capsys, on_the_bus):
    settings = settings_at(home)
    await typed(
        settings, "add", "--json", "job", "--host", "command", "--dir", str(tmp_path),
        "--wake", "work", "--", "/bin/sh", "-c", "cat", "--", "--json",
    )  # fmt: skip

    assert json.loads(capsys.readouterr().out)["command"] == [
        "/bin/sh",
        "-c",
        "cat",
        "--",
        "--json",
    ]


async def test_the_host_is_known_from_the_environment_and_the_folder_is_here(
    home, tmp_path, monkeypatch, on_the_bus, capsys
):
    monkeypatch.chdir(tmp_path)
    await typed(settings_at(home, CLAUDECODE="1"), "add", "coder")

    rules = settings_at(home).rules["coder"]
    assert (rules.host, rules.folder) == ("claude-code", tmp_path.resolve())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "Which host.*claude-code, cursor, openclaw, command"),
        (("--host", "emacs"), "'emacs' is no host"),
        (("--host", "openclaw"), "--wake work"),
        (("--host", "command", "--wake", "answer", "--", "x"), "cannot limit them"),
        (("--host", "cursor"), "--wake work"),
        (("--host", "claude-code", "--dir", "/missing/folder"), "is no folder"),
    ],
)
async def test_what_cannot_be_woken_is_refused_with_the_option(home, argv, said):
    with pytest.raises(BadInput, match=said):
        await agent.act(parsed("add", "coder", *argv), settings_at(home))
    assert not home.exists()


@pytest.mark.parametrize("error", [BusUnreachable(), ApiError(503), NotNow(503, "")])
async def test_a_bus_that_is_away_is_told_from_a_file_that_was_not_written(
    error, home, tmp_path, monkeypatch
):
    @contextlib.asynccontextmanager
    async def connect(_):
        raise error
        yield

    monkeypatch.setattr("mcp_agentbus.bus.client.Bus.connect", connect)
    args = parsed("add", "coder", "--host", "claude-code", "--dir", str(tmp_path))

    with pytest.raises(type(error), match=r"coder is written to .*--replace"):
        await agent.act(args, settings_at(home))
    assert "coder" in settings_at(home).rules


async def test_list_says_how_to_begin_and_then_what_is_there(configure, capsys):
    await typed(configure(""), "list")
    assert "agentbus agent add ID" in capsys.readouterr().out

    settings = configure(TABLE + 'quiet_hours = "22:00-07:00"\n[agents.b]\n')
    await typed(settings, "list")
    assert capsys.readouterr().out.splitlines() == [
        "coder  claude-code  /shop  wake answer  quiet 22:00-07:00",
        "b  shell  cannot be woken: it has no dir",
    ]
    await typed(settings, "list", "--json")
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["agents"]] == ["coder", "b"]


async def test_remove_says_what_is_left(configure, capsys):
    await typed(configure(TABLE), "remove", "coder")

    assert "nothing starts it any more" in capsys.readouterr().out


def test_only_add_takes_a_program(capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed("list", "--", "x")
