# SPDX-License-Identifier: Apache-2.0
"""Where a test hangs: pytest-timeout shows the threads, and this what each coroutine waits for.

A plugin. Without it, all that can be seen of a coroutine that waits is the loop that runs it.
"""

import asyncio
import gc
import io

import pytest

_LIMIT = "Timeout (>"  # how pytest-timeout's message begins


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.excinfo and str(call.excinfo.value).startswith(_LIMIT):
        tasks = [one for one in gc.get_objects() if isinstance(one, asyncio.Task)]
        report.sections += [("What waits", _stack(task)) for task in tasks if not task.done()]
    return report


def _stack(task):
    text = io.StringIO()
    task.print_stack(file=text)
    return text.getvalue()
