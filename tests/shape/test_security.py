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
    "A backup holds": "test_a_backup_is_its_users_alone_and_holds_no_secret test_it_is_its_users_alone_and_says_its_secret_nowhere",
    "What another agent wrote": "test_what_may_be_a_sentence_is_never_outside_of_a_frame test_no_answer_is_longer_than_the_hosts_let_through test_argv_environment_stdin_log_and_status_hold_no_byte_of_a_peer",
    "A woken Claude Code": "test_answer_may_use_the_bus_and_read_the_folder_and_nothing_else test_hard_links_to_a_secret_or_to_what_is_outside_are_named",
    "What is woken gets": "test_an_answer_has_what_logs_in_and_finds_its_way_and_no_more test_a_service_is_told_all_that_is_needed_and_no_secret",
    "What a host's entry": "test_what_cursor_starts_takes_nothing_that_a_project_has_exported test_what_agentbus_starts_is_agentbus_wherever_and_whatever_is_exported",
    "An approval is read": "test_a_question_that_was_changed_on_the_bus_has_no_approval test_what_others_could_have_written_is_no_decision test_what_no_person_has_confirmed_is_no_decision test_without_a_terminal_nobody_decides",
    "Ids and states are": "test_others_go_on_whatever_is_stored_under_our_subjects test_a_task_is_handed_over_all_the_same",
    "A live session hands": "test_a_session_hands_over_only_to_one_of_its_user_that_asks_now",
    "Streams that another client": "test_a_changed_stream_is_named_and_set_up_anew_by_the_next_session test_whoever_is_refused_by_a_changed_stream_sets_it_up_anew_within_the_call test_a_consumer_that_hands_out_less_loses_nothing_and_is_mended_when_it_is_missed test_what_the_server_keeps_as_it_was_changed_doctor_says test_who_sent_what_was_lost_with_its_stream_is_told_and_so_is_doctor test_who_sent_what_was_lost_with_all_streams_at_once_is_told",
    "A scheduled task that": "test_whoever_looks_lets_go_what_no_inbox_can_take_and_nothing_that_it_can test_an_urgent_task_wakes_though_more_senders_wait_than_the_server_names_at_once test_a_task_is_answered_though_a_thousand_records_have_its_id",
    "What is sent while": "test_what_was_sent_to_one_bus_is_never_handed_on_to_another test_what_the_gate_refuses_later_is_told_and_holds_back_its_sender_alone",
    "Work that is handed": "test_a_circle_of_woken_agents_ends_at_the_hop_limit",
}  # fmt: skip
#: The same of what is not defended: where a test fails, a point has grown untrue.
SHOWN_NOT = {
    "Agents of one user": "test_whoever_has_the_token_reads_every_inbox_and_writes_under_every_name test_whoever_has_the_token_ends_and_takes_anothers_task",
    "The token is everything": "test_a_task_that_is_deleted_is_missed_at_its_deadline test_doctor_tells_of_the_loss_of_what_holds_no_waiting_task test_who_meets_a_sealed_stream_is_told_what_to_do test_what_the_server_keeps_as_it_was_changed_doctor_says",
    "They can fill": "test_whoever_fills_the_room_of_the_bus_leaves_none_for_others test_a_flood_under_many_names_spends_the_wakes_of_an_hour_and_no_more test_forged_signs_of_life_hold_wakes_for_the_first_15_s_of_a_listener_and_no_longer test_whoever_looks_lets_go_what_no_inbox_can_take_and_nothing_that_it_can",
    "They can answer": "test_what_a_server_would_say_is_believed_whoever_says_it",
    "What you type": "test_a_command_that_is_typed_takes_a_package_of_our_name_that_is_exported",
    "An approval is no": "test_its_user_decides_and_the_session_that_asked_is_told_once",
    "A model may believe": "test_what_a_peer_says_reaches_the_model_as_it_stands_inside_a_frame",
    "A woken session with": "test_work_may_do_what_the_rules_allow test_cursor_is_forced_and_continues_a_chat_where_the_rules_say_so test_a_program_gets_the_notice_and_what_it_printed_is_told",
    "A [worker]": "test_it_reads_its_task_on_standard_input test_or_as_one_argument_and_then_nothing_on_standard_input",
    "With `answer`": "test_what_an_ordinary_name_holds_and_what_is_linked_later_is_not_seen",
    "On a shared server": "test_with_its_token_one_machine_is_whom_it_likes_and_reads_what_is_anothers",
}  # fmt: skip
SHOWN_BETWEEN = {
    "An account has a key": "test_who_joins_is_let_in_by_a_key_that_stays_here_and_gets_all_back_as_it_leaves test_a_key_joins_that_is_proven_and_is_nobody_elses",
    "The line of an invitation": "test_of_two_who_have_the_same_line_one_gets_in test_whoever_is_refused_is_told_why test_a_line_as_an_argument_is_refused_and_said_to_be_in_the_history test_a_terminal_shows_nothing_of_a_line_longer_than_it_hands_over_and_leaves_none test_in_the_lobby_nothing_else_is_said_or_heard test_secrets_that_are_tried_are_looked_at_five_times_a_second",
    "Nothing is told": "test_a_server_that_is_not_the_one_of_the_line_is_told_nothing",
    "An account can say nothing": "test_the_server_lets_an_account_say_nothing_but_to_its_own_gate test_what_others_say_and_are_told_is_not_heard test_no_answer_lands_where_another_hears_or_stores test_no_header_but_a_task_s_own_gets_to_a_stream",
    "Whose agent a task": "test_the_gate_refuses_what_is_others_in_words_and_soon test_by_a_reader_of_its_own_no_other_s_message_is_settled test_a_name_is_claimed_by_nobody_else_however_it_is_asked_for test_nobody_makes_another_account_leave",
    "What stands in an inbox": "test_of_what_is_read_widely_only_what_is_one_s_own_comes test_what_is_stored_is_read_by_who_sent_it_and_whom_it_is_for test_everybody_sees_who_is_there_and_how_much_waits_but_not_from_whom",
    "Ids, schedules and consumers": "test_an_id_that_was_foreseen_keeps_no_other_s_task_out test_a_schedule_is_built_from_its_time test_a_consumer_is_made_as_this_version_makes_it_whatever_was_asked",
    "What an agent does not accept": "test_what_is_others_is_refused test_whatever_number_takes_all_it_can_others_store_on test_who_has_most_of_a_stream_with_little_room_is_refused_and_the_others_are_not test_while_an_account_floods_the_gate_the_others_work_on test_who_floods_on_is_cut_off_and_told_so",
    "A role's inbox": "test_a_role_is_read_by_the_accounts_to_which_it_was_granted test_a_registration_says_whose_it_is_and_has_the_roles_that_were_granted",
    "Who is removed": "test_who_has_joined_is_heard_at_once_and_who_goes_is_cut_at_once test_another_key_counts_in_the_place_of_the_first test_who_was_removed_or_has_another_key_since_does_not_come_back",
}  # fmt: skip
SHOWN_NOT_BETWEEN = {
    "Agents of one account": "test_who_has_its_key_is_any_agent_of_an_account",
    "The owner of the server": "test_its_owner_reads_all_that_is_on_a_server",
    "All accounts see": "test_everybody_sees_who_is_there_and_how_much_waits_but_not_from_whom test_events_are_heard_and_answered_across_accounts",
    "Accounts to which": "test_a_role_is_read_by_the_accounts_to_which_it_was_granted",
}  # fmt: skip
SECTIONS = {
    "What is defended": SHOWN_BY,
    "What is not": SHOWN_NOT,
    "What is defended between accounts": SHOWN_BETWEEN,
    "What is not between accounts": SHOWN_NOT_BETWEEN,
}


def points(heading):
    text = (ROOT / ".github/SECURITY.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^- (.+)$", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "point"), [(each, point) for each in SECTIONS for point in points(each)]
)
def test_each_point_is_shown_by_tests(heading, point):
    [shown_by] = [tests for begins, tests in SECTIONS[heading].items() if point.startswith(begins)]
    code = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))

    assert [test for test in shown_by.split() if f"def {test}(" not in code] == []


def test_every_row_is_of_a_point():
    for heading, shown in SECTIONS.items():
        assert len(shown) == len(points(heading)) > 0
