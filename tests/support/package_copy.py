# SPDX-License-Identifier: Apache-2.0
"""A copy of the package in a folder of its own, laid out as in a wheel, to be changed or run alone.

>>> package = copy(tmp_path)
>>> run(package, "-S", "-c", "import mcp_agentbus")
''
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_WITHIN_S = 60  # only a hang takes as long


def copy(folder):
    """Copy package, installers and hooks below a folder; return the package's own folder."""
    package = folder / "mcp_agentbus"
    left_out = shutil.ignore_patterns("__pycache__")
    for source, target in (
        ("mcp_agentbus", package),
        ("installers", package / "installers"),
        ("hooks", package / "plugin" / "hooks"),
    ):
        shutil.copytree(ROOT / source, target, ignore=left_out, dirs_exist_ok=True)
    return package


def environ(package, **more):
    """Return an environment in which Python takes the copy for the package."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent), **more}


def run(package, *words, **more):
    """Run a Python that has the copy; return what it printed, after seeing that it ended well."""
    done = subprocess.run(
        [sys.executable, "-P", *words],
        env=environ(package, **more), capture_output=True, text=True, check=False,
        timeout=_WITHIN_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
