# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor` says of several servers that are one bus: who leads, is away, or lags.

>>> checks(infos)
[Check(name='cluster', state='ok', said='3 of 3 servers, led by a, nobody lags')]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mcp_agentbus.doctor.check import Check

# A server of a cluster tells each other every second that it is there.
_AWAY_NS: Final = 5_000_000_000
# So many writes behind the leader is more than what is under way.
_LAGS: Final = 1_000


def without_leader(url: str, servers: int, away: Sequence[str]) -> Check:
    """Say that the servers of a cluster have none who answers for them, and what that means.

    Args:
        url: of the one that answers.
        servers: how many the configuration names.
        away: why others of them cannot be used.
    """
    said = " ".join((f"the cluster of {url} has no leader just now.", *away))
    if 2 * len(away) < servers:
        fix = "They choose one by themselves: look again in ten seconds."
        return Check("cluster", "warning", said, fix)
    fix = "Start those that are away, or tell whoever runs them: until more than half of them run "
    return Check("cluster", "wrong", said, f"{fix}nothing is stored.")


def checks(infos: Mapping[str, Mapping[str, Any] | None]) -> list[Check]:
    """See how the servers of a cluster stand that keep the streams; none of one that is alone.

    Args:
        infos: as `STREAM.INFO` says them, by name.
    """
    kept = [(info["config"], info["cluster"]) for info in infos.values() if info and _is_of(info)]
    if not kept:
        return []
    others = [each for _, how in kept for each in how.get("replicas") or ()]
    leaders = dict.fromkeys(str(how["leader"]) for _, how in kept if how.get("leader"))
    away = {str(each["name"]) for each in others if _is_away(each)}
    names = {str(each["name"]) for each in others} | set(leaders)
    late = {str(each["name"]): each.get("lag", 0) for each in others if _lags(each)}
    led = f"led by {' and '.join(sorted(leaders))}"
    there = f"{len(names - away)} of {len(names)} servers, {led}"
    if 2 * len(away) >= len(names):
        fix = "Start them, or tell whoever runs them: nothing is stored until more than half run."
        return [Check("cluster", "wrong", f"{there}; away: {', '.join(sorted(away))}", fix)]
    if away:
        fix = "Start it, or tell whoever runs it: if one more goes, nothing can be stored."
        said = f"{there}; away: {', '.join(sorted(away))}"
        return [Check("cluster", "warning", said, fix)]
    if late:
        said = ", ".join(f"{name} by {lag:,}" for name, lag in sorted(late.items()))
        fix = "It catches up by itself; look again in a minute, and at its disk if it does not."
        return [Check("cluster", "warning", f"{there}; it lags in writes: {said}", fix)]
    if alone := [config["name"] for config, _ in kept if config.get("num_replicas", 1) < 2]:
        said = f"{there}, and kept by one of them alone: {', '.join(alone)}"
        fix = "Have three of them run: a gate beside them spreads each in a moment. Without a gate "
        fix += "take a backup then, and restore it: agentbus server backup."
        return [Check("cluster", "warning", said, fix)]
    return [Check("cluster", "ok", f"{there}, nobody lags")]


def _is_of(info: Mapping[str, Any]) -> bool:
    """Tell whether a stream is a cluster's: one that is alone names its leader, and no cluster."""
    return bool((info.get("cluster") or {}).get("name"))


def _is_away(server: Mapping[str, Any]) -> bool:
    return bool(server.get("offline")) or int(server.get("active", 0)) > _AWAY_NS


def _lags(server: Mapping[str, Any]) -> bool:
    return not _is_away(server) and int(server.get("lag", 0)) > _LAGS
