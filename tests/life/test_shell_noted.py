# SPDX-License-Identifier: Apache-2.0
"""From which shell a task was claimed is noted, whether or not a listener does the command."""

import os
import sys
from pathlib import Path

import pytest
from test_shell import Shell

from mcp_agentbus.core import processes
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.shells import session_id


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not known")
def test_it_is_noted_of_a_claim_and_of_other_commands_nothing(home, tmp_path, way):
    shell, folder = Shell(home.data_dir.parent, tmp_path), home.state_dir
    session = session_id(shell.name("coder"), folder)
    shell("inbox", agent="coder")
    before = shells._noted(folder, session)
    shell("send", shell.name("coder"), "Do it", "please", agent="planner")
    shell("inbox", agent="coder")

    [(above, claimed)] = shells._noted(folder, session)
    assert (before, len(claimed)) == ([], 1)
    assert processes.known(os.getpid()).mark in {each.mark for each in above}
    assert shells.gone_since(folder, session) is None
    assert not list(Path(folder).glob(f"{session_id(shell.name('planner'), folder)}*"))
