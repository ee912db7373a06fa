# SPDX-License-Identifier: Apache-2.0
"""Ids that nobody else foresees: the same for the same request, and another elsewhere."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_agentbus.config import machine_key
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.core import ids
from mcp_agentbus.errors import BadSetup

_requests = st.tuples(strategies.agent_ids, strategies.inboxes, strategies.labels)


@pytest.fixture(autouse=True)
def as_another_process():
    """No key is remembered."""
    machine_key._key.cache_clear()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_requests, _requests)
def test_the_same_request_gets_the_same_id_and_another_another(tmp_path, one, other):
    first = unforeseen(tmp_path, *one)

    assert ids.task_id(first) == unforeseen(tmp_path, *one) == first
    assert (unforeseen(tmp_path, *other) == first) == (one == other)


@pytest.mark.parametrize(
    "other", [("b", "x", "r"), ("a", "y", "r"), ("a", "x", "s"), ("ax", "", "r"), ("a", "xr", "")]
)
def test_each_part_of_a_request_counts_for_itself(tmp_path, other):
    assert unforeseen(tmp_path, "a", "x", "r") != unforeseen(tmp_path, *other)


def test_it_is_the_same_in_the_next_process_and_another_on_another_machine(tmp_path):
    first = unforeseen(tmp_path / "here", "a")
    machine_key._key.cache_clear()

    assert unforeseen(tmp_path / "here", "a") == first
    assert unforeseen(tmp_path / "there", "a") != first


def test_processes_that_need_it_first_at_once_agree(tmp_path):
    def in_a_process_of_its_own(_):
        return machine_key._key.__wrapped__(tmp_path / "machine.key")

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(in_a_process_of_its_own, range(16)))

    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["machine.key"]
    assert (tmp_path / "machine.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(b"short"), "is damaged"),
        (lambda file: file.write_bytes(b""), "is damaged"),
        (lambda file: file.chmod(0o644), "is open to other users"),
        (lambda file: (file.unlink(), file.symlink_to("/dev/null")), "is a symlink"),
        (lambda file: (file.unlink(), file.mkdir(mode=0o700)), "cannot be used"),
    ],
)
def test_one_that_cannot_be_trusted_is_refused_with_what_mends_it(tmp_path, spoil, said):
    unforeseen(tmp_path, "a")
    machine_key._key.cache_clear()
    spoil(tmp_path / "machine.key")

    with pytest.raises(BadSetup, match=said) as refused:
        unforeseen(tmp_path, "a")
    assert refused.value.hint
