# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest that notes which test runs which lines.

    $ COVERING=/tmp/lines PYTHONPATH=tests/support python -m pytest -p covering tests/parts

Each process of the run writes one of coverage's files beside that path; a test's own processes are
not looked into. Beside them, in `failed`, stands what failed. It needs `coverage`, which only `mutants.py` installs.
"""

import os
from pathlib import Path

import coverage
import pytest

_ROOT = Path(__file__).resolve().parents[2]

_lines = coverage.Coverage(
    data_file=os.environ["COVERING"],
    data_suffix=True,
    config_file=False,
    include=[f"{_ROOT}/mcp_agentbus/*", f"{_ROOT}/installers/*"],
)
_lines.set_option("run:relative_files", True)  # as coverage takes it
_lines.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Whatever runs from a test's first fixture to its last is that test's."""
    _lines.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        _lines.switch_context("")


def pytest_runtest_logreport(report):
    """Note what fails as it is."""
    if report.failed:
        with Path(os.environ["COVERING"]).with_name("failed").open("a") as file:
            file.write(f"{report.nodeid}\n")


def pytest_unconfigure():
    """Write what this process has noted."""
    _lines.stop()
    _lines.save()
