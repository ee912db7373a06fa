# SPDX-License-Identifier: Apache-2.0
"""What a repository puts into its folder runs in none of our programs, and none of them changes it."""

import subprocess
import sysconfig
from pathlib import Path

import corpus
import pytest
from hostile_folder import INSTRUCTION, SECRET, Home
from local_server import server_folder

from mcp_agentbus.config import folder_file, identity
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.errors import BadSetup

TABLES = corpus.read("tables")
AGENTBUS = str(Path(sysconfig.get_path("scripts")) / "agentbus")


@pytest.mark.started
def test_commands_in_a_hostile_folder_run_nothing_of_it_and_show_nothing_of_it(tmp_path):
    home = Home(tmp_path / "home")
    before = home.files()
    with server_folder(tmp_path / "bus", HOME=str(home.root), PATH="/usr/bin:/bin") as settings:
        environ = {**settings.environ, "AGENTBUS_HOME": str(settings.data_dir.parent)}
        shown = ""
        for typed in ("inbox", "status", "agents", "doctor"):
            ran = subprocess.run(
                [AGENTBUS, typed], env=environ, cwd=home.folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            assert "Traceback" not in ran.stdout
            shown += ran.stdout

    assert "server runs" in shown
    assert list(home.ran.iterdir()) == []
    assert home.files() == before
    assert SECRET not in shown
    assert INSTRUCTION not in shown


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_whatever_a_folder_says_of_its_agents_is_read_or_refused_by_its_name(tmp_path, table):
    file = tmp_path / folder_file.FOLDER_FILE
    file.write_bytes(table)

    with pytest.raises(BadSetup, match=str(file)):
        identity.who(load_settings({"AGENTBUS_HOME": str(tmp_path)}), None, tmp_path)


def test_each_finding_says_what_it_did():
    assert all(each["did"].endswith(".") for each in corpus.repositories().values())
