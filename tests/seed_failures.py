# SPDX-License-Identifier: Apache-2.0
"""What failed in two of the earlier systems when it was run, and the tests that it holds here.

`shape/test_seeds.py` treats each as a row of `seeds.FEATURES`.
"""

from seeds import Row

FAILURES = {
    "sw01": Row(
        "the daemon killed while a command runs: 8 of 10 messages lost",
        "a wake is on the disk before it starts; tasks wait on the server",
        ("faults/test_listener_death.py::test_killed_at_any_step_it_starts_the_host_twice_at_most",
         "faults/test_session_death.py::test_what_a_killed_process_held_is_offered_again_and_done_once"),
    ),
    "sw02": Row(
        "1,500 messages to one who is away: 500 lost, nobody told",
        "a lane has room for 20,000 of each sender; the next is refused",
        ("life/test_send.py::test_among_several_addressees_a_full_inbox_is_one_refused_receipt",),
    ),
    "sw03": Row(
        "the broker killed: what it had acknowledged is lost",
        "acknowledged is what is on the disk",
        ("faults/test_server_death.py::test_sends_in_flight_when_the_server_is_killed_leave_one_task_each",
         "parts/doctor/test_machine.py::test_only_sync_interval_always_is_durable"),
    ),
    "sw04": Row(
        "a mistyped name: sent, says the sender",
        "refused, with the nearest name; kept for one that is registered and never came",
        ("life/test_send.py::test_an_unknown_name_is_refused_with_the_nearest",
         "life/test_send.py::test_a_task_to_an_agent_that_never_ran_is_stored_and_says_so"),
        "Nothing is kept for a name that nobody has registered: far more often it is mistyped. "
        "`agentbus agent add`, or `register` in Python, makes it known beforehand.",
    ),
    "sw05": Row(
        "an id used twice with another body: the reader dies, and again at each start",
        "each is answered by itself; what cannot be read is parked",
        ("life/test_plain_nats.py::test_tasks_of_one_id_from_two_senders_and_to_two_inboxes_get_an_answer_each",
         "life/test_repeated_send.py::test_a_request_id_used_for_another_task_is_refused",
         "hostile/test_any_bytes.py::test_others_go_on_whatever_is_stored_under_our_subjects"),
    ),
    "sw06": Row(
        "any name taken, all mail read, entries forged in the inbox file",
        "no text leaves its frame; who may do what with the token is said and shown",
        ("hostile/test_shown.py::test_what_may_be_a_sentence_is_never_outside_of_a_frame",
         "hostile/test_forged_results.py::test_a_result_from_somebody_the_task_was_not_for_stands_before_no_other",
         "hostile/test_not_protected.py::test_whoever_has_the_token_reads_every_inbox_and_writes_under_every_name"),
        "Agents of one user are not walled off from each other: they share files, processes and "
        "the token.",
    ),
    "sw07": Row(
        "as the installer registers it an agent is invisible, and mail to it is lost",
        "the entry that is installed is durable and on the roster",
        ("protocol/test_process.py::test_the_first_tool_call_starts_the_bus_which_outlives_the_session",
         "hosts/test_plugin_session.py::test_one_hands_a_task_to_another_whose_hook_tells_of_it_and_the_result_comes_back"),
    ),
    "sw08": Row(
        "two sessions of one id do all of the work twice",
        "each task goes to one",
        ("faults/test_session_death.py::test_two_processes_of_one_agent_take_each_of_600_tasks_once",
         "life/test_given_once.py::test_of_calls_at_once_each_claims_a_task_of_its_own_and_none_is_given_twice"),
    ),
    "sw09": Row(
        "a subject of 200 KB or with a NUL: the wake is lost",
        "fields have limits, and nothing of a task is in an argument",
        ("parts/store/test_task.py::test_a_subject_of_201_characters_is_refused_with_its_length",
         "faults/test_hostile_wake.py::test_argv_environment_stdin_log_and_status_hold_no_byte_of_a_peer"),
    ),
    "sw10": Row(
        "a command that hangs: nothing more is archived",
        "it is ended in time; inbox, archive and other agents do not wait for it",
        ("faults/test_hung_host.py::test_a_host_that_hangs_is_in_nobodys_way",
         "parts/work/test_handlers.py::test_a_handler_that_hangs_is_cancelled_and_one_that_does_not_end_is_left"),
    ),
    "sw11": Row(
        "a second reader beside the daemon: mail doubled or divided",
        "a listener takes nothing; readers share the inbox",
        ("life/test_inbox.py::test_counting_what_waits_takes_nothing_away",
         "life/test_inbox.py::test_waiting_for_a_result_claims_no_task"),
    ),
    "sw12": Row(
        "a broadcast that readers never see, and the sender gets",
        "a task for each, and none for the sender",
        ("life/test_send.py::test_all_is_who_was_there_in_the_last_30_days",),
    ),
    "sw13": Row(
        "an agent by MCP wakes nobody; peer text forges the wrapper's words; installers write where "
        "no host reads",
        "a high task wakes; the woken host reads a fixed notice; each install is tried by its host",
        ("hosts/test_claude_code.py::test_a_closed_one_is_started_with_the_tools_of_its_profile",
         "hosts/test_install_claude.py::test_the_plugin_connects_and_the_same_again_changes_no_byte",
         "hosts/test_set_up_and_undone.py::test_openclaw_connected_twice_is_as_it_was_by_the_first_time"),
    ),
    "sw14": Row(
        "the urgent message is the 13th of a list of 10",
        "urgent is read first, however many wait",
        ("faults/test_overtake.py::test_a_high_task_sent_after_10000_others_is_the_first_read",),
    ),
    "ab01": Row(
        "the worker killed while its agent runs: the task is lost",
        "the next worker does it; that counts as an attempt and not as a failure",
        ("faults/test_worker.py::test_what_a_killed_worker_was_at_is_done_by_the_next_one_and_has_not_failed",
         "faults/test_session_death.py::test_a_task_whose_process_is_killed_five_times_is_parked_and_its_sender_told"),
    ),
    "ab02": Row(
        "no stream, `team.coder`, `*`, a space: an id comes back, and nothing is stored",
        "refused in words before anything is sent; missing streams are made",
        ("life/test_send.py::test_a_broken_rule_is_refused_before_any_network_traffic",
         "faults/test_lost_store.py::test_sessions_go_on_where_the_server_has_lost_every_stream"),
    ),
    "ab03": Row(
        "a task of 140 KB, an answer of 2 MB: no result at all",
        "what is too large is refused to its sender; a large answer is kept in a file",
        ("faults/test_worker.py::test_what_a_program_prints_comes_whole_or_in_a_file_that_the_result_names",
         "parts/work/test_program.py::test_a_task_that_no_argument_holds_fails_in_words",
         "parts/work/test_program.py::test_of_far_too_much_the_first_is_kept_and_the_task_has_failed"),
    ),
    "ab04": Row(
        "the server away while the agent runs: survived",
        "survived, also by whoever waits for the result",
        ("faults/test_relay.py::test_a_call_that_waits_when_its_listener_ends_is_answered_all_the_same",
         "faults/test_server_death.py::test_claims_survive_a_restart_of_the_server_and_can_be_finished"),
    ),
    "ab05": Row(
        "a result behind 10,000 others: 5.6 s",
        "found by the same few answers of the server",
        ("faults/test_watched_results.py::test_a_result_is_found_by_the_same_few_answers_behind_thousands_of_others",),
    ),
    "ab06": Row(
        "tasks in anybody's name, their texts in `ps` and in the log",
        "bodies on standard input or in a file; no text in a log",
        ("hostile/test_foreseen_ids.py::test_whoever_occupies_the_ids_of_another_machine_occupies_none_of_ours",
         "faults/test_worker.py::test_what_a_program_sends_on_goes_on_from_its_task",
         "parts/work/test_worker_file.py::test_an_error_is_logged_by_its_kind_and_without_what_it_says"),
    ),
    "ab07": Row(
        "a watch over a restart of the server: 2 of 4 results lost",
        "each is shown once",
        ("faults/test_watched_results.py::test_waiting_over_kills_of_the_server_loses_no_result_and_doubles_none",
         "faults/test_follow.py::test_no_step_is_lost_or_doubled_over_kills_of_the_server"),
    ),
    "ab08": Row(
        "a time-out whose program has left a child: the worker hangs for ever",
        "the whole group is ended, and the next task is done",
        ("faults/test_worker.py::test_a_program_that_hangs_is_ended_with_its_children_and_the_next_task_is_done",),
    ),
}  # fmt: skip
