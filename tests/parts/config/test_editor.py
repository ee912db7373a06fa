# SPDX-License-Identifier: Apache-2.0
"""Agents in config.toml: added and removed without a change to what a person wrote there."""

import codecs
import fcntl
import threading
import tomllib
from functools import partial

import pytest
from local_server import configured, settings_at

from mcp_agentbus.config.changes import editor
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import files
from mcp_agentbus.doctor import machine
from mcp_agentbus.errors import BadInput, BadSetup, UnknownAgent

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


def test_a_configuration_that_the_users_own_group_can_change_is_read_and_edited(configure, home):
    """As what is written by hand under a umask of 002."""
    settings = configure("")
    about = settings.config_file.stat()
    if about.st_uid != about.st_gid:
        pytest.skip("this user's group has another number")
    settings.config_file.chmod(0o664)
    home.chmod(0o775)

    added = editor.add(settings, "coder", **KEYS).settings

    assert list(load_settings(added.environ).agents) == ["coder"]
    assert not [each for each in machine.files(added) if each.fix.startswith("Run: chmod 700")]


def test_a_folder_whose_path_is_no_text_is_refused_and_nothing_is_written(configure, file):
    settings = configure("# mine\n")
    with pytest.raises(BadSetup, match=r"is not UTF-8\. It was left as it is") as refused:
        editor.add(settings, "coder", **KEYS | {"dir": "/caf\udce9"})

    assert refused.value.hint.startswith("Rename that folder")
    assert file.read_text() == "# mine\n"


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
    gone = 'wake = "work"\npermission_mode = "acceptEdits"\nallow = ["Edit"]\nresume = true\n'
    settings = configure(f"# one\n{TABLE}{gone}{kept}\n[agents.z]\n")
    before = file.read_bytes()

    with pytest.raises(BadInput, match=r"coder is in .* already.*--replace"):
        editor.add(settings, "coder", **KEYS)
    assert file.read_bytes() == before

    added = editor.add(settings, "coder", replace=True, host="cursor", wake="work", dir="/other")

    assert added.gone == ("permission_mode", "allow", "resume")
    rules = added.settings.rules["coder"]
    assert (rules.limits.per_hour, rules.wake_on) == (2, ("high", "normal"))
    assert (rules.instruction, rules.env) == ("Be brief.", ("JAVA_HOME",))
    assert added.settings.agents["coder"].roles == ("review",)
    assert kept in file.read_text()
    assert file.read_text().startswith('# one\n[agents.coder]\nhost = "cursor"\ndir = "/other"\n')
    assert list(tomllib.loads(file.read_text())["agents"]) == ["coder", "z"]


LEFT = """[agents.coder]
host = "cursor"
dir = "/shop"
wake = "work"
permission_mode = "plan"
allow = ["Edit"]
resume = true
"""


def test_what_an_agent_add_of_before_has_left_goes_with_the_next_one_or_with_its_agent(
    configure, file
):
    settings = configure(LEFT)

    added = editor.add(settings, "coder", replace=True, host="cursor", wake="work", roles=["x"])
    editor.remove(settings, "coder")

    assert added.gone == ("allow", "resume")
    assert added.settings.rules["coder"].permission_mode == "plan"
    assert file.read_text() == ""


@pytest.mark.parametrize(
    "keys",
    [
        {"host": "shell", "dir": "/shop"},
        {**KEYS, "wake": "always"},
        {**KEYS, "time_limit_s": 0},
        {**KEYS, "roles": ["Bad Role"]},
        {**KEYS, "resume": True},
        {**KEYS, "host": "cursor", "wake": "work", "allow": ["Edit"]},
        {**KEYS, "host": "cursor", "wake": "work", "permission_mode": "plan"},
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
    dotfile.write_bytes(files.encoded(text, mark, dotfile))
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
    assert dotfile.read_bytes() == files.encoded(text, mark, dotfile)
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
        (
            '[wake]\nwake_from = ["coder"] # mine\n[agents.coder]\n',
            '[wake]\nwake_from = ["shop"] # mine\n[agents.shop]\n',
        ),
        ('wake.wake_from = ["coder"]\n', 'wake.wake_from = ["shop"]\n'),
    ],
)
def test_a_renamed_agent_keeps_what_its_user_wrote(configure, file, text, renamed):
    editor.rename(configure(text), "coder", "shop")

    assert file.read_text().strip() == renamed.strip()


@pytest.mark.parametrize(
    ("text", "freed"),
    [
        ('[wake]\nwake_from = ["me", "coder"] # mine\n', '[wake]\nwake_from = ["me"] # mine\n'),
        (
            'agents.boss.accept_from = ["coder"] # mine\n[wake]\nwake_from = "*"\n',
            'agents.boss.accept_from = [] # mine\n[wake]\nwake_from = "*"\n',
        ),
        ('[agents.coder]\nroles = ["coder"]\n', '[agents.coder]\nroles = ["coder"]\n'),
        ("", ""),
    ],
)
def test_an_id_that_is_free_is_nobodys_sender(configure, file, text, freed):
    settings = editor.distrust(configure(text), "coder")

    assert file.read_text() == freed
    assert settings == load_settings(settings.environ)


def test_an_id_that_config_toml_does_not_name_is_freed_where_nobody_may_write(configure, file):
    settings = configure('[agents.me]\nhost = "cursor"\n')
    file.parent.chmod(0o777)

    assert editor.distrust(settings, "coder") is settings


def test_an_agent_gets_no_id_that_another_has_in_the_file(configure):
    with pytest.raises(BadInput, match="already"):
        editor.rename(configure('[agents.coder]\nhost = "cursor"\n'), "coder", "coder")


_JOINED = {"url": "tls://bus.example.org:4222", "nkey_file": "/k/l.nk", "account": "laptop"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        '# mine\n\n\n[agents.coder]\nhost = "codex" # so\n',
        '[agents.coder]\r\nroles = ["review"]\r\n',
        '[archive]\ndays = 3\n\n[server]\nurl = "nats://127.0.0.1:5"\n\n# after\n[human]\n',
        '[server]\nbinary = "/usr/bin/nats-server"\ntoken_file = "/t"\nurl = "nats://127.0.0.1:5"\n',
        'server = { url = "nats://127.0.0.1:5" }\n',
        'server.url = "nats://127.0.0.1:5"\n[archive]\ndays = 3\n',
    ],
)
def test_the_server_is_another_one_and_the_one_of_before_again(configure, file, text):
    settings, old = configure(text), tomllib.loads(text)

    before = editor.set_server(settings, _JOINED)
    now = file.read_bytes().decode()
    loaded = load_settings(settings.environ)

    assert before == old.get("server", {})
    assert tomllib.loads(now) == {**old, "server": _JOINED}
    assert (loaded.urls, loaded.account) == ((_JOINED["url"],), "laptop")
    assert [line for line in text.splitlines() if "#" in line] == [
        line for line in now.splitlines() if "#" in line
    ]
    assert editor.set_server(settings, before) == _JOINED
    assert tomllib.loads(file.read_text()) == old
    if "server" not in old:
        assert file.read_bytes().decode() == text


def test_a_server_that_would_be_refused_never_lands(configure, file):
    settings = configure('[server]\nurl = "nats://127.0.0.1:5"\n')

    with pytest.raises(BadSetup):
        editor.set_server(settings, {**_JOINED, "url": "nats://bus.example.org:4222"})
    assert file.read_text() == '[server]\nurl = "nats://127.0.0.1:5"\n'


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
