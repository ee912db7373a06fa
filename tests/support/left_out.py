# SPDX-License-Identifier: Apache-2.0
"""Who may leave a test out: a person whose machine lacks something, and CI never.

A plugin. What CI has not looked at, it must not call green.
"""

import os
import sys

import pytest

# Elsewhere there are tests of what only Linux has.
_ALL_RUN = bool(os.environ.get("CI")) and sys.platform == "linux"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport():
    return _counted((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report():
    return _counted((yield))


def _counted(report):
    """Return a report, as a failure where nothing may be left out."""
    if _ALL_RUN and report.skipped and not hasattr(report, "wasxfail"):
        *_, why = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{why}\nCI leaves no test out: let .ci/run install what is missing."
    return report
