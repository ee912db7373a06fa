# SPDX-License-Identifier: Apache-2.0
"""Settings: where the files are, what wins, and what of the file and the address is refused."""

import os
import sys
from functools import partial

import pytest
from local_server import configured
from mcp_agentbus.installers._parts import entry as _entry
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.config.settings import load_settings, neighbour_environ, neighbour_settings
from mcp_agentbus.core import places
from mcp_agentbus.core.places import Place
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.relay import local_socket, starter

REMOTE = "nats://bus.example.org:4222"


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def configure(home):
    """Return the settings of a user who has written the given text into config.toml."""
    return partial(configured, home)


def settings(**environ):
    return load_settings({"AGENTBUS_HOME": "/nowhere", **environ})


def test_everything_is_under_agentbus_home(tmp_path):
    loaded = load_settings({"AGENTBUS_HOME": str(tmp_path)})

    assert loaded.data_dir == tmp_path / "data"
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.config_file == tmp_path / "config.toml"
    assert list(tmp_path.iterdir()) == []


def test_a_home_may_be_relative_or_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))

    assert settings(AGENTBUS_HOME="bus").data_dir == tmp_path / "bus" / "data"
    assert settings(AGENTBUS_HOME="~/bus").data_dir == tmp_path / "me" / "bus" / "data"


def test_a_relative_home_is_the_same_to_whom_this_starts_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert settings(AGENTBUS_HOME="bus").environ["AGENTBUS_HOME"] == str(tmp_path / "bus")
    told = local_socket.surroundings({"AGENTBUS_HOME": "bus"})["environ"]
    assert told == {"AGENTBUS_HOME": str(tmp_path / "bus")}


def test_a_listener_that_a_session_starts_finds_what_a_relative_path_named(tmp_path, monkeypatch):
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.Popen", lambda _, **options: started.append(options["env"]))
    environ = {"AGENTBUS_HOME": "bus", "AGENTBUS_TOKEN_FILE": "token", "HOME": str(tmp_path)}
    environ["AGENTBUS_NATS_SERVER"] = "nats-server"

    assert starter.start_listener(Place(places.runtime_folder(environ), environ))

    assert started[0]["AGENTBUS_HOME"] == str(tmp_path / "bus")
    assert started[0]["AGENTBUS_TOKEN_FILE"] == str(tmp_path / "token")
    assert started[0]["AGENTBUS_NATS_SERVER"] == str(tmp_path / "nats-server")


@pytest.fixture
def platform(tmp_path, monkeypatch):
    """The environment of a user with the platform's own folders, which this process has as well."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return {"HOME": str(tmp_path)}


@pytest.mark.skipif(sys.platform == "darwin", reason="the default folders are others there")
def test_a_variable_that_names_the_default_folder_is_no_other_folder(platform, tmp_path):
    ours = load_settings(platform)
    usual = {
        "XDG_CONFIG_HOME": f"{tmp_path}/.config/",
        "XDG_STATE_HOME": f"{tmp_path}/.local/state",
    }

    assert neighbour_settings(ours, {**platform, **usual}).config_file == ours.config_file
    assert neighbour_settings(load_settings(platform | usual), platform)


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"])
def test_another_folder_is_no_neighbours(platform, name):
    with pytest.raises(BadInput, match="another bus"):
        neighbour_settings(load_settings(platform), {**platform, name: "/elsewhere"})


def test_another_process_is_led_by_what_is_set_and_changes_something(platform):
    home = settings(AGENTBUS_HOME="/bus", XDG_DATA_HOME="/data", XDG_RUNTIME_DIR="/")

    assert neighbour_environ(home) == {"AGENTBUS_HOME": "/bus"}
    assert neighbour_environ(load_settings(platform)) == {}
    moved = platform | {"XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "relative"}
    assert neighbour_environ(load_settings(moved)) == {"XDG_DATA_HOME": "/data"}
    of_home = load_settings(platform | {"AGENTBUS_NATS_SERVER": "~/bin/nats-server"})
    server = {"AGENTBUS_NATS_SERVER": f"{platform['HOME']}/bin/nats-server"}
    assert neighbour_environ(of_home) == server


def test_an_entry_leads_to_the_same_bus_and_gives_way_only_to_what_is_set(platform, tmp_path):
    url, file = "tls://bus.example.org:4222", str(tmp_path / "token")
    set_ = {"AGENTBUS_URL": url, "AGENTBUS_TOKEN_FILE": file, "XDG_DATA_HOME": "/data"}
    set_["AGENTBUS_NATS_SERVER"] = "/bin/nats-server"
    before = {"args": ["serve"], "env": {"AGENTBUS_URL": "tls://old.example.org", "MINE": "1"}}

    entry = _entry.made(Machine(load_settings(platform | set_)), before)
    again = _entry.made(Machine(load_settings(platform)), entry)

    assert entry["env"] == again["env"] == {"MINE": "1", **set_}
    assert _entry.variables(entry) == ["MINE"]
    assert _entry.variables({"env": {"AGENTBUS_URL": "tls://secret@old.example.org"}})


@pytest.mark.parametrize("environ", [{}, {"AGENTBUS_HOME": ""}])
def test_without_a_home_the_systems_own_folders_are_used(environ, tmp_path):
    xdg = {f"XDG_{kind}_HOME": f"{tmp_path}/{kind.lower()}" for kind in ("DATA", "STATE", "CONFIG")}

    loaded = load_settings({**environ, **xdg})

    for path in (loaded.data_dir, loaded.state_dir, loaded.config_file.parent):
        assert path.is_relative_to(tmp_path)
        assert path.name == "agentbus"


def test_nothing_configured_means_the_embedded_server_and_nobody_known():
    loaded = settings()

    assert (loaded.url, loaded.token_file, loaded.binary) == (None, None, None)
    assert loaded.agents == {}


def test_what_the_environment_says_wins_over_the_file(configure, home):
    text = """
        [server]
        url = "tls://file.example.org"
        token_file = "/file/token"
        binary = "/file/nats-server"
    """
    from_file = configure(text)
    from_environ = configure(
        text,
        AGENTBUS_URL="tls://environ.example.org",
        AGENTBUS_TOKEN_FILE="/environ/token",
        AGENTBUS_NATS_SERVER="/environ/nats-server",
    )

    assert (from_file.url, str(from_file.token_file)) == ("tls://file.example.org", "/file/token")
    assert str(from_file.binary) == "/file/nats-server"
    assert from_environ.url == "tls://environ.example.org"
    assert str(from_environ.token_file) == "/environ/token"
    assert str(from_environ.binary) == "/environ/nats-server"


def test_the_settings_show_no_environment_when_they_are_printed():
    assert "hunter2" not in repr(settings(SOME_PASSWORD="hunter2"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server", "not TOML"),
        ("a = " + "[" * 50_000, "not TOML"),
        ('[serer]\nurl = "x"', "does not exist: serer"),
        ('[server]\nurll = "x"', "does not exist: urll"),
        ("[agents.planner]\nrole = []", "does not exist: role"),
        ('server = "tls://bus.example.org"', "server is not a table"),
        ("agents = 5", "agents is not a table"),
        ("[agents]\nplanner = 5", r"\[agents\.planner\] is not a table"),
        ("[server]\nurl = 5", "url is not a string"),
        ('[server]\nallow_plaintext = "no"', "allow_plaintext is not a boolean"),
        ('[agents.planner]\nroles = "review"', "roles is not a list"),
        ("[agents.planner]\ndescription = 5", "description is not a string"),
        (f"[agents.planner]\ndescription = '{'x' * 301}'", "description has 301 characters"),
        ("[agents.Planner]", r"\[agents\.Planner\].*not an agent id"),
        ("[agents.all]", r"\[agents\.all\].*reserved"),
        ("[agents.role-x]", r"\[agents\.role-x\].*reserved"),
        ('[agents.planner]\nroles = ["Bad Role"]', r"\[agents\.planner\].*not a role name"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_file_and_key(configure, text, said):
    with pytest.raises(BadSetup, match=f"config.toml.*{said}"):
        configure(text)


def test_a_misspelt_key_is_answered_with_the_right_ones(configure):
    with pytest.raises(BadSetup, match=r"Known: url, token_file, user, password_file, "):
        configure('[server]\nulr = "x"')


def test_a_configuration_in_another_encoding_is_refused(configure, home):
    configure("")
    (home / "config.toml").write_bytes(b'[agents.planner]\ndescription = "\xe9"')

    with pytest.raises(BadSetup, match="not TOML"):
        load_settings({"AGENTBUS_HOME": str(home)})


@pytest.mark.promise(41)
@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666, 0o620])
def test_a_configuration_that_others_can_change_is_refused_with_the_command(configure, home, mode):
    configure("")
    (home / "config.toml").chmod(mode)
    if not mode & 0o002:
        another_group(home / "config.toml")

    with pytest.raises(BadSetup, match=f"Run: chmod 600 {home / 'config.toml'}"):
        load_settings({"AGENTBUS_HOME": str(home)})


def another_group(file):
    """Give a file to a group that is not its owner's own."""
    if file.stat().st_uid == file.stat().st_gid:
        if os.getuid() != 0:
            pytest.skip("only root can give a file to a group that it is not in")
        os.chown(file, -1, 4711)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644, 0o640])
def test_a_configuration_that_others_cannot_change_is_read(configure, home, mode):
    configure("[agents.planner]")
    (home / "config.toml").chmod(mode)

    assert list(load_settings({"AGENTBUS_HOME": str(home)}).agents) == ["planner"]


@pytest.mark.promise(41)
def test_a_configuration_that_is_a_link_is_the_file_to_which_it_leads(home, tmp_path):
    dotfile = tmp_path / "dotfiles"
    dotfile.write_text("[agents.planner]")
    (home / "config.toml").symlink_to(dotfile)

    assert list(load_settings({"AGENTBUS_HOME": str(home)}).agents) == ["planner"]
    dotfile.chmod(0o666)
    with pytest.raises(BadSetup, match="can be changed by other users"):
        load_settings({"AGENTBUS_HOME": str(home)})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_configuration_is_read_however_an_editor_spells_it(configure, home, encoding, end):
    configure("")
    text = f'[agents.planner]{end}description = "Plänt."{end}'
    (home / "config.toml").write_bytes(text.encode(encoding))

    planner = load_settings({"AGENTBUS_HOME": str(home)}).agents["planner"]
    assert planner.description == "Plänt."


@pytest.mark.promise(41)
def test_a_configuration_of_another_user_is_refused(configure, home, monkeypatch):
    configure("")
    uid = (home / "config.toml").stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)

    with pytest.raises(BadSetup, match="another user"):
        load_settings({"AGENTBUS_HOME": str(home)})


def test_a_configuration_that_is_a_folder_is_refused(home):
    (home / "config.toml").mkdir(mode=0o700)

    with pytest.raises(BadSetup, match="cannot be read"):
        load_settings({"AGENTBUS_HOME": str(home)})


@pytest.mark.promise(42)
@pytest.mark.parametrize(
    "url",
    [
        "nats://127.0.0.1:4222",
        "nats://localhost:4222",
        "nats://LOCALHOST",
        "nats://[::1]:4222",
        "nats://127.0.0.1:4222/",
        "tls://127.0.0.1:4222",
        "tls://bus.example.org",
        "tls://bus.example.org:4222",
        "tls://[2001:db8::1]:4222",
        "TLS://bus.example.org",
    ],
)
def test_a_server_on_this_machine_or_behind_tls_is_taken(url):
    assert settings(AGENTBUS_URL=url).url == url


@pytest.mark.promise(42)
@pytest.mark.parametrize(
    "url",
    [
        REMOTE,
        "nats://10.0.0.7:4222",
        "nats://100.64.0.7:4222",
        "nats://[fd7a:115c:a1e0::7]:4222",
        "nats://localhost.example.org",
        "nats://127.0.0.1.example.org",
        "nats://notlocalhost",
    ],
)
def test_plain_text_off_this_machine_is_refused_unless_it_is_allowed(url, configure):
    with pytest.raises(BadSetup, match=r"without TLS.*allow_plaintext = true"):
        settings(AGENTBUS_URL=url)
    with pytest.raises(BadSetup, match="without TLS"):
        configure(f'[server]\nurl = "{url}"\nallow_plaintext = false')

    allowed = configure(f'[server]\nurl = "{url}"\nallow_plaintext = true')

    assert allowed.url == url
    assert configure("[server]\nallow_plaintext = true", AGENTBUS_URL=url).url == url


def test_a_login_in_the_address_is_refused_with_where_each_kind_of_it_belongs():
    with pytest.raises(BadSetup) as refusal:
        settings(AGENTBUS_URL="nats://user:s3cret@127.0.0.1:4222")

    for name in ("token_file", "user and password_file", "AGENTBUS_USER"):
        assert name in refusal.value.hint


@pytest.mark.promise(40)
@pytest.mark.parametrize(
    "url",
    [
        "nats://s3cret@127.0.0.1:4222",
        "nats://user:s3cret@127.0.0.1:4222",
        "nats://:s3cret@127.0.0.1:4222",
        "tls://user:s3cret@bus.example.org",
        "tls://bus.example.org,tls://s3cret@other.example.org",
        "tls://bus.example.org?token=s3cret",
        "tls://bus.example.org/s3cret",
        "tls://bus.example.org:s3cret",
        "tls://[s3cret",
    ],
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(url, configure):
    with pytest.raises(BadSetup) as refusal:
        settings(AGENTBUS_URL=url)
    assert "s3cret" not in str(refusal.value)

    with pytest.raises(BadSetup) as refusal:
        configure(f'[server]\nurl = "{url}"\nallow_plaintext = true')
    assert "s3cret" not in str(refusal.value)


def test_a_refused_secret_is_answered_with_the_place_for_it():
    with pytest.raises(BadSetup, match="AGENTBUS_TOKEN_FILE"):
        settings(AGENTBUS_URL="tls://s3cret@bus.example.org")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4222",
        "localhost",
        "http://127.0.0.1:4222",
        "ws://127.0.0.1:4222",
        "nats:",
        "nats://",
        "nats://:4222",
        "nats://127.0.0.1:0",
        "nats://127.0.0.1:99999",
        "nats://127.0.0.1:port",
        "nats://[::1:4222",
        "nats://127.0.0.1,bus.example.org",
        "nats://127.0.0.1#@bus.example.org",
    ],
)
def test_what_is_not_the_address_of_a_server_is_refused_with_an_example(url):
    with pytest.raises(BadSetup, match=r"not a nats:// or tls:// URL.*tls://bus\.example\.org"):
        settings(AGENTBUS_URL=url)
