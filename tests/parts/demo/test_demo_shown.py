# SPDX-License-Identifier: Apache-2.0
"""What the demo shows at its end, and of a folder in which there is nothing."""

import os
from pathlib import Path

import pytest

from mcp_agentbus.demo import handoff
from mcp_agentbus.demo.survey import NAME_MAX, Survey, shown, survey
from mcp_agentbus.demo.wake import woken
from mcp_agentbus.errors import BadInput

RESULT = "Result of task 9d0c: completed \u00b7 by coder, 2026-11-21 12:00:00Z \u00b7 for you"


def test_its_end_is_as_wide_as_the_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    subject = "agentbus.planner.results.coder.6d82ae0"
    stored = [{"at": "2026-11-21T12:00:00Z", "bytes": 1234, "subject": subject}]
    handoff._show(RESULT, stored)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[4:6] == ["    12:00:00Z \u00b7 for you", ""]
    assert lines[-2:] == ["  2026-11-21T12:00:00Z   1,234 bytes", f"    {subject}"]


def test_of_an_empty_folder_no_heading_stands_alone(tmp_path):
    report = Survey(tmp_path).report

    assert report.splitlines() == [f"Survey of {tmp_path}", "", "0 files, 0 lines; 0 TODO notes"]


def test_a_name_in_another_encoding_is_counted_and_shown_as_text(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.py")).touch()

    report = survey(tmp_path).report

    assert report.encode().endswith("  0 bytes  caf\ufffd.py".encode())


def test_what_may_not_be_looked_at_is_counted_and_does_not_end_it(tmp_path, monkeypatch):
    (tmp_path / "closed.py").touch()
    (tmp_path / "link.py").symlink_to("closed.py")
    (tmp_path / "open.py").write_text("pass\n")
    look = Path.stat

    def stat(path, **how):
        if path.name == "closed.py":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **how)

    monkeypatch.setattr(Path, "stat", stat)

    counts = survey(tmp_path)

    assert (counts.files, counts.lines, counts.left_out) == (1, 1, 1)


@pytest.mark.parametrize("name", ["n" * 230, "a\nb", os.fsdecode(b"caf\xe9")])
def test_any_name_of_a_folder_fits_a_subject(name):
    subject = f"Survey {shown(name, NAME_MAX)}"

    assert subject.encode().isascii() or "\ufffd" in subject
    assert (len(subject) <= 200, subject.isprintable()) == (True, True)


@pytest.mark.parametrize("name", ["a\nb", "a\x7f", os.fsdecode(b"caf\xe9")])
async def test_a_folder_that_no_agent_can_have_is_refused_before_anything_is_started(name):
    with pytest.raises(BadInput, match="cannot be the folder of an agent"):
        await woken(Path("/", name), lambda *_: None)
