# SPDX-License-Identifier: Apache-2.0
"""Subjects are counted page by page, while others are stored before them."""

from mcp_agentbus.store.queries.counted import counted


def test_subjects_are_counted_to_the_last_though_one_is_stored_before_them_meanwhile():
    names, page, counts = [f"b{number}" for number in range(4)], 2, {}
    offset, offsets = 0, []
    while offset is not None:
        offsets.append(offset)
        told = dict.fromkeys(names[offset:][:page], 1)
        info = {"state": {"subjects": told}, "total": len(names)}
        offset = counted(info, counts, offset)
        names = [f"a{len(offsets)}", *names] if len(offsets) < 3 else names

    assert set(counts) >= {"b0", "b1", "b2", "b3"}
    assert offsets == [0, 2, 4]


def test_of_a_stream_without_such_subjects_nothing_is_counted():
    counts = {}

    assert counted({"state": {"subjects": None}, "total": 5}, counts, 0) is None
    assert counts == {}
