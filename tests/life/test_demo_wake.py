# SPDX-License-Identifier: Apache-2.0
"""The demo of a wake does what it shows."""

import json
import subprocess

import served


def test_the_demo_wakes_a_coder_that_has_no_session(tmp_path):
    (tmp_path / "a.py").write_text("# TODO\n")
    ran = subprocess.run(
        [*served.AGENTBUS, "demo", "--wake", "--json", tmp_path],
        env=served.environ(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    shown = json.loads(ran.stdout)
    assert "1 file, 1 line; mostly Python (1 file); 1 TODO note" in shown["life"]
    assert {"started", "ended"} <= {one["what"].split()[0] for one in shown["timeline"]}
    states = [line.split()[2] for line in shown["life"].splitlines() if line.startswith("    20")]
    assert states[:3] == ["stored", "waking", "claimed"]
    assert "completed" in states
