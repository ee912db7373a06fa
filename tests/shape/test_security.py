# SPDX-License-Identifier: Apache-2.0
"""What SECURITY.md says is defended, each point with tests that show it; those of a user's reading."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: By how a point begins: tests by their names.
SHOWN_BY = {
    "The embedded server listens on": "test_a_wrong_token_is_refused_at_once test_a_token_that_others_may_read_is_not_used",
    "No secret is put": "test_no_command_line_shows_the_token test_no_environment_holds_the_token test_no_failure_shows_a_secret test_a_token_goes_to_loopback_or_over_tls_only",
    "What another agent wrote": "test_what_may_be_a_sentence_is_never_outside_of_a_frame test_no_answer_is_longer_than_the_hosts_let_through test_argv_environment_stdin_log_and_status_hold_no_byte_of_a_peer",
    "A woken Claude Code": "test_answer_may_use_the_bus_and_read_the_folder_and_nothing_else test_hard_links_to_a_secret_or_to_what_is_outside_are_named",
    "What is woken gets": "test_an_answer_has_what_logs_in_and_finds_its_way_and_no_more test_a_service_is_told_all_that_is_needed_and_no_secret",
    "Ids and states are": "test_others_go_on_whatever_is_stored_under_our_subjects test_a_task_is_handed_over_all_the_same",
    "A live session hands": "test_a_session_hands_over_only_to_one_of_its_user_that_asks_now",
    "Streams and consumers that": "test_a_changed_stream_is_named_and_set_up_anew_by_the_next_session test_a_consumer_that_hands_out_less_loses_nothing_and_is_mended_when_it_is_missed test_what_the_server_keeps_as_it_was_changed_doctor_says test_who_sent_what_was_lost_with_its_stream_is_told_and_so_is_doctor",
    "Work that is handed": "test_a_circle_of_woken_agents_ends_at_the_hop_limit",
}  # fmt: skip


def points(heading):
    text = (ROOT / ".github/SECURITY.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^- (.+)$", section, re.MULTILINE)


@pytest.mark.parametrize("point", points("What is defended"))
def test_each_point_that_is_defended_is_shown_by_tests(point):
    [shown_by] = [tests for begins, tests in SHOWN_BY.items() if point.startswith(begins)]
    code = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))

    assert [test for test in shown_by.split() if f"def {test}(" not in code] == []


def test_every_row_is_of_a_point():
    assert len(SHOWN_BY) == len(points("What is defended"))
    assert any("administers the server" in point for point in points("What is not"))
