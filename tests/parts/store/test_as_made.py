# SPDX-License-Identifier: Apache-2.0
"""Which settings of a stream or a consumer are not as it is made, and which stay when it is again."""

import pytest

from mcp_agentbus.store.upkeep import as_made

MADE = {"subjects": ["a", "b"], "retention": "limits", "max_bytes": 4096, "storage": "file"}


@pytest.mark.parametrize(
    ("has", "differs"),
    [
        ({}, []),
        ({"subjects": ["b", "c", "a"]}, []),
        ({"subjects": ["b", "a"]}, []),
        ({"subjects": ["a"]}, ["subjects"]),
        ({"subjects": ["a"], "retention": "interest"}, ["retention", "subjects"]),
        ({"max_bytes": 5}, []),
        ({"max_bytes": 4}, []),
        ({"max_bytes": 3}, ["max_bytes"]),
        ({"max_bytes": 1}, ["max_bytes"]),
        ({"max_bytes": 0}, []),
        ({"max_bytes": -1}, []),
        ({"num_replicas": 3, "allow_msg_ttl": True, "metadata": {"a": "b"}}, []),
        ({"sealed": True, "no_ack": True}, ["no_ack", "sealed"]),
        (dict(zip("uvwxyz", (None, False, 0, -1, "", {}), strict=True)), []),
    ],
)  # fmt: skip
def test_what_of_a_stream_is_not_as_it_is_made_is_named(has, differs):
    assert as_made.stream_differs(MADE, {**MADE, **has}) == differs


def test_a_setting_that_a_stream_lacks_is_named():
    without = {name: MADE[name] for name in MADE if name != "max_bytes"}

    assert as_made.stream_differs(without, MADE) == []
    assert as_made.stream_differs({**MADE, "discard": "new"}, MADE) == ["discard"]
    assert as_made.stream_differs({"retention": "limits"}, {"subjects": [], **MADE}) == [
        "storage", "subjects",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("retention", "max_bytes", "kept"),
    [
        (("limits", "interest"), 5, {"storage", "max_bytes"}),
        (("limits", "interest"), 3, {"storage"}),
        (("workqueue", "interest"), 5, {"storage", "max_bytes", "retention"}),
        (("limits", "workqueue"), 3, {"storage", "retention"}),
    ],
)
def test_what_a_server_does_not_change_stays_as_it_is(retention, max_bytes, kept):
    made, of = retention
    has = {**MADE, "retention": of, "max_bytes": max_bytes, "storage": "memory"}

    found = as_made.kept_settings({**MADE, "retention": made}, has)

    assert found == {name: has[name] for name in kept}


@pytest.mark.parametrize(
    ("has", "same"),
    [
        ({}, True),
        ({"ack_wait": 9, "num_replicas": 3, "description": "x", "metadata": {"a": "b"}}, True),
        ({"filter_subject": "b"}, False),
        ({"headers_only": True}, False),
        ({"headers_only": False}, True),
    ],
)
def test_a_consumer_is_as_made_if_it_hands_out_the_same_to_whoever_asks(has, same):
    made = {"filter_subject": "a", "ack_policy": "explicit", "ack_wait": 30}

    assert as_made.consumer_is_as_made(made, {**made, **has}) is same
