# SPDX-License-Identifier: Apache-2.0
"""The protocol's own conformance tests, for both eras, against the same server object by HTTP.

Most of their scenarios call fixture tools that only an SDK's test server has. Those are listed,
each with its reason, in conformance/*.yml; whatever else fails, and a listed one that passes, fails
here. `RUNS` names the scenarios that say something about this server.
"""

import re
import subprocess
import sys
from pathlib import Path

import node_tools
import pytest
import served

pytestmark = pytest.mark.node

HERE = Path(__file__).parent

EVERY_ERA = {
    "completion-complete", "dns-rebinding-protection", "prompts-list", "resources-list",
    "tools-list",
}  # fmt: skip
HANDSHAKE = {"server-initialize", "ping"}
# The run: its program, what it is asked for, and the scenarios of it that count.
RUNS = {
    "2025-11-25-stable": (
        "conformance-stable",
        ["--suite", "active"],
        EVERY_ERA | HANDSHAKE,
    ),
    "2025-11-25": (
        "conformance-alpha",
        ["--requirements", "2025-11-25"],
        EVERY_ERA | HANDSHAKE | {"server-session-lifecycle"},
    ),
    "2026-07-28": (
        "conformance-alpha",
        ["--requirements", "2026-07-28"],
        EVERY_ERA
        | {"caching", "http-header-validation", "sep-2164-resource-not-found", "server-stateless"},
    ),
}


@pytest.fixture(scope="session")
def conformance():
    return node_tools.installed(node_tools.CONFORMANCE)


@pytest.fixture(scope="session")
def url(home):
    """The address of a server whose agent is known to the bus."""
    argv = [sys.executable, HERE / "serve_http.py", "conformance"]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it warns of every Host header that it rightly refuses
        env=served.environ(home.data_dir.parent),
        text=True,
    ) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
            process.stdin.close()
            assert process.wait(served.ANSWER_WITHIN_S) == 0
        finally:
            process.kill()


def run(conformance, url, program, *args):
    return conformance.run(f"{program}/dist/index.js", "server", "--url", url, *args)


@pytest.mark.parametrize("name", RUNS)
def test_the_server_keeps_to_the_protocol(conformance, url, name):
    program, asked, counts = RUNS[name]
    excused = HERE / "conformance" / f"{name}.yml"
    done = run(conformance, url, program, *asked, "--expected-failures", str(excused))
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    # A scenario that was not run, or that checked nothing, proves nothing.
    said = re.findall(r"^. ([\w-]+): (\d+) passed, (\d+) failed", done.stdout, re.MULTILINE)
    checks = {scenario: (int(passed), int(failed)) for scenario, passed, failed in said}
    for scenario in counts:
        passed, failed = checks[scenario]
        assert passed > 0
        assert failed == excused.read_text().count(f"  - {scenario}:"), scenario


def test_a_scenario_that_passes_may_not_stay_excused(conformance, url, tmp_path):
    stale = tmp_path / "stale.yml"
    stale.write_text("server:\n  - tools-list\n")
    program, _, _ = RUNS["2026-07-28"]
    done = run(
        conformance, url, program, "--scenario", "tools-list", "--expected-failures", str(stale)
    )
    assert done.returncode != 0
    assert "stale" in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize("name", RUNS)
def test_whatever_is_excused_has_a_reason(name):
    lines = (HERE / "conformance" / f"{name}.yml").read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert entries.pop(0) == "server:"
    for line in entries:
        assert re.fullmatch(r"  - [\w-]+(:[\w-]+)?  # \w.{15,}", line), line
        assert line.split()[1] not in RUNS[name][2]
