# SPDX-License-Identifier: Apache-2.0
"""Agents in config.toml: added and removed without a change to what a person wrote there."""

import codecs
import contextlib
import fcntl
import json
import threading
import tomllib
from functools import partial

import pytest
from local_server import configured, settings_at

from mcp_agentbus.cli import agent, parser
from mcp_agentbus.config import editor, identity
from mcp_agentbus.core import files, ids
from mcp_agentbus.errors import BadInput, BadSetup, BusUnreachable, UnknownAgent

KEYS = {"host": "claude-code", "dir": "/shop"}
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


def test_the_first_agent_makes_a_private_file_in_a_private_folder(home, file):
    settings = editor.add(settings_at(home), "coder", **KEYS, description=None).settings

    assert file.read_text() == TABLE
    assert file.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert settings.rules["coder"].profile == "answer"
    assert sorted(path.name for path in home.iterdir()) == ["config.toml", "config.toml.lock"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        "# mine",
        '[server]\nurl = "tls://a.example.org" # why\n\n\n# end\n',
        '[server]\r\nurl = "tls://a.example.org"\r\n',
        '[agents.b]\nroles = [\n  "x", # one\n]\n\n# about c\n[agents.c]\n',
        'agents.b.host = "cursor"\n',
        "agents = {}\n",
        'agents = { b = { host = "cursor" } }\n',
        'agents = { b = { host = "cursor" } }\n[server]\n',
        "[agents]\n# nobody yet\n",
        "[agents.b]\n[server]\n[agents.c]\n# c\n[wake]\nper_hour = 1\n",
        "[agents.b]\n# b\n\n[server]\n",
        '[agents.b]\ndescription = """\n[agents.coder]\n# x\n"""\n',
    ],
)
def test_what_was_added_and_removed_again_leaves_every_byte(configure, file, text):
    settings = configure(text)
    file.write_bytes(text.encode())
    before = settings_at(file.parent)

    added = editor.add(settings, "coder", **KEYS).settings
    removed = editor.remove(settings, "coder")

    assert set(added.agents) == {*before.agents, "coder"}
    assert removed.agents == before.agents
    assert file.read_bytes().decode() == text


def test_comments_and_order_stay_when_an_agent_in_the_middle_goes(configure, file):
    configure(f"# top\n[agents.a]\n\n{TABLE}# about b\n[agents.b]\n# in b\n")

    editor.remove(settings_at(file.parent), "coder")

    assert file.read_text() == "# top\n[agents.a]\n# about b\n[agents.b]\n# in b\n"


def test_an_agent_is_written_anew_only_on_demand_and_keeps_its_place_and_what_is_not_given(
    configure, file
):
    kept = """per_hour = 2 # few\nwake_on = ["high", "normal"]\ninstruction = "Be brief."
roles = ["review"]\nenv = ["JAVA_HOME"]\nquiet_hours = "22:00-07:00"\nwake_from = ["planner"]
"""
    gone = 'wake = "work"\npermission_mode = "acceptEdits"\nallow = ["Edit"]\n'
    settings = configure(f"# one\n{TABLE}{gone}{kept}\n[agents.z]\n")
    before = file.read_bytes()

    with pytest.raises(BadInput, match=r"coder is in .* already.*--replace"):
        editor.add(settings, "coder", **KEYS)
    assert file.read_bytes() == before

    added = editor.add(settings, "coder", replace=True, host="cursor", wake="work", dir="/other")

    assert added.gone == ("permission_mode", "allow")
    rules = added.settings.rules["coder"]
    assert (rules.limits.per_hour, rules.wake_on) == (2, ("high", "normal"))
    assert (rules.instruction, rules.env) == ("Be brief.", ("JAVA_HOME",))
    assert added.settings.agents["coder"].roles == ("review",)
    assert kept in file.read_text()
    assert file.read_text().startswith('# one\n[agents.coder]\nhost = "cursor"\ndir = "/other"\n')
    assert list(tomllib.loads(file.read_text())["agents"]) == ["coder", "z"]


@pytest.mark.parametrize(
    "keys",
    [
        {"host": "shell", "dir": "/shop"},
        {**KEYS, "wake": "always"},
        {**KEYS, "time_limit_s": 0},
        {**KEYS, "roles": ["Bad Role"]},
    ],
)
def test_a_value_that_makes_no_sense_never_lands(configure, file, keys):
    settings = configure("# mine\n")

    with pytest.raises(BadInput, match="Not written"):
        editor.add(settings, "coder", **keys)

    assert file.read_text() == "# mine\n"
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "config.toml",
        "config.toml.lock",
    ]


@pytest.mark.parametrize("agent", ["Coder", "all", 'a"]\n[server'])
def test_an_id_that_may_name_nobody_is_refused_before_any_file_is_made(home, agent):
    with pytest.raises(BadInput):
        editor.add(settings_at(home), agent, **KEYS)
    assert not home.exists()


def test_an_agent_that_is_not_there_cannot_be_removed(configure):
    with pytest.raises(UnknownAgent, match=r"no agent 'coder'.*agentbus agent list"):
        editor.remove(configure("[agents.b]\n"), "coder")


@pytest.mark.parametrize("text", ["[agents.b]\n[server]\n# s\n[agents.coder]\n[wake]\n# w\n"])
def test_tables_of_agents_may_stand_apart(configure, file, text):
    settings = configure(text)

    editor.add(settings, "coder", replace=True, **KEYS)
    replaced = file.read_text()
    editor.remove(settings, "coder")

    assert replaced == text.replace("[agents.coder]\n", TABLE)
    assert file.read_text() == text.replace("[agents.coder]\n", "")


@pytest.mark.promise(41)
def test_a_file_or_folder_that_others_can_change_is_not_edited(configure, file, tmp_path):
    settings = configure("")
    file.chmod(0o666)
    with pytest.raises(BadSetup, match="chmod 600"):
        editor.add(settings, "coder", **KEYS)
    file.unlink()
    file.parent.chmod(0o777)
    with pytest.raises(BadSetup, match="chmod 700"):
        editor.add(settings, "coder", **KEYS)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_a_file_stays_as_it_is_spelled_a_link_and_of_its_mode(configure, file, tmp_path, mark):
    settings, dotfile = configure(""), tmp_path / "dotfiles.toml"
    text = '# Pläne\r\n[wake]\r\nquiet_hours = "22:00-07:00"\r\n'
    dotfile.write_bytes(files.encoded(text, mark))
    dotfile.chmod(0o644)
    file.unlink()
    file.symlink_to(dotfile)

    editor.add(settings, "coder", **KEYS)
    with_coder = files.decoded(dotfile.read_bytes())
    editor.rename(settings, "coder", "shop")
    renamed = files.decoded(dotfile.read_bytes())
    editor.remove(settings, "shop")

    assert with_coder[1] == renamed[1] == mark
    assert renamed[0] == with_coder[0].replace("[agents.coder]", "[agents.shop]")
    assert with_coder[0].startswith(text)
    assert dotfile.read_bytes() == files.encoded(text, mark)
    assert (file.is_symlink(), dotfile.stat().st_mode & 0o777) == (True, 0o644)


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ('[agents."coder"] # mine\nhost = "cursor"\n', '[agents.shop] # mine\nhost = "cursor"\n'),
        ('agents.coder.host = "cursor" # mine\n', '\n[agents.shop]\nhost = "cursor"'),
        (
            '[agents.boss]\nwake_from = ["me", "coder"] # mine\n',
            '[agents.boss]\nwake_from = ["me", "shop"] # mine\n',
        ),
        (
            '[agents.coder]\nwake_from = [\n  "me", # mine\n  "coder",\n]\n',
            '[agents.shop]\nwake_from = [\n  "me", # mine\n  "shop",\n]\n',
        ),
        (
            'agents = {boss = {wake_from = ["coder"]}, coder = {roles = ["r"]}}\n',
            'agents = {boss = {wake_from = ["shop"]}, shop = {roles = ["r"]}}\n',
        ),
    ],
)
def test_a_renamed_agent_keeps_what_its_user_wrote(configure, file, text, renamed):
    editor.rename(configure(text), "coder", "shop")

    assert file.read_text().strip() == renamed.strip()


def test_an_agent_gets_no_id_that_another_has_in_the_file(configure):
    with pytest.raises(BadInput, match="already"):
        editor.rename(configure('[agents.coder]\nhost = "cursor"\n'), "coder", "coder")


@pytest.mark.promise(41)
def test_a_lock_that_is_a_symlink_is_not_followed(configure, file, tmp_path):
    settings = configure("")
    (file.parent / "config.toml.lock").symlink_to(tmp_path / "else")

    with pytest.raises(BadSetup, match="cannot be edited"):
        editor.add(settings, "coder", **KEYS)
    assert not (tmp_path / "else").exists()


def test_one_process_edits_at_a_time(configure, file):
    settings = configure("")
    with (file.parent / "config.toml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: editor.add(settings, "coder", **KEYS))
        second.start()
        file.write_text("[agents.b]\n")  # the other one's edit
    second.join()

    assert set(settings_at(file.parent).agents) == {"b", "coder"}


def test_nothing_is_left_when_the_file_cannot_take_its_place(configure, file, monkeypatch):
    settings = configure("# mine\n")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(editor.os, "fsync", full)
    with pytest.raises(BadSetup, match="No space left"):
        editor.add(settings, "coder", **KEYS)

    assert file.read_text() == "# mine\n"
    assert not list(file.parent.glob(".config*"))


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
    assert said.endswith(
        "Next: agentbus listen, or agentbus listen --install to keep it running.\n"
    )
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
    assert f"is {identity.default_id(tmp_path, 'claude-code')}, ANOTHER AGENT" in both
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


async def test_a_bus_that_is_away_is_told_from_a_file_that_was_not_written(
    home, tmp_path, monkeypatch
):
    @contextlib.asynccontextmanager
    async def connect(_):
        raise BusUnreachable
        yield

    monkeypatch.setattr("mcp_agentbus.bus.client.Bus.connect", connect)
    args = parsed("add", "coder", "--host", "claude-code", "--dir", str(tmp_path))

    with pytest.raises(BusUnreachable, match=r"coder is written to .*--replace"):
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
