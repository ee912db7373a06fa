# SPDX-License-Identifier: Apache-2.0
"""Somebody else's file that cannot be edited: it is left as it is, and what to do is told."""

from __future__ import annotations

import codecs
import os

import pytest
from mcp_agentbus.installers._parts import edit
from mcp_agentbus.installers._parts.edit import merge, remove
from pieces import HOOK, SERVER, left

from mcp_agentbus.errors import BadSetup


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mcp.json"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": 1}\n# end', "not JSON: .* in line 2"),
        (b'{"a": 1, // one,\n,}', "not JSON: .* in line 2"),
        (b'{"a": "// no end', "not JSON: .* in line 1"),
        (b'{"a": 1 /* no end }', "not JSON: .* in line 1"),
        (b'{"a": 1', "not JSON: .* in line 1"),
        (b'{\n"a" 1}', "not JSON: .* in line 2"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[]", "must be one object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (codecs.BOM_UTF16_LE + b"{", "not UTF-8"),
        (b'{"mcpServers": []}', "has a list as mcpServers, where an object must be"),
        (b'{"hooks": {"stop": {}}}', "has an object as hooks.stop, where a list must be"),
        (b'{"mcpServers": {}, "mcpServers": {}}', 'the key "mcpServers" twice'),
        (b'{"mcpServers": {}, "mcp\\u0053ervers": {}}', 'the key "mcpServers" twice'),
        (b'{"mcpServers": {"agentbus": 1, "agentbus": 2}}', 'the key "agentbus" twice'),
        (b'{"a": "' + b"x" * edit.MAX_BYTES + b'"}', "larger than 5 MB"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_is_refused_and_left_as_it_is(file, content, why):
    file.write_bytes(content)

    for act in (merge, remove):
        with pytest.raises(BadSetup, match=why) as refused:
            act(file, SERVER, HOOK)
        assert str(file) in refused.value.message
        assert "by hand" in refused.value.hint

    assert file.read_bytes() == content
    assert left(file.parent) == ["mcp.json"]


def test_a_key_that_stands_twice_off_our_way_is_none_of_our_business(file):
    theirs = '{"x": {"a": 1, "a": 2}, "mcpServers": {}}'
    file.write_text(theirs)

    merge(file, SERVER)
    remove(file, SERVER)

    assert file.read_text() == theirs


def test_a_number_of_any_length_is_left_as_it_is(file):
    theirs = '{"a": ' + "9" * 10_000 + ', "b": 1e999, "c": -0.10}'
    file.write_text(theirs)

    merge(file, SERVER)

    assert file.read_text().startswith(theirs[:-1])


def test_a_link_to_nothing_or_to_another_users_file_is_refused_with_where_it_points(
    file, monkeypatch
):
    target = file.with_name("dotfiles.json")
    file.symlink_to(target)
    with pytest.raises(BadSetup, match=f"symlink to nothing: {target}"):
        merge(file, SERVER)

    target.write_text("{}")
    monkeypatch.setattr(edit.os, "getuid", lambda: target.stat().st_uid + 1)
    with pytest.raises(BadSetup, match=f"symlink to another user's file: {target}"):
        merge(file, SERVER)

    assert target.read_text() == "{}"
    assert left(file.parent) == ["dotfiles.json", "mcp.json"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_blocks_nobody(file, make):
    make(file)

    with pytest.raises(BadSetup, match="is not a file"):
        merge(file, SERVER)


def test_a_read_only_file_is_refused(file):
    file.write_text("{}")
    file.chmod(0o444)

    with pytest.raises(BadSetup, match=f"{file} is read-only"):
        merge(file, SERVER)

    assert (file.read_text(), left(file.parent)) == ("{}", ["mcp.json"])


def test_a_read_only_folder_is_refused(tmp_path):
    file = tmp_path / "a" / "mcp.json"
    file.parent.mkdir()
    file.write_text("{}")
    file.parent.chmod(0o555)

    with pytest.raises(BadSetup, match=f"{file.parent} is read-only"):
        merge(file, SERVER)

    assert left(file.parent) == ["mcp.json"]
    file.parent.chmod(0o755)


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "a").touch()

    with pytest.raises(BadSetup, match="cannot be edited: Not a directory"):
        merge(tmp_path / "a" / "mcp.json", SERVER)
