# SPDX-License-Identifier: Apache-2.0
"""Rules: what a user may set for an agent that is woken, and what is refused by name."""

import os
from datetime import time
from functools import partial
from pathlib import Path

import pytest
from local_server import configured

from mcp_agentbus.config import rules, values
from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.config.values import Hours
from mcp_agentbus.core import places
from mcp_agentbus.errors import BadSetup

CLAUDE = '[agents.a]\nhost = "claude-code"\ndir = "/shop"\n'
CURSOR = '[agents.a]\nhost = "cursor"\ndir = "/shop"\n'
WORK = 'wake = "work"\n'
CLAW = '[agents.a]\nhost = "openclaw"\ndir = "/shop"\nwake = "work"\n'
COMMAND = '[agents.a]\nhost = "command"\ndir = "/shop"\nwake = "work"\n'


@pytest.fixture
def configure(tmp_path):
    """Return the settings of a user who has written the given text into config.toml."""
    return partial(configured, tmp_path / "home")


def test_a_folder_and_a_host_are_enough_to_be_woken_for_answers(configure):
    loaded = configure('[agents.a]\nhost = "claude-code"\ndir = "/shop"')

    assert loaded.rules == {"a": Rules("a", "claude-code", Path("/shop"), "answer")}


def test_an_agent_without_a_folder_is_known_but_not_woken(configure):
    loaded = configure('[agents.a]\nhost = "shell"\nwake = "work"')

    assert loaded.rules == {}
    assert list(loaded.agents) == ["a"]


def test_every_key_has_its_place(configure):
    cursor = configure(
        CURSOR
        + """
        description = "one"
        roles = ["review"]
        wake = "work"
        wake_from = ["b", "c"]
        quiet_hours = "22:00-07:00"
        permission_mode = "force"
        chat = "abc-1"
        on_stop = "leave"
        per_hour = 3
        max_usd = 2
        """
    ).rules["a"]
    claude = configure(CLAUDE + WORK + 'allow = ["Edit"]\nresume = true').rules["a"]
    claw = configure(CLAW + 'token_file = "/t"\ngateway_url = "https://gate.example.org"')
    program = configure(COMMAND + 'command = ["python3", "{\\"a\\": 1}"]').rules["a"]

    assert cursor == Rules(
        "a",
        "cursor",
        Path("/shop"),
        "work",
        wake_from=frozenset({"b", "c"}),
        quiet_hours=Hours(time(22), time(7)),
        permission_mode="force",
        chat="abc-1",
        on_stop="leave",
        limits=Limits(per_hour=3, max_usd=2.0),
    )
    assert (claude.allow, claude.resume) == (("Edit",), True)
    assert claw.rules["a"].token_file == Path("/t")
    assert claw.rules["a"].url == "https://gate.example.org"
    assert program.command == ("python3", '{"a": 1}')


def test_priorities_that_wake_are_taken_in_any_order_and_high_alone_is_the_default(configure):
    wake = '[wake]\nwake_on = ["normal", "high"]\n'

    assert configure(CLAUDE).rules["a"].wake_on == ("high",)
    assert configure(wake + CLAUDE).rules["a"].wake_on == ("high", "normal")
    assert configure(wake + CLAUDE + 'wake_on = ["high"]').rules["a"].wake_on == ("high",)


def test_the_wake_table_is_the_default_and_the_agents_own_value_wins(configure):
    wake = '[wake]\nquiet_hours = "22:00-07:00"\nwake_from = "*"\nper_hour = 3\non_stop = "leave"\n'

    plain = configure(wake + CLAUDE).rules["a"]
    own = configure(wake + CLAUDE + 'quiet_hours = ""\nwake_from = []\nper_hour = 4').rules["a"]

    assert plain.quiet_hours == (time(22), time(7))
    assert (plain.wake_from, plain.on_stop) == (frozenset({"*"}), "leave")
    assert plain.limits == Limits(per_hour=3)
    assert own.quiet_hours is None
    assert (own.wake_from, own.limits.per_hour) == (frozenset(), 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[wake]\nper_day = -1", r"\[wake\]: per_day is no whole number from 0"),
        ("[wake]\nwake = 'work'", r"\[wake\] has a key that does not exist: wake"),
        ("wake = 5", "wake is not a table"),
        ('[agents.a]\ndir = "/shop"', "host is none.*claude-code, cursor, openclaw, command"),
        ('[agents.a]\nhost = "shell"\ndir = "/shop"', "host is none that can be woken"),
        ('[agents.a]\nhost = "cursor"\ndir = "shop"', "dir is not an absolute path"),
        ("[agents.a]\nwake = 'always'", "wake is none of its values.*hold, answer, work"),
        ("[agents.a]\nwake = ['work']", "wake is none of its values"),
        (CLAUDE + "wake_form = []", "does not exist: wake_form"),
        (CLAUDE + 'wake_from = "b"', "wake_from is not a list"),
        (CLAUDE + 'wake_from = ["B"]', "wake_from names nobody"),
        (CLAUDE + f'instruction = "{"x" * 501}"', "instruction has 501 characters.*at most 500"),
        (CLAUDE + 'instruction = "a\\nb"', "instruction has a control character"),
        (CLAUDE + 'instruction = "a\u202eb"', r"instruction has characters.*\\u202e"),
        (CLAUDE + 'instruction = ["a"]', "instruction is not a string"),
        ('[wake]\ninstruction = "a"', "does not exist: instruction"),
        (CLAUDE + 'wake_on = "high"', r'wake_on is no list of priorities.*Write it as \["high"\]'),
        (CLAUDE + "wake_on = []", "wake_on is no list of priorities from high on.*hold"),
        (CLAUDE + 'wake_on = ["normal"]', "wake_on is no list of priorities from high on"),
        (CLAUDE + 'wake_on = ["high", "low"]', "wake_on is no list of priorities from high on"),
        (CLAUDE + 'wake_on = ["urgent"]', "wake_on is no list of priorities from high on"),
        (CLAUDE + 'quiet_hours = "22-7"', "quiet_hours is no range"),
        (CLAUDE + 'quiet_hours = "22:00-24:00"', "quiet_hours is no range"),
        (CLAUDE + 'quiet_hours = "07:00-07:00"', "quiet_hours is no range"),
        (CLAUDE + "quiet_hours = 22:00:00", "quiet_hours is not a string"),
        (CLAUDE + "resume = 1", "resume is not a boolean"),
        (CLAUDE + 'on_stop = "kill"', "on_stop is none of its values"),
        (CLAUDE + "time_limit_s = 0", "time_limit_s is no whole number from 1 to 86400"),
        (CLAUDE + "time_limit_s = 86401", "time_limit_s"),
        (CLAUDE + "time_limit_s = 1.5", "time_limit_s"),
        (CLAUDE + "per_hour = true", "per_hour is no whole number"),
        (CLAUDE + "max_usd = nan", "max_usd is no number"),
        (CLAUDE + "max_usd = inf", "max_usd is no number"),
        (CLAUDE + 'permission_mode = "plan"', 'permission_mode is set, but wake is "answer"'),
        (CLAUDE + 'allow = ["Edit"]', "allow is set"),
        (CLAUDE + 'wake = "work"\nallow = ["--yes"]', "allow has an entry"),
        (CLAUDE + 'wake = "work"\nallow = [5]', "allow is not a string"),
        (CLAUDE + 'wake = "work"\npermission_mode = "--x"', "is no permission mode"),
        (CLAUDE + 'command = ["x"]', "command has no effect with host claude-code"),
        (CLAUDE + 'chat = "x"', "chat has no effect"),
        (CLAUDE + 'token_file = "/x"', "token_file has no effect"),
        (CLAUDE + 'env = ["A=s3cret"]', "env has an entry that is no name"),
        (CLAUDE + 'env = "A"', "env is not a list"),
        (CLAW + 'env = ["A"]', "env has no effect with host openclaw"),
        (CURSOR + 'chat = "--x"', "chat is no id"),
        (CLAW + 'allow = ["Edit"]', "allow has no effect"),
        (CLAW + 'gateway_url = "http://s3cret@127.0.0.1"', "gateway_url is no address"),
        (COMMAND, "command is missing"),
        (COMMAND + "command = []", "command names no program"),
        (COMMAND + 'command = "x"', "command is not a list"),
        (COMMAND + 'command = ["./x"]', "relative path"),
        (COMMAND + 'command = ["x", "a\\nb"]', "control character"),
        (COMMAND + 'command = ["x", "{input}"]', "placeholder.*standard input"),
        (COMMAND + 'command = ["x", "a {{ task.body }}"]', "placeholder"),
        (COMMAND + 'command = ["x", "{}"]', "placeholder"),
    ],
)
def test_what_makes_no_sense_is_refused_by_file_table_and_key(configure, text, said):
    with pytest.raises(BadSetup, match=f"config.toml.*{said}") as refusal:
        configure(text)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "idle"),
    [
        (CLAUDE + "resume = true", ("resume",)),
        (CLAUDE + WORK + "resume = true", ()),
        (CLAUDE + "resume = false\nallow = []", ()),
        (CURSOR + WORK + 'allow = ["Edit"]\nresume = true', ("allow", "resume")),
        (CURSOR + WORK + "allow = []\nresume = false", ("allow", "resume")),
        (CURSOR + 'wake = "hold"\nallow = ["Edit"]', ("allow",)),
        (CLAW + "resume = true", ("resume",)),
    ],
)
def test_what_an_agent_add_of_before_has_left_is_passed_over_and_told(configure, text, idle):
    rules = configure(text).rules["a"]

    assert rules.idle == idle
    assert not idle or (rules.allow, rules.resume) == ((), False)


@pytest.mark.parametrize("mode", ["bypassPermissions", "BYPASSPERMISSIONS"])
def test_a_peers_task_never_runs_with_every_permission(configure, mode):
    with pytest.raises(BadSetup, match=r"with every permission\. Use acceptEdits with allow rules"):
        configure(CLAUDE + f'wake = "work"\npermission_mode = "{mode}"')


@pytest.mark.parametrize("wake", ["", 'wake = "answer"'])
@pytest.mark.parametrize("host", ["cursor", "openclaw", "command"])
def test_a_host_that_cannot_be_limited_is_woken_only_on_the_users_word(configure, host, wake):
    with pytest.raises(BadSetup, match="its own rules hold in a woken session"):
        configure(f'[agents.a]\nhost = "{host}"\ndir = "/shop"\n{wake}')


def test_the_bounds_cover_exactly_the_limits_and_their_defaults():
    assert {key.name for key in rules.KEYS if key.into is Limits} == set(vars(Limits()))
    assert rules.read(
        "a", {"host": "claude-code", "dir": "/shop", **vars(Limits())}, {}, "here"
    ) == Rules("a", "claude-code", Path("/shop"), "answer")


def test_the_listeners_folder_is_gone_after_a_reboot_where_the_system_has_such_a_place(
    tmp_path, monkeypatch
):
    """Told by the variable or not: a shell without a login finds the same listener."""
    users = tmp_path / "users"
    mine = users / str(os.getuid())
    mine.mkdir(parents=True)
    monkeypatch.setattr(places, "_USERS", str(users))
    told = load_settings({"XDG_RUNTIME_DIR": str(tmp_path)})
    wrong = load_settings({"XDG_RUNTIME_DIR": str(tmp_path / "missing")})
    unset = load_settings({})
    mine.rmdir()
    nowhere = load_settings({})

    assert told.runtime_dir == tmp_path / "agentbus"
    assert wrong.runtime_dir == unset.runtime_dir == mine / "agentbus"
    assert nowhere.runtime_dir == nowhere.state_dir / "run"
    assert load_settings({"AGENTBUS_HOME": "/bus"}).runtime_dir == Path("/bus/run")


@pytest.mark.parametrize("folder", [Path.home(), *Path.home().parents])
def test_an_agent_that_reads_for_peers_is_not_let_into_its_users_home(folder):
    with pytest.raises(BadSetup, match="home folder"):
        rules.read("shop", {"host": "claude-code", "dir": str(folder)}, {}, "config.toml")


@pytest.mark.parametrize(
    "folder", ["disk", "disk/me", "disk/me/shop/..", "link", "link/..", "to-home", "homes"]
)
def test_the_home_is_known_by_whichever_path_leads_to_it(folder, tmp_path, monkeypatch):
    (tmp_path / "disk" / "me" / "shop").mkdir(parents=True)
    (tmp_path / "homes").mkdir()
    (tmp_path / "homes" / "me").symlink_to(tmp_path / "disk" / "me")
    (tmp_path / "link").symlink_to(tmp_path / "homes" / "me")
    (tmp_path / "to-home").symlink_to(tmp_path / "disk" / "me")
    monkeypatch.setenv("HOME", str(tmp_path / "homes" / "me"))

    dir_ = {"host": "claude-code", "dir": f"{tmp_path}/{folder}"}
    if folder in {"link", "to-home"}:
        assert "the home folder" in rules.read("shop", dir_, {}, "here").folder_lacks()
    else:
        with pytest.raises(BadSetup, match="home folder"):
            rules.read("shop", dir_, {}, "here")
    shop = {"host": "claude-code", "dir": f"{tmp_path}/{folder}/shop"}
    assert rules.read("shop", shop, {}, "here").folder


def test_a_folder_is_not_looked_at_where_it_is_named(tmp_path, monkeypatch):
    real = os.lstat

    def lstat(path, **options):
        assert not str(path).endswith("away"), "a file system that has gone away is waited for"
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", lstat)
    away = {"host": "claude-code", "dir": f"{tmp_path}/away"}

    assert rules.read("shop", away, {}, "here").folder == tmp_path / "away"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:x",
        "http://127.0.0.1:0",
        "http://s3cret@127.0.0.1",
        "http://[s3cret",
        "http://10.0.0.1:18789",
        "http://127.9.9.9",
        "http://example.org",
        "http://127.0.0.1.example.org",
        "https://example.org/?token=s3cret",
        "https://example.org/#s3cret",
    ],
)
def test_a_gateways_token_goes_to_loopback_or_over_tls_only(url):
    with pytest.raises(BadSetup, match="gateway_url is no address") as refusal:
        values.gateway(url)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "http://localhost:1", "http://[::1]:1", "https://example.org/claw"]
)
def test_these_addresses_of_a_gateway_are_good(url):
    assert values.gateway(url).geturl() == url
