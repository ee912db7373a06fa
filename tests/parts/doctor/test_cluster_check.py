# SPDX-License-Identifier: Apache-2.0
"""What doctor makes of what a cluster says of itself."""

import pytest

from mcp_agentbus.doctor.shared import cluster

_S = 1_000_000_000


def told(*replicas, leader="a", replicas_wanted=3, name="agentbus"):
    """What a stream of a cluster says of itself."""
    how = {"name": name, "leader": leader, "replicas": list(replicas)}
    config = {"name": "AGENTBUS_TASKS", "num_replicas": replicas_wanted}
    return {"AGENTBUS_TASKS": {"config": config, "cluster": how}, "AGENTBUS_DEAD": None}


def other(name, **more):
    return {"name": name, "current": True, "active": _S, **more}


@pytest.mark.parametrize(
    ("infos", "state", "said"),
    [
        (told(other("b"), other("c", lag=3)), "ok", "3 of 3 servers, led by a, nobody lags"),
        (
            told(other("b"), other("c", offline=True)),
            "warning",
            "2 of 3 servers, led by a; away: c",
        ),
        (
            told(other("b"), other("c", active=9 * _S)),
            "warning",
            "2 of 3 servers, led by a; away: c",
        ),
        (
            told(other("b", offline=True), other("c", active=9 * _S)),
            "wrong",
            "1 of 3 servers, led by a; away: b, c",
        ),
        (
            told(other("b", lag=12_000), other("c")),
            "warning",
            "3 of 3 servers, led by a; it lags in writes: b by 12,000",
        ),
        (
            told(replicas_wanted=1),
            "warning",
            "1 of 1 servers, led by a, and kept by one of them alone: AGENTBUS_TASKS",
        ),
    ],
)
def test_who_is_away_or_behind_is_named(infos, state, said):
    [check] = cluster.checks(infos)

    assert (check.state, check.said) == (state, said)
    assert bool(check.fix) is (state != "ok")


def test_of_a_server_that_is_alone_nothing_is_said():
    assert cluster.checks(told(name="")) == []
    assert cluster.checks({"AGENTBUS_TASKS": None}) == []
    assert cluster.checks({"AGENTBUS_TASKS": {"config": {}}}) == []
