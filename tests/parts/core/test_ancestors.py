# SPDX-License-Identifier: Apache-2.0
"""What an ancestor is called: by its program, and by the script that it runs."""

import os
import subprocess
import sys

import pytest

from mcp_agentbus.core.feather import ancestors
from mcp_agentbus.core.feather.ancestors import words

PYTHON = [sys.executable, "-I", "-S"]


@pytest.mark.parametrize("linux", [True, False], ids=["proc", "ps"])
@pytest.mark.parametrize(
    ("argv", "is_called"),
    [
        ([*PYTHON, "bin/gemini"], True),
        ([*PYTHON, "-B", "bin/gemini", "codex"], True),
        ([*PYTHON, "-X", "utf8", "-Wignore", "bin/gemini"], True),
        ([*PYTHON, "-W", "ignore", "bin/codex", "gemini"], False),
        ([*PYTHON, "-Bc", "input('\\n')", "gemini"], False),
        ([*PYTHON, "-c", "input('\\n')", "gemini"], False),
        (["/bin/sh", "-c", "echo; read line # gemini", "gemini"], False),
        (["/bin/sh", "bin/sh", "gemini"], False),
    ],
)
def test_a_process_is_called_as_the_script_behind_its_interpreters_options(
    argv, is_called, linux, tmp_path, monkeypatch
):
    if not linux and not os.path.exists("/bin/ps"):  # noqa: PTH110  # as it is called
        pytest.skip("there is no ps")
    (tmp_path / "bin").mkdir()
    for name in ("gemini", "codex"):
        (tmp_path / "bin" / name).write_text("input('\\n')")
    (tmp_path / "bin" / "sh").write_text("echo; read line")
    monkeypatch.setattr(ancestors, "_LINUX", linux and ancestors._LINUX)
    with subprocess.Popen(argv, cwd=tmp_path, stdin=-1, stdout=-1) as child:
        child.stdout.readline()  # while a program is loaded it is called as what has started it
        monkeypatch.setattr(os, "getppid", lambda: child.pid)
        called = next(ancestors.ancestors())
        child.communicate(b"\n")

    assert ("gemini" in called) == is_called


@pytest.mark.parametrize(
    ("line", "is_called"),
    [
        ("node --no-warnings=DEP0040 /usr/bin/gemini", True),
        ("node --require ./hook.js -C dev /usr/bin/gemini -p hello", True),
        ("node --max-old-space-size=8192 /lib/node_modules/@google/gemini-cli/x.js", True),
        ("node --import gemini", False),
        ("node -p gemini", False),
        ("SCREEN -S gemini", False),
        ("tmux -L gemini new", False),
        ("node node_modules/gemini-cli/x.js", True),
        ("node /home/me/.bun/node_modules/gemini/node_modules/yargs/x.js", False),
        ("/bin/bash /usr/bin/gemini", True),
        # What is a user's own, and only called so.
        ("node /home/me/gemini/x.js", False),
        ("python3 /home/me/gemini/nightly.py", False),
        ("bash /home/me/gemini/nightly.sh", False),
        ("sh gemini", False),
        ("make gemini", False),
        ("su gemini", False),
        ("vim src/gemini", False),
    ],
)
def test_a_script_is_told_by_its_own_name_and_its_packages_alone(line, is_called, monkeypatch):
    monkeypatch.setattr(ancestors, "words", lambda pid: line.split() if pid == 7 else words(pid))
    monkeypatch.setattr(os, "getppid", lambda: 7)
    monkeypatch.setattr(ancestors, "_LINUX", False)

    assert bool(next(ancestors.ancestors()) & {"gemini", "gemini-cli"}) == is_called


def test_cursors_own_node_is_told_by_the_folder_of_its_versions(monkeypatch):
    line = "/home/me/.local/share/cursor-agent/versions/2026.1/node --use-system-ca {}/index.js"
    argv = line.format("/home/me/.local/share/cursor-agent/versions/2026.1").split()
    monkeypatch.setattr(ancestors, "words", lambda pid: argv if pid == 7 else words(pid))
    monkeypatch.setattr(os, "getppid", lambda: 7)
    monkeypatch.setattr(ancestors, "_LINUX", False)

    assert "cursor-agent" in next(ancestors.ancestors())
