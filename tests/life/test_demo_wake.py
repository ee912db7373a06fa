# SPDX-License-Identifier: Apache-2.0
"""The demo of a wake does what it shows."""

import json

import forking
import served

OF_ANOTHER_BUS = {"AGENTBUS_URL": "nats://127.0.0.1:1", "AGENTBUS_TOKEN_FILE": "/nowhere"}

# What joins letters, hides or turns them stands in the names of many languages.
ODD = '\u0645\u06cc\u200c \U0001f469\u200d\U0001f4bb \u00ad\u200f"\\'


def test_the_demo_wakes_a_coder_that_has_no_session(tmp_path):
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / "a.py").write_text("# TODO\n")
    ran = forking.ran(
        [*served.AGENTBUS, "demo", "--wake", "--json", folder],
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
