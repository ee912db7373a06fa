# SPDX-License-Identifier: Apache-2.0
"""Whatever an account says: the gate's rule decides, and lets nothing through in another's name."""

from __future__ import annotations

import re

import strategies  # noqa: F401  # it loads the profile
from hypothesis import given
from hypothesis import strategies as st
from ruled import BOOK

from mcp_agentbus.gate import verdict
from mcp_agentbus.gate.rules import decide
from mcp_agentbus.gate.verdict import Request

_MINE = r"(planner)"
_MY_INBOX = r"(planner|role-build)"
_ID = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_LANE = r"(high|normal|low)"
_INBOX = r"(coder|planner|mute|old|role-review)"
# What may be said on the bus in laptop's name, spelled out once more and otherwise than the rule.
_MAY_SAY = [
    rf"agentbus\.{_INBOX}\.tasks\.{_LANE}\.{_MINE}",
    rf"agentbus\.{_INBOX}\.sched\.{_LANE}\.{_MINE}\.{_ID}",
    rf"agentbus\.{_MY_INBOX}\.tasks\.{_LANE}\.[a-z0-9_-]+",
    rf"agentbus\.{_MY_INBOX}\.dead\.{_LANE}\.[a-z0-9_-]+",
    rf"agentbus\.{_MINE}\.(results|sent)\.[a-z0-9_-]+\.{_ID}",
    rf"agentbus\.[a-z0-9_-]+\.(results|wakes)\.{_MY_INBOX}\.{_ID}",
    r"agentbus\.(?!(coder|mute)\.)[a-z0-9_-]+\.(profile|heartbeat\.[A-Za-z0-9:_-]+)",
    rf"agentbus\.{_INBOX}\.back",
    rf"agentbus\.{_INBOX}\.refused\.{_MINE}",
    rf"agentbus-events\.{_MINE}\.[A-Za-z0-9_.-]+",
    r"agentbus-answers\.[A-Za-z0-9]+",
    r"\$JS\.API\.INFO",
    r"\$JS\.API\.STREAM\.INFO\.AGENTBUS_(TASKS|RESULTS|SCHED|DEAD|AGENTS|PRESENCE)",
    r"\$JS\.API\.STREAM\.PURGE\.AGENTBUS_(TASKS|RESULTS|SCHED|DEAD|AGENTS|PRESENCE)",
    r"\$JS\.API\.CONSUMER\.INFO\.AGENTBUS_TASKS\.[a-z0-9_-]+_(high|normal|low)",
    rf"\$JS\.API\.CONSUMER\.(INFO|DELETE)\.AGENTBUS_RESULTS\.{_MINE}_(results|sent)",
    rf"\$JS\.API\.CONSUMER\.DELETE\.AGENTBUS_TASKS\.{_MY_INBOX}_(high|normal|low)",
    rf"\$JS\.API\.CONSUMER\.CREATE\.AGENTBUS_TASKS\.{_MY_INBOX}_\w+\.agentbus\.{_MY_INBOX}\.tasks\.\w+\.\*",
    rf"\$JS\.API\.CONSUMER\.CREATE\.AGENTBUS_RESULTS\.{_MINE}_\w+\.agentbus\.{_MINE}\.\w+\.\*\.\*",
    rf"\$JS\.ACK\.AGENTBUS_TASKS\.{_MY_INBOX}_(high|normal|low)(\.[0-9]+){{5}}",
    rf"\$JS\.ACK\.AGENTBUS_RESULTS\.{_MINE}_(results|sent)(\.[0-9]+){{5}}",
]
_WORDS = [
    "agentbus", "agentbus-events", "agentbus-answers", "agentbus-gate", "agentbus-for", "$JS", "API",
    "ACK", "STREAM", "CONSUMER", "DIRECT", "GET", "MSG", "NEXT", "INFO", "CREATE", "DELETE", "PURGE",
    "UPDATE", "NAMES", "AGENTBUS_TASKS", "AGENTBUS_RESULTS", "AGENTBUS_DEAD", "AGENTBUS_ACCOUNTS",
    "planner", "coder", "mute", "new", "role-build", "role-review", "tasks", "sched", "due", "dead",
    "results", "sent", "wakes", "wake", "profile", "heartbeat", "back", "high", "low", "urgent", "9d",
    "*", ">", "", "planner_high", "coder_high", "planner_sent", "coder_results", "role-build_low",
    "1", "2", "laptop", "vps", "planner_high_low", "_high", "\u00e9", "a b", "A" * 300,
]  # fmt: skip
_BODIES = [
    b"", b"{}", b"[]", b'{"batch":1,"no_wait":true}', b'{"seq":1,"batch":5}', b"+ACK", b"-NAK", b"+WPI",
    b'{"filter":"agentbus.coder.>"}', b'{"filter":"agentbus.planner.>"}', b'{"asked_by":"planner"}',
    b'{"subjects_filter":"agentbus.>"}', b'{"roles":["review"]}', b"\xff", b"+NXT",
]  # fmt: skip
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["Nats-Schedule", "Nats-Msg-Id", "Agentbus-Moved", "Agentbus-From", "Nats-Rollup",
         "Nats-Expected-Last-Subject-Sequence", "Agentbus-Gate-Ack", "Agentbus-Task"]
    ),
    st.sampled_from(["", "0", "7", "x", "@at 2026-11-27T14:00:00Z", "@every 1s", "coder", "9" * 30]),
)  # fmt: skip
_FORMS = [
    *(f"agentbus.{{}}.{kind}.{{}}.{{}}" for kind in ("tasks", "dead", "due", "results", "sent", "wakes")),
    "agentbus.{}.sched.{}.{}.{}", "agentbus.{}.profile", "agentbus.{}.heartbeat.{}", "agentbus.{}.back",
    "agentbus.{}.refused.{}",
    "agentbus-events.{}.{}", "$JS.API.STREAM.{}.AGENTBUS_{}", "$JS.API.CONSUMER.{}.AGENTBUS_TASKS.{}",
    "$JS.API.CONSUMER.MSG.NEXT.AGENTBUS_TASKS.{}", "$JS.API.CONSUMER.{}.AGENTBUS_RESULTS.{}",
    "$JS.API.CONSUMER.CREATE.AGENTBUS_TASKS.{}.agentbus.{}.tasks.{}.*",
    "$JS.API.DIRECT.GET.AGENTBUS_TASKS.agentbus.{}.tasks.{}.{}", "$JS.ACK.AGENTBUS_TASKS.{}.1.2.3.4.{}",
]  # fmt: skip
_LIKELY = [
    "planner",
    "coder",
    "high",
    "9d",
    "role-build",
    "planner_high",
    "coder_high",
    "INFO",
    "TASKS",
]
_FORMED = st.builds(
    lambda form, words: form.format(*words),
    st.sampled_from(_FORMS),
    st.lists(st.sampled_from(_LIKELY) | st.sampled_from(_WORDS), min_size=4, max_size=4),
)
_ANY = st.lists(st.sampled_from(_WORDS), max_size=9).map(".".join) | st.text(max_size=60)
_SUBJECTS = _FORMED | _ANY
_NATS = re.compile(r"[^\s]+")


def _said(decided):
    match decided:
        case verdict.Say():
            return decided
        case verdict.Stored() | verdict.Copied() | verdict.Scheduled() | verdict.Event():
            return decided.say
    return None


@given(subject=_SUBJECTS, headers=_HEADERS, data=st.sampled_from(_BODIES), answered=st.booleans())
def test_nothing_goes_through_in_another_s_name(subject, headers, data, answered):
    decided = decide(Request("laptop", subject, headers, data, answered), BOOK)

    say = _said(decided)
    if say and not isinstance(decided, verdict.Copied):
        assert any(re.fullmatch(may, say.subject) for may in _MAY_SAY), say.subject
    if say:
        assert _NATS.fullmatch(say.subject)
        kept = {name for name in say.headers if name.startswith("Nats-")}
        assert kept <= {
            "Nats-Msg-Id", "Nats-Expected-Stream", "Nats-Expected-Last-Subject-Sequence",
            "Nats-Schedule", "Nats-Schedule-Target",
        }  # fmt: skip
        ours = {k: v for k, v in say.headers.items() if k.lower().startswith("agentbus-gate-")}
        assert ours.items() <= {(verdict.H_ACCOUNT, "laptop")}
    if isinstance(decided, verdict.Pull):
        assert decided.consumer in {"planner_high", "planner_sent", "role-build_low"}
    if isinstance(decided, verdict.Refusal):
        assert all(isinstance(name, str) for name in decided.about)
