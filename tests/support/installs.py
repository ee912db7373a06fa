# SPDX-License-Identifier: Apache-2.0
"""What tests install from registries: once, into folders of a cache outside the tree.

    >>> kept("npm", wanted_as_text, install)  # calls install(folder) at the first use only
    PosixPath('/home/me/.cache/agentbus-tests/npm-2495c94ca4372aa0')

The cache is the user's cache folder, or the folder that AGENTBUS_TEST_CACHE names. Which registry
is asked is npm's, pip's and uv's own setting.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import platformdirs
import pytest

_INSTALL_WITHIN_S = 240  # less than a test is given


def cache() -> Path:
    """Return the folder in which all that is installed is kept."""
    given = os.environ.get("AGENTBUS_TEST_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("agentbus-tests")


def kept(kind: str, wanted: str, install: Callable[[Path], None]) -> Path:
    """Return the folder that holds what is wanted, installed at the first use."""
    cache().mkdir(parents=True, exist_ok=True)
    folder = cache() / f"{kind}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / "complete").touch()
    return folder


def run(argv: Sequence[str], cwd: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Run a step of an installation; where it fails there is nothing to test with."""
    try:
        subprocess.run(
            argv,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_WITHIN_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{Path(argv[0]).name} {argv[1]} failed: {error.stderr[-500:]}")
    except subprocess.TimeoutExpired:
        pytest.skip(f"{Path(argv[0]).name} {argv[1]} did not end")
