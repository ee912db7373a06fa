# SPDX-License-Identifier: Apache-2.0
"""The checks of `agentbus doctor`, each on what it may find; no process but the host's stand-in."""

import os
from importlib import metadata

import pytest
from local_server import configured, script, settings_at
from mcp_agentbus.installers import assets
from mcp_agentbus.installers.steps import Step, SwitchedOff

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.core.hosts import CONNECTED
from mcp_agentbus.doctor import hosts, machine, report, server
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.errors import BadSetup


def info(stored, limit, storage="file"):
    return {"state": {"bytes": stored}, "config": {"max_bytes": limit, "storage": storage}}


def test_versions_of_this_installation_are_good():
    found = machine.versions()

    assert found.state == "ok"
    assert "nats-py" in found.said


@pytest.mark.parametrize(
    ("installed", "said"), [("0.0.1", "is older than"), (None, "is not installed")]
)
def test_a_library_that_is_old_or_missing_is_wrong(monkeypatch, installed, said):
    def version(name):
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(metadata, "version", version)

    found = machine.versions()

    assert found.state == "wrong"
    assert said in found.said
    assert "pip install" in found.fix


@pytest.mark.parametrize("lines", [("exit 3",), ("echo no version",)])
def test_a_nats_server_that_does_not_say_its_version_is_wrong(tmp_path, lines):
    program = script(tmp_path / "nats-server", *lines)

    found = machine.nats_server(settings_at(tmp_path, AGENTBUS_NATS_SERVER=str(program)))

    assert found.state == "wrong"
    assert "AGENTBUS_NATS_SERVER" in found.fix


def test_a_file_of_another_user_is_wrong_and_not_mended(tmp_path, monkeypatch):
    settings = configured(tmp_path, "")
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)

    found = machine.files(settings)

    assert {one.state for one in found} == {"wrong"}
    assert all("chown" in one.fix and one.mend is None for one in found)


def test_an_archive_that_cannot_be_read_is_told_of_and_a_good_one_or_none_is_not(tmp_path):
    settings = settings_at(tmp_path)
    assert machine.archive(settings) == []
    with Archive(settings.archive_file, settings.archive):
        assert machine.archive(settings) == []
    settings.archive_file.write_bytes(b"SQLite format 3\0" + bytes(4096))

    [told] = machine.archive(settings)

    assert told.state == "wrong"
    assert str(settings.archive_file) in told.said
    assert "made anew" in told.fix
    assert told.fix not in told.said


def test_a_link_in_a_tokens_place_is_not_followed_by_a_fix(tmp_path):
    settings = configured(tmp_path, "")
    target = tmp_path / "elsewhere"
    target.touch(mode=0o644)
    settings.state_dir.mkdir(mode=0o700)
    settings.ledger_file.symlink_to(target)

    [found] = [one for one in machine.files(settings) if "symlink" in one.said]

    assert (found.state, found.mend) == ("wrong", None)


def test_a_chmod_does_not_go_through_a_link_that_came_meanwhile(tmp_path):
    settings = configured(tmp_path, "")
    settings.config_file.chmod(0o666)
    [found] = [one for one in machine.files(settings) if one.mend]
    target = tmp_path / "elsewhere"
    target.touch(mode=0o644)
    settings.config_file.unlink()
    settings.config_file.symlink_to(target)

    with pytest.raises(BadSetup):
        found.mend.do()
    assert target.stat().st_mode & 0o777 == 0o644


AGENT = '[agents.coder]\nhost = "{host}"\ndir = "{folder}"\n{more}\n'


@pytest.mark.parametrize(
    ("host", "more", "said"),
    [
        ("claude-code", "", "claude is not on PATH"),
        ("cursor", 'wake = "work"', "cursor-agent or agent is not on PATH"),
        ("cursor", 'wake = "work"\npermission_mode = "plan"', "be started in permission_mode plan"),
        ("command", 'wake = "work"\ncommand = ["/no/program"]', "/no/program is not there, or"),
        ("openclaw", 'wake = "work"\ntoken_file = "/no/such/token"', "there is no /no/such/token"),
        ("openclaw", 'wake = "work"', "no token_file is set for its gateway"),
    ],
)
def test_an_agent_whose_host_is_not_here_is_wrong(tmp_path, host, more, said):
    folder = tmp_path / "shop"
    folder.mkdir()
    text = AGENT.format(host=host, folder=folder, more=more)
    settings = configured(tmp_path, text, PATH=str(folder))

    [found] = machine.agents(settings)

    assert (found.name, found.state) == ("agent coder", "wrong")
    assert said in found.said
    assert found.fix


@pytest.mark.parametrize(("name", "state"), [("claude", "ok"), ("claud", "wrong")])
def test_an_agents_host_is_looked_for_on_the_users_own_path(tmp_path, name, state):
    folder = tmp_path / "shop"
    folder.mkdir()
    script(tmp_path / name, "exit 0")
    text = AGENT.format(host="claude-code", folder=folder, more="")

    [found] = machine.agents(configured(tmp_path, text, PATH=str(tmp_path)))

    assert found.state == state


@pytest.mark.parametrize(
    ("folder", "said"),
    [("gone", "is not there"), (300 * "x", "cannot be looked at: File name too long")],
)
def test_an_agent_without_its_folder_is_wrong(tmp_path, folder, said):
    text = AGENT.format(host="claude-code", folder=tmp_path / folder, more="")

    [found] = machine.agents(configured(tmp_path, text))

    assert found.state == "wrong"
    assert said in found.said


async def test_in_a_folder_that_was_removed_a_name_is_looked_at_all_the_same(tmp_path, monkeypatch):
    settings = configured(tmp_path / "home", "", CLAUDECODE="1", AGENTBUS_AGENT="coder")
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    assert await machine.name(settings) == []


def test_an_agent_that_is_never_started_needs_no_host(tmp_path):
    text = AGENT.format(host="claude-code", folder=tmp_path, more='wake = "hold"')

    [found] = machine.agents(configured(tmp_path, text, PATH=str(tmp_path)))

    assert found.state == "ok"
    assert "nothing starts it" in found.said


def test_a_key_that_does_nothing_is_told(tmp_path):
    more = 'wake = "hold"\nallow = ["Edit"]\nresume = true'
    text = AGENT.format(host="cursor", folder=tmp_path, more=more)

    found = machine.configuration(configured(tmp_path, text))

    assert found.state == "warning"
    assert found.said.endswith("; in it these do nothing: allow of coder, resume of coder")


@pytest.mark.parametrize(
    ("conf", "state"),
    [
        ("jetstream {\n  sync_interval: always\n}", "ok"),
        ("jetstream {\n  sync_interval: 2m\n}", "wrong"),
        ("jetstream {\n  # sync_interval: always\n}", "wrong"),
        ("", "wrong"),
        (None, "unknown"),
    ],
)
def test_only_sync_interval_always_is_durable(settings, files, conf, state):
    if conf is not None:
        files.root.mkdir(parents=True)
        files.conf.write_text(conf)

    assert server.durability(settings).state == state


@pytest.mark.parametrize(
    ("infos", "state"),
    [
        ({"A": info(79, 100), "B": info(0, 100)}, "ok"),
        ({"A": info(80, 100), "B": info(0, 100)}, "warning"),
        ({"A": info(0, 100), "B": None}, "warning"),
        ({"A": info(5, -1)}, "ok"),
    ],
)
def test_a_stream_that_is_nearly_full_or_missing_is_told_of(infos, state):
    assert server.store(infos).state == state


GIB = 1 << 30


@pytest.mark.parametrize(
    ("stored", "limit", "storage", "free", "state"),
    [
        (0, GIB, "file", GIB, "ok"),
        (0, GIB, "file", GIB - 1, "warning"),
        (0, 4 * GIB, "file", 3 * GIB, "warning"),
        (2 * GIB, 4 * GIB, "file", 3 * GIB, "ok"),
        (0, 4 * GIB, "memory", 3 * GIB, "ok"),
        (0, GIB, "file", 0, "wrong"),
    ],
)
def test_a_disk_that_the_streams_could_fill_is_told_of(stored, limit, storage, free, state):
    [found] = server.disk({"A": info(stored, limit, storage)}, free)

    assert found.state == state


@pytest.mark.parametrize(
    ("ahead_s", "within_s", "state", "said"),
    [
        (1.9, 0, "ok", ""),
        (-1.9, 0, "ok", ""),
        (2.1, 0, "warning", "ahead of"),
        (-60, 0, "warning", "60 s behind"),
        (2.1, 0.5, "ok", ""),
    ],
)
def test_clocks_that_differ_by_more_than_two_seconds_are_told_of(
    tmp_path, ahead_s, within_s, state, said
):
    asked_ = server._Asked({}, ahead_s, within_s)

    found = server.clock(settings_at(tmp_path), asked_)

    assert found.state == state
    assert said in found.said


def refused(_):
    raise BadSetup("The host lists no tools.", hint="Look at its log.")


def test_a_host_that_is_here_is_asked(tmp_path, installer):
    found = hosts.host(settings_at(tmp_path), "stand-in")

    assert found == Check("stand-in", "ok", "Host 1.0, /usr/bin/host: it listed five tools")
    assert found.here


def test_a_host_that_has_just_been_asked_is_not_asked_again(tmp_path, installer):
    installer.verify = refused

    found = hosts.host(settings_at(tmp_path), "stand-in", asked="it listed five tools")

    assert found == Check("stand-in", "ok", "Host 1.0, /usr/bin/host: it listed five tools")


def test_a_host_that_is_not_here_is_no_fault(tmp_path, installer):
    installer.found = lambda _: None
    installer.verify = refused

    assert hosts.host(settings_at(tmp_path), "stand-in").state == "ok"


@pytest.mark.parametrize(("left", "state"), [(True, "wrong"), (False, "warning")])
def test_a_host_that_does_not_start_us_is_wrong_if_it_was_connected(
    tmp_path, installer, left, state
):
    installer.verify = refused
    taken = []
    installer.uninstall = lambda _: [Step("remove it", lambda: taken.append(1))] if left else []

    found = hosts.host(settings_at(tmp_path), "stand-in")

    assert found.state == state
    assert ("lists no tools" in found.said) == ("Look at its log." in found.fix) == left
    assert ("not connected" in found.said) == (not left)
    assert "agentbus install stand-in" in found.fix
    assert taken == []


def test_a_host_in_which_its_user_has_disabled_us_is_not_broken(tmp_path, installer):
    def disabled(_):
        raise SwitchedOff("its plugin is disabled", hint="host enable")

    installer.verify = disabled
    installer.uninstall = lambda _: [Step("remove it", str)]

    found = hosts.host(settings_at(tmp_path), "stand-in")

    assert (found.state, found.fix, found.here) == ("warning", "host enable", True)
    assert found.said == "Host 1.0, /usr/bin/host: its plugin is disabled"


@pytest.mark.parametrize("slow", ["found", "verify"])
def test_a_host_that_takes_too_long_is_not_known_to_work(tmp_path, installer, slow):
    hangs = script(tmp_path / "host", "exec /bin/sleep 600")

    def ask(machine):
        try:
            return machine.run([str(hangs)])
        except BadSetup:
            if slow == "found":  # as the installers do
                return None
            raise

    setattr(installer, slow, ask)

    found = hosts.host(settings_at(tmp_path), "stand-in", limit_s=0.2)

    assert found.state == "unknown"
    assert "less busy" in found.fix


def test_a_person_reads_one_line_for_the_hosts_that_are_not_here():
    away = [Check(name, "ok", "not here", here=False) for name in ("cursor", "codex")]
    here = Check("openclaw", "ok", "OpenClaw started agentbus", here=True)
    rest = Check("hooks", "ok", "cheap")
    line = "not here: cursor, codex"

    def few(*found):
        return report._in_few_lines(found)

    assert few(away[0], here, away[1], rest) == [here, Check("other hosts", "ok", line), rest]
    assert few(*away, rest) == [Check("hosts", "ok", line), rest]
    assert few(away[0], rest) == [away[0], rest]


@pytest.mark.parametrize("name", CONNECTED)
def test_every_host_that_can_be_installed_is_looked_at(tmp_path, name):
    nowhere = settings_at(tmp_path, HOME=str(tmp_path), PATH=str(tmp_path))

    assert name in hosts.HOSTS
    found = hosts.host(nowhere, name)
    assert (found.state, found.here) == ("ok", False)


@pytest.mark.parametrize(
    ("times", "state"),
    [([1, 3.0] * 3, "ok"), ([1, 3.1] * 3, "warning"), ([1, 9, 1, 2, 1, 9], "ok")],
)
def test_a_hook_is_measured_against_a_python_that_does_nothing(tmp_path, monkeypatch, times, state):
    left = iter(times)
    monkeypatch.setattr(hosts, "_took", lambda *_: next(left))

    assert hosts.hooks(settings_at(tmp_path)).state == state


def test_the_hook_that_is_measured_is_the_one_of_this_package(tmp_path):
    found = hosts.hooks(settings_at(tmp_path))

    assert found.state in {"ok", "warning"}
    assert "times as long" in found.said


def test_a_hook_that_does_not_end_is_told_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "agentbus_hook.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(assets, "plugin_folder", lambda: tmp_path)

    found = hosts.hooks(settings_at(tmp_path))

    assert (found.state, found.said) == ("unknown", "a hook did not end within 2 s")
    assert found.fix == "Try again when the machine is less busy."


@pytest.mark.parametrize("folder", [True, False])
def test_without_its_hooks_an_installation_is_not_known_to_be_good(tmp_path, monkeypatch, folder):
    def plugin_folder():
        if folder:
            return tmp_path
        raise BadSetup("The plugin is missing from this installation.")

    monkeypatch.setattr(assets, "plugin_folder", plugin_folder)

    assert hosts.hooks(settings_at(tmp_path)).state == "unknown"
