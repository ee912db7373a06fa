# SPDX-License-Identifier: Apache-2.0
"""What a repository puts into its folder runs in none of our programs, and none of them changes it."""

import subprocess
import sysconfig
from pathlib import Path

import corpus
import pytest
from hostile_folder import INSTRUCTION, SECRET, Home
from local_server import server_folder

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


def test_each_finding_says_what_it_did():
    assert all(each["did"].endswith(".") for each in corpus.repositories().values())
