# SPDX-License-Identifier: Apache-2.0
"""What a listener and a session learn of config.toml after they have read it."""

import errno

import pytest
from local_server import configured

from mcp_agentbus.config import tables
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.config.watcher import Watcher

AGENT = '[agents.coder]\ndescription = "{}"\n'


@pytest.fixture
def settings(tmp_path):
    return configured(tmp_path / "home", AGENT.format("before"))


def write(settings, text):
    """Write the file anew, as an editor does; at once, the clock of its stamp may not have gone on."""
    new = settings.config_file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(settings.config_file)


def test_an_edit_between_its_settings_and_its_begin_is_read(settings):
    write(settings, AGENT.format("after"))
    watcher = Watcher(settings)

    assert watcher.changed()
    assert watcher.settings.agents["coder"].description == "after"
    assert not watcher.changed()


def test_what_was_read_is_read_again_only_where_it_has_changed(settings):
    watcher = Watcher(settings)

    assert not watcher.changed()
    write(settings, "agents = 1")
    assert watcher.changed()
    assert "agents is not a table" in watcher.says
    assert watcher.settings == settings


def test_settings_without_the_file_are_followed_by_it(settings):
    watcher = Watcher(load_settings(settings.environ, text=""))

    assert watcher.changed()
    assert watcher.settings.agents == settings.agents


def test_what_the_system_could_not_read_for_a_moment_is_read_again_and_said_once(
    settings, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files", str(settings.config_file))

    watcher = Watcher(settings)
    write(settings, AGENT.format("after"))
    with monkeypatch.context() as crowded:
        crowded.setattr(tables, "read_whole", refuse)
        changed = [watcher.changed(), watcher.changed()]
        assert "Too few files may be open" in watcher.says

    assert [*changed, watcher.changed(), watcher.changed()] == [True, False, True, False]
    assert watcher.says == ""
    assert watcher.settings.agents["coder"].description == "after"


def test_what_is_there_again_as_it_was_is_no_longer_said_to_be_out_of_reach(settings, monkeypatch):
    """With the very stamp that it had: its folder was away, and the file untouched."""
    watcher = Watcher(settings)
    away = settings.config_file.parent.with_suffix(".away")
    settings.config_file.parent.rename(away)
    settings.config_file.parent.symlink_to(settings.config_file.parent)
    assert watcher.changed()
    assert watcher.says
    settings.config_file.parent.unlink()
    away.rename(settings.config_file.parent)

    assert watcher.changed()
    assert watcher.says == ""
