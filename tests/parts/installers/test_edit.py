# SPDX-License-Identifier: Apache-2.0
"""Somebody else's file on the disk: what is written, kept, given back and refused."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys

import pytest
from mcp_agentbus.installers._parts import edit
from mcp_agentbus.installers._parts.edit import Piece, has_any, holds, merge, record_of, remove
from pieces import ALL, HOOK, SERVER, VERSION, is_ours, left

from mcp_agentbus.core import files
from mcp_agentbus.errors import BadSetup


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mcp.json"


def test_an_element_of_ours_that_has_changed_is_replaced_and_not_doubled(file):
    file.write_text('{"hooks": {"stop": [{"command": "x"}]}}')
    merge(file, HOOK)
    newer = Piece(HOOK.keys, {"command": "/new/agentbus hook stop"}, ours=is_ours)

    assert merge(file, newer)

    found = json.loads(file.read_text())["hooks"]["stop"]
    assert found == [{"command": "x"}, newer.value]
    remove(file, newer)
    assert file.read_text() == '{"hooks": {"stop": [{"command": "x"}]}}'


def test_an_entry_of_that_name_that_was_there_before_comes_back(file):
    theirs = '{"mcpServers": {"agentbus" : { "command":"old"}, "b": 1}, "version": 7}'
    file.write_text(theirs)

    merge(file, VERSION, SERVER)
    assert json.loads(file.read_text())["mcpServers"]["agentbus"] == SERVER.value
    assert json.loads(file.read_text())["version"] == 7
    remove(file, VERSION, SERVER)

    assert file.read_text() == theirs


def test_a_file_that_was_not_there_goes_again_with_its_folders(tmp_path):
    file = tmp_path / "a" / "b" / "mcp.json"

    merge(file, *ALL)
    assert json.loads(file.read_text()) == {
        "version": 1,
        "hooks": {"stop": [HOOK.value]},
        "mcpServers": {"agentbus": SERVER.value},
    }
    assert file.read_text().endswith("}\n")
    assert file.stat().st_mode & 0o777 == 0o600
    remove(file, *ALL)

    assert left(tmp_path) == []


def test_a_folder_that_was_there_or_has_something_else_in_it_stays(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "b" / "mcp.json"

    merge(file, SERVER)
    (file.parent / "theirs").touch()
    remove(file, SERVER)
    assert left(tmp_path) == ["a", "a/b", "a/b/theirs"]
    (file.parent / "theirs").unlink()
    file.parent.rmdir()
    merge(file, SERVER)
    remove(file, SERVER)
    assert left(tmp_path) == ["a"]


def test_a_file_of_ours_to_which_others_have_added_stays_with_what_they_need(file):
    merge(file, *ALL)
    found = json.loads(file.read_text())
    found["hooks"]["stop"].insert(0, {"command": "theirs"})
    file.write_text(json.dumps(found))

    remove(file, *ALL)

    assert json.loads(file.read_text()) == {"version": 1, "hooks": {"stop": [{"command": "theirs"}]}}  # fmt: skip
    assert left(file.parent) == ["mcp.json"]


def test_mode_and_owner_stay_and_the_copy_has_them_too(file):
    file.write_text("{}")
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 1234, 2345)
    owner = (file.stat().st_uid, file.stat().st_gid)

    merge(file, SERVER)

    for path in (file, record_of(file)):
        about = path.stat()
        assert about.st_mode & 0o777 == 0o640
        assert (about.st_uid, about.st_gid) == owner


def test_the_copy_is_of_the_time_before_our_first_entry(file):
    file.write_text('{"a": 1}')
    merge(file, SERVER)
    file.write_text(file.read_text().replace("1", "2", 1))

    merge(file, Piece(SERVER.keys, {"command": "newer"}))
    assert record_of(file).read_text() == '{"a": 1}'
    file.write_text('{"a": 3}')
    merge(file, SERVER)

    assert record_of(file).read_text() == '{"a": 3}'


def test_without_the_record_our_entry_goes_all_the_same(file):
    file.write_text('{"mcpServers": {"a": 1}}')
    merge(file, SERVER)
    record_of(file).unlink()

    assert remove(file, SERVER)

    assert file.read_text() == '{"mcpServers": {"a": 1}}'


def test_without_the_record_nobody_knows_whose_an_empty_parent_is(file):
    merge(file, SERVER)
    record_of(file).unlink()

    assert remove(file, SERVER)

    assert json.loads(file.read_text()) == {"mcpServers": {}}


def test_what_is_there_already_needs_no_right_to_write(tmp_path):
    file = tmp_path / "a" / "mcp.json"
    merge(file, SERVER)
    file.parent.chmod(0o555)

    assert not merge(file, SERVER)

    file.parent.chmod(0o755)


def test_a_default_that_somebody_has_changed_since_stays(file):
    file.write_text('{"version": 1, "a": 0}')
    merge(file, *ALL)
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))

    remove(file, *ALL)

    assert file.read_text() == '{"version": 2, "a": 0}'


def test_an_entry_that_was_there_before_keeps_the_layout_that_it_was_given_since(file):
    file.write_text(json.dumps({"mcpServers": {"agentbus": SERVER.value}, "hooks": {"stop": []}}))
    merge(file, HOOK, SERVER)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=8))

    remove(file, HOOK, SERVER)

    assert '\n                        "type": "stdio"' in file.read_text()


def test_where_nothing_of_ours_is_nothing_is_written(file):
    assert not remove(file, SERVER)
    assert not remove(file.parent / "no" / "folder" / "mcp.json", SERVER)
    file.write_text("{ }")
    inode = file.stat().st_ino
    assert not remove(file, *ALL)
    assert (file.stat().st_ino, left(file.parent)) == (inode, ["mcp.json"])


def test_what_somebody_has_deleted_since_is_not_made_again(tmp_path):
    file = tmp_path / "a" / "mcp.json"
    merge(file, SERVER)
    file.unlink()

    assert remove(file, SERVER)

    assert left(tmp_path) == []


def test_the_folders_of_a_file_that_was_deleted_and_made_again_go_too(tmp_path):
    file = tmp_path / "a" / "mcp.json"
    merge(file, SERVER)
    file.unlink()
    merge(file, SERVER)

    remove(file, SERVER)

    assert left(tmp_path) == []


def test_folders_of_which_one_cannot_be_made_are_not_left(tmp_path, monkeypatch):
    mkdir = os.mkdir

    def full(path, *rest):
        if str(path).endswith("b"):
            raise OSError(28, "No space left on device", str(path))
        mkdir(path, *rest)

    monkeypatch.setattr(os, "mkdir", full)

    with pytest.raises(BadSetup, match="a/b cannot be edited: No space left"):
        merge(tmp_path / "a" / "b" / "mcp.json", SERVER)

    assert left(tmp_path) == []


def test_where_the_file_was_deleted_since_nothing_is_ours_and_its_record_goes(file):
    file.write_text('{"theirs": 1}')
    merge(file, SERVER)
    file.unlink()

    assert not has_any(file, SERVER)
    assert remove(file, SERVER)
    assert left(file.parent) == []
    assert not remove(file, SERVER)


def test_holding_means_holding_just_that(file):
    assert not holds(file, SERVER)
    merge(file, SERVER)
    assert holds(file, SERVER)
    assert not holds(file, SERVER, HOOK)
    assert not holds(file, Piece(SERVER.keys, {**SERVER.value, "args": []}))


@pytest.mark.parametrize(("act", "theirs"), [("merge", "{}"), ("remove", "{}"), ("remove", None)])
def test_what_somebody_writes_at_the_last_moment_is_not_lost(file, monkeypatch, act, theirs):
    if theirs:
        file.write_text(theirs)
    if act == "remove":
        merge(file, SERVER)
    there = left(file.parent)
    check = edit._check_same

    def late(path, before):
        if path == file:
            file.write_text('{"theirs": 1}')
        check(path, before)

    monkeypatch.setattr(edit, "_check_same", late)

    with pytest.raises(BadSetup, match=r"changed while it was edited.*Run the command again"):
        getattr(edit, act)(file, SERVER)

    assert file.read_text() == '{"theirs": 1}'
    assert left(file.parent) == there


def test_a_file_that_appears_at_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    file = tmp_path / "a" / "mcp.json"
    write = edit._write

    def late(path, *rest):
        if path == file:
            file.write_text("{}")
        write(path, *rest)

    monkeypatch.setattr(edit, "_write", late)

    with pytest.raises(BadSetup, match="changed while"):
        merge(file, SERVER)

    assert left(tmp_path) == ["a", "a/mcp.json"]
    assert file.read_text() == "{}"


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_what_was_there(tmp_path, monkeypatch, at):
    file = tmp_path / "a" / "mcp.json"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, at, full)

    with pytest.raises(BadSetup, match="No space left on device"):
        merge(file, SERVER)

    assert left(tmp_path) == []


EDITOR = """
import sys
from pathlib import Path
from mcp_agentbus.installers._parts.edit import Piece, merge, remove
file, piece = Path(sys.argv[1]), Piece(("mcpServers", "agentbus"), {"command": "x"})
sys.stdin.read()
for _ in range(10):
    merge(file, piece)
    remove(file, piece)
"""


def test_processes_that_edit_at_once_end_with_what_was_there(file):
    theirs = '{\n  "mcpServers": { }, "a": 1\n}\n'
    file.write_text(theirs)
    ours, gate = os.pipe()
    crowd = [subprocess.Popen([sys.executable, "-c", EDITOR, file], stdin=ours) for _ in range(6)]
    os.close(ours)
    os.close(gate)  # all of them see the end of their input at once

    assert [process.wait(60) for process in crowd] == [0] * len(crowd)

    assert file.read_text() == theirs
    assert left(file.parent) == ["mcp.json"]


@pytest.mark.parametrize(
    "theirs",
    [
        '{\n  // mine\n  "a": 1, /* one, */ "b": [1, 2,], // "two"\n}\n',
        "{\n  // nothing yet\n}\n",
        '{\r\n\t"mcpServers": {\r\n\t\t"b": {"url": "https://x"}, // theirs\r\n\t},\r\n}\r\n',
        '{"mcpServers": {/* none */}}',
        '{"mcpServers": null, "hooks": {"stop": null}}',
        '{"a": "// no comment, /* nor */ this,}"}',
        "",
        " \n",
        "null",
    ],
)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_what_people_and_their_editors_write_stays_as_it_is(file, theirs, mark):
    before = files.encoded(theirs, mark, file)
    file.write_bytes(before)
    file.chmod(0o644)

    assert merge(file, *ALL)
    assert holds(file, *ALL)
    assert not merge(file, *ALL)
    merged, kept = files.decoded(file.read_bytes())
    for comment in (
        "// mine",
        "/* one, */",
        '// "two"',
        "// nothing yet",
        "// theirs",
        "/* none */",
    ):
        assert (comment in merged) is (comment in theirs)
    assert kept == mark
    assert remove(file, *ALL)

    assert file.read_bytes() == before
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_link_stays_a_link_and_the_file_behind_it_is_edited(file, tmp_path):
    dotfile = tmp_path / "dotfiles" / "mcp.json"
    dotfile.parent.mkdir()
    dotfile.write_text("{}")
    file.symlink_to(dotfile)

    merge(file, SERVER)
    there = json.loads(dotfile.read_text())["mcpServers"]["agentbus"]
    beside = left(dotfile.parent)
    remove(file, SERVER)

    assert there == SERVER.value
    assert (dotfile.read_text(), file.is_symlink(), beside) == ("{}", True, ["mcp.json"])


def test_a_comment_that_was_written_beside_ours_stays(file):
    file.write_text('{"mcpServers": {\n  "b": 1\n}}')
    merge(file, SERVER)
    ours = file.read_text()
    file.write_text(ours.replace('"agentbus"', '// why\n  "agentbus"', 1))

    remove(file, SERVER)

    assert "// why" in file.read_text()
    assert '"agentbus"' not in file.read_text()
