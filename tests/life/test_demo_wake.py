# SPDX-License-Identifier: Apache-2.0
"""The demo of a wake does what it shows."""

import json

import forking
import served

OF_ANOTHER_BUS = {"AGENTBUS_URL": "nats://127.0.0.1:1", "AGENTBUS_TOKEN_FILE": "/nowhere"}


def test_the_demo_wakes_a_coder_that_has_no_session(tmp_path):
    (tmp_path / "a.py").write_text("# TODO\n")
    ran = forking.ran(
        [*served.AGENTBUS, "demo", "--wake", "--json", tmp_path],
        120,
        env={**served.environ(tmp_path / "home"), **OF_ANOTHER_BUS},
    )
    ran.check_returncode()

    shown = json.loads(ran.stdout)
    assert "1 file, 1 line; mostly Python (1 file); 1 TODO note" in shown["life"]
    assert {"started", "ended"} <= {one["what"].split()[0] for one in shown["timeline"]}
    states = [line.split()[2] for line in shown["life"].splitlines() if line.startswith("    20")]
    assert states[:3] == ["stored", "waking", "claimed"]
    assert "completed" in states
