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
import pytest

# How a person has set uv and the network up.
_SETTINGS = ("UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def installed(*requirements: str) -> Path:
    """Return the Python of an environment with these packages, made at the first use."""
    program, environ = uv(), {**os.environ, **settings()}

    def install(folder: Path) -> None:
        made = [program, "venv", "--quiet", "--allow-existing", "."]
        installs.run(made, folder, environ)
        added = [program, "pip", "install", "--quiet", "--python", "bin/python", *requirements]
        installs.run(added, folder, environ)

    wanted = "\n".join([*requirements, sys.base_prefix, sys.version])
    return installs.kept("python", wanted, install) / "bin" / "python"


def uv() -> str:
    """Return the program uv, which comes with what this project is developed with."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return shutil.which("uv", path=path) or pytest.skip("uv is not installed")


def settings() -> dict[str, str]:
    """Return the variables with which uv takes the Python of the tests, and fetches once."""
    given = {key: value for key, value in os.environ.items() if key.upper().startswith(_SETTINGS)}
    # The cache is beside the environments, which then link what it keeps; of another Python it is
    # another one. Certificates are the machine's, as pip takes them.
    uvs = {"UV_CACHE_DIR": str(installs.cache() / "uv"), "UV_PYTHON": sys.executable}
    return {"UV_SYSTEM_CERTS": "1", **given, **uvs}
