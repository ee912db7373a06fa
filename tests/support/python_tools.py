# SPDX-License-Identifier: Apache-2.0
"""Packages from PyPI that tests run in environments of their own: what agents have beside them.

    >>> python = python_tools.installed("mcp==1.30.0")
    >>> subprocess.run([python, "-c", "import mcp"])

By uv, which needs half a second of a processor for each, where venv and pip need ten.
"""

import os
import shutil
import sys
from pathlib import Path

import installs


def installed(*requirements: str) -> Path:
    """Return the Python of an environment with these packages, made at the first use."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        installs.missing("uv is not installed")
    # Beside the environments, which then link what it keeps; of another Python it is another one.
    environ = {**os.environ, "UV_CACHE_DIR": str(installs.cache() / "uv")}

    def install(folder: Path) -> None:
        made = [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, "."]
        installs.run(made, folder, environ)
        python = ["--python", "bin/python"]
        installs.run([uv, "pip", "install", "--quiet", *python, *requirements], folder, environ)

    wanted = "\n".join([*requirements, sys.base_prefix, sys.version])
    return installs.kept("python", wanted, install) / "bin" / "python"
