# SPDX-License-Identifier: Apache-2.0
"""The chaos run, 25 seconds of faults, with others each time; it says by which seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SOAK = Path(__file__).with_name("soak.py")
_FAULTS_MINUTES = 0.42
# It mostly takes a minute; it gives up by itself before, even when everything hangs.
_WITHIN_S = 330


@pytest.mark.timeout(_WITHIN_S + 20)
def test_whatever_is_done_to_the_machine_what_was_acknowledged_comes_true():
    if sys.platform != "linux":
        pytest.skip("it looks at processes by /proc")
    argv = [sys.executable, str(_SOAK), "--minutes", str(_FAULTS_MINUTES)]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    ) as run:
        try:
            told, _ = run.communicate(timeout=_WITHIN_S)
        except subprocess.TimeoutExpired:
            run.kill()  # its guard ends what it has started
            told, _ = run.communicate()
            pytest.fail(f"it did not end: {told}")
    print(told)

    assert run.returncode == 0, told
