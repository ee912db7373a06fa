# SPDX-License-Identifier: Apache-2.0
"""Which program the listener's service starts, by its file as it was written or altered."""

import pytest
from local_server import settings_at
from mcp_agentbus.installers import launchd, systemd
from mcp_agentbus.installers._parts import files


@pytest.fixture
def settings(tmp_path):
    return settings_at(tmp_path / "bus", HOME=str(tmp_path))


@pytest.mark.parametrize("python", ["/usr/bin/python3", '/a b/100%/"c"\\/python'])
@pytest.mark.parametrize(
    ("manager", "file"), [(systemd, systemd.unit_file), (launchd, launchd.plist_file)]
)
def test_it_is_the_one_that_was_written(settings, monkeypatch, manager, file, python):
    before = manager.program(settings)
    monkeypatch.setattr("sys.executable", python)
    files.write(file(settings.environ), manager._wanted(settings))

    assert (before, manager.program(settings)) == ("", python)


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("ExecStart=/opt/bin/agentbus listen", "/opt/bin/agentbus"),
        ("ExecStart=agentbus listen", ""),
        ("ExecStart=%h/bin/agentbus listen", ""),
        ("ExecStart=/home/%u/bin/agentbus listen", ""),
        ("Type=notify", ""),
    ],
)
def test_of_a_unit_that_a_person_has_written_only_a_path_is_known(settings, line, program):
    files.write(systemd.unit_file(settings.environ), f"[Service]\n{line}\n".encode())

    assert systemd.program(settings) == program


@pytest.mark.parametrize("content", [b"<plist", b"<plist><dict/></plist>"])
def test_of_a_plist_that_names_none_none_is_known(settings, content):
    files.write(launchd.plist_file(settings.environ), content)

    assert launchd.program(settings) == ""
