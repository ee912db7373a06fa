# SPDX-License-Identifier: Apache-2.0
"""Whether what stands on the server is as this version makes it, by its settings.

    >>> stream_differs({"retention": "limits"}, {"retention": "interest"})
    ['retention']

Pure. What whoever runs the server may choose counts as made so, and what the server adds by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# What whoever runs the server may choose.
_THEIRS: Final = frozenset({"max_bytes", "num_replicas", "placement", "compression", "description"})
# But for a size that no disk is the reason of: by it a stream takes nothing, and one that discards
# the oldest keeps nothing. It is this part of what the stream is made with.
_TOO_SMALL: Final = 1 / 1024
# Rights that the server does not take back.
_LASTING: Final = frozenset({"allow_msg_ttl", "allow_msg_schedules"})
# What it does not change either: set up anew with another value of one, all stays as it is.
_FIXED: Final = _LASTING | {
    "storage", "persist_mode", "sealed", "deny_delete", "deny_purge", "allow_msg_counter",
}  # fmt: skip
# What it adds by itself.
_ADDED: Final = frozenset({"metadata", "mirror_direct"})
# Of a consumer: how much and how long, which other versions choose otherwise.
_VARIES: Final = frozenset({"ack_wait", "max_ack_pending", "max_waiting", "inactive_threshold"})


def stream_differs(made: Mapping[str, Any], has: Mapping[str, Any]) -> list[str]:
    """Return which settings of a stream are not as it is made; it may have more subjects."""
    differs = {key for key in made if has.get(key) != made[key]}
    if set(made.get("subjects", ())) <= set(has.get("subjects", ())):
        differs.discard("subjects")
    too_small = {"max_bytes"} if _is_too_small(made, has) else set()
    return sorted((differs | _more(made, has)) - _THEIRS - _LASTING | too_small)


def kept_settings(made: Mapping[str, Any], has: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a stream's settings what stays when it is set up anew."""
    kept = _THEIRS | _FIXED
    if "workqueue" in (made.get("retention"), has.get("retention")):
        kept |= {"retention"}  # nor does the server turn any other into one, or back
    if _is_too_small(made, has):
        kept -= {"max_bytes"}
    return {key: has[key] for key in kept if key in has}


def _is_too_small(made: Mapping[str, Any], has: Mapping[str, Any]) -> bool:
    return bool(0 < has.get("max_bytes", -1) < made.get("max_bytes", 0) * _TOO_SMALL)


def consumer_is_as_made(made: Mapping[str, Any], has: Mapping[str, Any]) -> bool:
    """Tell whether a consumer hands out what it is made for, to whoever asks."""
    same = all(has.get(key) == made[key] for key in made.keys() - _VARIES)
    return same and not _more(made, has) - {"num_replicas", "placement", "description"}


def _more(made: Mapping[str, Any], has: Mapping[str, Any]) -> set[str]:
    """Return what is set and was not set when it was made."""
    unset: tuple[object, ...] = (None, False, 0, -1, "", {}, [])
    return {key for key in has.keys() - made.keys() - _ADDED if has[key] not in unset}
