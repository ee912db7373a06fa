# SPDX-License-Identifier: Apache-2.0
"""What four earlier systems did and what broke in them, and the tests that show how it is here.

`shape/test_seeds.py` fails for a row that names no test and no reason, and for a test that is not
there; `shape/renew_docs.py` writes docs/seeds.md from it.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """A feature of one of them, or a trial in which one failed."""

    #: What it did there.
    there: str
    #: What does it here.
    here: str
    #: Each as pytest takes it, below tests/.
    tests: tuple[str, ...] = ()
    #: Why it is not the same here; empty if all of it is there.
    differs: str = ""


#: By the first letters of their rows.
SYSTEMS = {
    "SB": "swarmbus 0.2, peer messages over MQTT",
    "AB": "agentbus 0.1, a task bus on NATS",
    "AR": "argentor, a message bus within one process",
    "GB": "agentkit's bus in Go, over memory or NATS",
}

FEATURES = {
    "SB1": Row(
        "MCP `send_message`",
        "`send_task`: an id and a receipt come back, with priority and reply_to",
        ("life/test_send.py::test_a_receipt_says_stored_and_the_task_is_on_the_server",
         "protocol/test_tools_snapshot.py::test_a_schema_admits_exactly_the_arguments_that_are_taken"),
    ),
    "SB2": Row(
        "MCP `read_inbox` with acknowledged ids, at most N",
        "`read_inbox`: what is held is named again until its result ends it; urgent first",
        ("life/test_inbox.py::test_reading_twice_shows_the_same_tasks",
         "life/test_inbox.py::test_high_is_read_before_normal_and_normal_before_low",
         "faults/test_hung_server.py::test_each_call_ends_in_time_with_what_is_true_and_can_be_repeated"),
    ),
    "SB3": Row(
        "MCP `watch_inbox`",
        "`watch_inbox`, also for the results of certain tasks",
        ("life/test_inbox.py::test_a_waiting_call_returns_when_a_task_is_stored",
         "life/test_inbox.py::test_a_waiting_call_ends_empty_and_without_an_error_at_its_limit"),
    ),
    "SB4": Row(
        "MCP `list_agents`: who is online",
        "`list_agents`: who is registered, there or away since when, in which host, and what waits",
        ("life/test_shell.py::test_agents_are_listed_with_state_and_what_waits",
         "hostile/test_roster_bytes.py::test_the_roster_shows_who_is_there_in_words_of_our_own"),
    ),
    "SB5": Row(
        "`send` with subject, body or file, priority, reply-to",
        "`agentbus send`, which tells a near miss; the connection is configured, not typed",
        ("life/test_shell.py::test_a_task_goes_from_shell_to_shell_and_its_result_comes_back",
         "parts/cli/test_texts.py::test_a_body_is_an_argument_a_file_or_a_pipe",
         "life/test_shell.py::test_no_server_is_exit_code_3_and_says_that_nothing_was_stored"),
    ),
    "SB6": Row(
        "`start`: a daemon that writes a file and runs a command",
        "`agentbus listen` for wakes, `agentbus work` for a program of the user's",
        ("life/test_wake.py::test_a_high_task_starts_the_agent_and_a_normal_one_does_not",
         "faults/test_listener_death.py::test_a_server_that_went_and_came_back_elsewhere_is_found_again",
         "faults/test_worker.py::test_a_worker_outlives_its_server_and_stores_what_came_meanwhile"),
    ),
    "SB7": Row(
        "`read`",
        "`agentbus inbox`, and `--peek` that claims nothing",
        ("life/test_shell.py::test_a_shell_s_claim_outlives_its_process_until_it_is_released_or_finished",
         "life/test_inbox.py::test_peeking_pages_through_500_tasks_without_claiming_one"),
    ),
    "SB8": Row(
        "`watch`, with an exit code for each end",
        "`agentbus watch`",
        ("life/test_shell.py::test_running_out_of_time_is_exit_code_4",
         "life/test_shell.py::test_following_prints_a_line_for_each_change_and_claims_nothing"),
    ),
    "SB9": Row(
        "`tail` with a cursor for each consumer",
        "`agentbus export --cursor NAME`, and `--follow`",
        ("life/test_looking_back.py::test_a_named_export_goes_on_where_it_was",
         "life/test_looking_back.py::test_following_prints_each_step_once"),
    ),
    "SB10": Row(
        "`list --json`",
        "`agentbus agents --json`, from the roster and not by waiting for half a second",
        ("hostile/test_answers_fit.py::test_a_roster_of_the_longest_agents_goes_on_where_the_text_ends",
         "life/test_send.py::test_a_task_to_an_agent_that_left_names_when_it_was_last_seen"),
    ),
    "SB11": Row(
        "`doctor`: seven probes",
        "`agentbus doctor`, which mends with `--fix` and sends a task with `--self-test`",
        ("life/test_doctor.py::test_a_person_reads_a_line_for_each_check",
         "life/test_doctor.py::test_what_others_may_read_is_wrong_until_a_fix_closes_it",
         "life/test_self_test.py::test_a_task_comes_through_and_leaves_nothing"),
    ),
    "SB12": Row(
        "`mcp-server`, durable and visible by two options",
        "`agentbus serve`, durable and visible without any; files of the user's alone",
        ("life/test_newcomer.py::test_it_can_be_sent_to_for_as_long_as_it_lives",
         "faults/test_secrets.py::test_a_file_that_is_not_its_users_alone_is_refused_with_what_to_do"),
    ),
    "SB13": Row(
        "`init` in six steps, `--dry-run`, `--yes`",
        "`agentbus setup`",
        ("life/test_setup.py::test_a_dry_run_tells_every_step_and_takes_none",
         "life/test_setup.py::test_set_up_once_or_twice_it_is_connected_and_taken_out_again_nothing_is_left",
         "hosts/test_new_user.py::test_the_commands_of_the_readme_lead_from_the_wheel_to_a_task_that_each_host_has_done"),
    ),
    "SB14": Row(
        "TLS, client certificates, user and password of the broker",
        "the same, and tokens, nkeys and NATS credentials; what is secret stands in a 0600 file",
        ("faults/test_untrusted_server.py::test_a_server_that_asks_for_a_certificate_is_shown_the_one_that_is_named",
         "faults/test_logins.py::test_the_right_login_opens_and_of_a_wrong_one_is_said_which_it_was",
         "life/test_shared_server.py::test_with_tls_it_may_listen_everywhere"),
    ),
    "SB15": Row(
        "the envelope: id, from, to, time, subject, body, content_type, priority, reply_to",
        "the same, with thread, deadline, attempts and chain; what a later version adds is kept",
        ("parts/store/test_codec.py::test_a_task_is_read_as_it_was_written",
         "faults/test_bad_bytes.py::test_a_newer_senders_task_is_shown_and_what_it_adds_is_kept_in_the_stored_bytes"),
    ),
    "SB16": Row(
        "ids of 64 letters, digits, `_` and `-`; reserved ones",
        "one rule, wherever an id is written or read",
        ("parts/core/test_ids.py::test_reserved_names_are_nobodys_id",
         "parts/core/test_ids.py::test_a_token_is_an_agent_exactly_if_it_may_be_written_as_one"),
    ),
    "SB17": Row(
        "topics under a root of one's own",
        "subjects that are made in one place; another bus is another server",
        ("parts/core/test_ids.py::test_a_subject_is_taken_apart_as_it_was_made",
         "life/test_other_bus.py::test_its_status_says_so_and_that_of_the_right_one_does_not"),
        "No root: two buses on one server would share its room and its token, so each user has a "
        "server, and AGENTBUS_HOME another one.",
    ),
    "SB18": Row(
        "handlers: a file, a command, an archive in SQLite, a function",
        "`agentbus export`, `agentbus work`, the archive, and `Worker` in Python",
        ("life/test_looking_back.py::test_a_diary_has_all_texts_and_nobody_can_forge_an_entry",
         "faults/test_worker.py::test_no_byte_of_a_peer_is_in_what_is_started_or_in_the_log",
         "life/test_archive.py::test_nothing_is_missed_while_nobody_reads",
         "parts/work/test_handlers.py::test_a_text_is_the_body_and_a_result_is_stored_as_it_is"),
    ),
    "SB19": Row(
        "an outbox file that grows for ever",
        "what was sent is in the same archive, which age and size bound, and one line switches off",
        ("parts/archive/test_file.py::test_where_it_is_too_large_what_nobody_asked_for_goes_first_then_the_oldest",
         "life/test_archive.py::test_a_user_who_wants_none_has_no_file"),
    ),
    "SB20": Row(
        "wake wrappers: policy by priority, Claude Code and OpenClaw's gateway",
        "`agentbus agent add`: `wake_on`, limits, quiet hours, profiles; the gate is before the start",
        ("life/test_wake_on.py::test_a_priority_that_its_user_has_named_wakes_it_within_the_same_limits",
         "parts/wakes/test_policy.py::test_no_day_and_no_hour_has_more_wakes_than_allowed",
         "parts/wakes/test_wake_claude.py::test_answer_may_use_the_bus_and_read_the_folder_and_nothing_else",
         "parts/wakes/test_wake_openclaw.py::test_the_gateway_gets_the_notice_and_the_token"),
    ),
    "SB21": Row(
        "installers for hosts and systemd, and a cron job that pings a person",
        "`agentbus install`, `agentbus listen --install`, `[human]`",
        ("hosts/test_set_up_and_undone.py::test_both_hosts_are_set_up_and_it_is_undone_and_nobody_is_contacted",
         "parts/installers/test_worker_service.py::test_systemd_finds_no_fault_in_the_unit",
         "life/test_human.py::test_each_thing_is_told_once_whatever_becomes_of_the_listener"),
    ),
    "SB22": Row(
        "a skill of 4,400 tokens",
        "a short one with references, in the words of the bus",
        ("parts/installers/test_skill.py::test_the_skill_is_short_and_its_references_too",
         "parts/installers/test_skill.py::test_every_word_of_the_bus_that_it_names_exists"),
    ),
    "SB23": Row(
        "a doctrine of when to tell a person: archive, mention, push",
        "the archive has all, a hook tells at the next turn, `[human]` what needs a person",
        ("life/test_hooks.py::test_what_waits_is_told_at_the_next_event_and_never_again",
         "parts/human/test_needs.py::test_each_step_that_needs_a_person_has_its_line"),
    ),
    "SB24": Row(
        "named runtime states, errors that an empty list hides, quarantine, versions of the store",
        "a word for how the listener stands, errors by kind with a next step, parked tasks, files of a "
        "newer version left alone",
        ("parts/listener/test_status.py::test_how_it_stands_has_one_word",
         "protocol/test_refusals.py::test_every_kind_of_error_reaches_the_model_with_its_hint",
         "faults/test_bad_bytes.py::test_bytes_that_are_no_task_are_parked_and_delay_nobody",
         "parts/wakes/test_ledger.py::test_the_file_of_a_newer_version_is_left_alone"),
    ),
    "SB25": Row(
        "every changelog entry answers for the wire",
        "the same; a file holds each tool, and the streams have a number",
        ("shape/test_docs.py::test_each_entry_of_the_changelog_says_whether_versions_go_together_on_one_bus",
         "protocol/test_tools_snapshot.py::test_a_tool_is_defined_as_its_file_says",
         "hostile/test_set_up_otherwise.py::test_the_layout_has_a_new_number_with_each_change_of_the_streams"),
    ),
    "AB1": Row(
        "`task publish` to several, without an acknowledgement of the stream",
        "`agentbus send a,b`: stored before it says so",
        ("life/test_send.py::test_a_list_of_addressees_gets_one_task_each",
         "faults/test_server_death.py::test_acknowledged_tasks_are_readable_after_the_server_was_killed"),
    ),
    "AB2": Row(
        "`result get`: the latest N, `--watch`",
        "`agentbus watch --task ID`, `agentbus tasks`, `agentbus send --wait`",
        ("life/test_shell.py::test_sending_can_wait_for_the_results_of_all_at_once",
         "life/test_history.py::test_page_after_page_has_each_task_once"),
    ),
    "AB3": Row(
        "`worker run`, by the first of three files",
        "the same command and the same places",
        ("faults/test_worker.py::test_a_worker_by_its_file_does_tasks_as_an_argument_and_logs_no_text",
         "parts/work/test_worker_file.py::test_the_first_of_its_places_counts"),
    ),
    "AB4": Row(
        "its TOML: `chat_cmd` with `{input}`, unknown keys rejected",
        "taken as it stands; what it cannot mean here is refused with what to write",
        ("parts/work/test_worker_file.py::test_the_file_of_the_task_bus_is_taken_with_its_own_defaults",
         "parts/work/test_worker_file.py::test_what_it_cannot_mean_is_refused_with_what_to_write"),
        differs="A `server_url` with a login in it is refused, and need not be there: it leads to "
        "the other bus, and a password stands in a 0600 file of its own.",
    ),
    "AB5": Row(
        "a durable consumer that replicas of an agent share",
        "the same, and signs of life that are really sent",
        ("faults/test_worker.py::test_two_workers_of_one_agent_do_each_of_twenty_tasks_once",
         "parts/work/test_handlers.py::test_its_agent_is_a_live_session_on_the_roster_until_it_ends"),
    ),
    "AB6": Row(
        "the task as JSON, with reply_to",
        "the same JSON is read, under a subject that names priority and sender; a result goes to a "
        "third agent as well",
        ("parts/store/test_codec.py::test_a_task_of_the_seed_is_read",
         "life/test_reply_to.py::test_a_result_reaches_its_sender_and_the_third_who_sees_whose_task_it_was"),
    ),
    "AB7": Row(
        "the result: completed or failed, needs_approval once",
        "its results are read; five ends, questions and approvals besides",
        ("parts/store/test_codec.py::test_our_results_have_every_field_of_the_seed",
         "life/test_result.py::test_every_end_of_a_worker_reaches_the_sender",
         "life/test_asking_back.py::test_a_question_is_answered_on_the_task_and_its_worker_is_told_once",
         "life/test_approvals.py::test_its_user_decides_and_the_session_that_asked_is_told_once"),
    ),
    "AB8": Row(
        "a prompt with who one is, safety rules, the instruction, the task",
        "the same, with the task in a frame, on standard input",
        ("parts/work/test_brief.py::test_it_begins_with_who_one_is_then_come_the_rules_the_instruction_and_the_task",
         "parts/work/test_brief.py::test_whatever_a_peer_writes_stays_inside_the_frame"),
    ),
    "AB9": Row(
        "acknowledged after its result, as its README said and its code did not",
        "the result is stored first, then the task is finished",
        ("faults/test_session_death.py::test_a_process_killed_between_result_and_end_leaves_one_result_and_no_task",
         "faults/test_half_done.py::test_a_result_that_was_not_confirmed_can_be_published_again"),
    ),
    "AB10": Row(
        "operations: logs with all texts, service files, one user per agent on the server",
        "logs without texts, service files by `--install`, a server for several machines",
        ("parts/installers/test_worker_service.py::test_it_is_started_and_stopped_by_its_agents_name_and_nothing_is_left",
         "parts/work/test_worker_file.py::test_the_log_is_rotated_and_each_file_is_the_users_alone",
         "life/test_shared_server.py::test_a_task_goes_from_one_machine_to_another"),
        "One token opens the bus: agents of one user are not walled off from each other.",
    ),
    "AR1": Row(
        "`send`, which cannot fail",
        "a send that says stored or why not, and a full inbox that keeps what it has",
        ("life/test_send.py::test_a_full_inbox_refuses_and_keeps_the_old_tasks",
         "life/test_send.py::test_a_broken_rule_is_refused_before_any_network_traffic"),
    ),
    "AR2": Row(
        "to an agent, a role, or all",
        "the same; each of all gets a task, and the sender none",
        ("life/test_send.py::test_all_reaches_every_registered_agent_but_the_sender",
         "life/test_send.py::test_a_role_is_one_inbox_whose_tasks_go_to_one_holder_each"),
    ),
    "AR3": Row(
        "six types of messages, some of which want no answer",
        "task types, and words without an answer",
        ("life/test_words.py::test_a_word_is_shown_once_and_is_over_at_its_readers_next_call",
         "life/test_words.py::test_a_shell_tells_and_is_told"),
    ),
    "AR4": Row(
        "an envelope with a correlation id",
        "threads and `in_reply_to`",
        ("life/test_asking_back.py::test_a_task_that_answers_one_that_was_sent_is_in_its_thread",
         "life/test_inbox.py::test_a_thread_is_shown_whole_and_claims_nothing"),
    ),
    "AR5": Row(
        "`receive`, `peek`, `count`, `clear`, `subscribe` to everything",
        "`read_inbox`, `peek`, `count`, `clear`, `follow`",
        ("parts/patterns/test_looking.py::test_on_a_new_bus_an_agent_is_registered_sent_to_and_looked_at",
         "parts/patterns/test_clear.py::test_what_waits_is_rejected_what_was_sent_is_withdrawn_and_the_rest_stays",
         "life/test_followed.py::test_each_step_comes_once_from_a_time_on_and_over_a_kill_of_the_server"),
    ),
    "GB1": Row(
        "Publish, Subscribe, QueueSubscribe, Request, Close, with four errors",
        "`publish`, `subscribe`, `request`, `reply`; who asks nobody is told at once",
        ("parts/patterns/test_events.py::test_of_a_group_one_hears_each_event_and_what_nobody_hears_is_gone",
         "parts/patterns/test_events.py::test_a_request_is_answered_or_is_told_at_once_that_nobody_listens",
         "parts/patterns/test_events.py::test_whoever_waits_on_a_bus_that_is_closed_is_told"),
    ),
    "GB2": Row(
        "the same over memory or NATS, a full buffer that drops silently",
        "`Bus.ephemeral()` for tests; what a slow reader missed is said",
        ("shape/test_docs.py::test_the_python_examples_do_what_they_say",
         "parts/patterns/test_events.py::test_what_is_no_event_and_what_a_slow_reader_cannot_take_counts_as_missed"),
        "No bus in memory: one that behaves otherwise than the real one proves nothing.",
    ),
    "GB3": Row(
        "at most once, in order within a subject",
        "so are events; tasks are stored, read in order, and done once",
        ("parts/patterns/test_events.py::test_whoever_listens_hears_the_topics_that_fit_in_order_with_their_sender",
         "life/test_send.py::test_tasks_are_read_in_the_order_in_which_they_were_sent"),
    ),
    "GB4": Row(
        "patterns: broadcast, work queue, discovery, scatter and gather, request and reply",
        "`all`, roles, the roster and `on_gone`, `gather`, `request`",
        ("parts/patterns/test_gather.py::test_it_returns_once_enough_have_answered_and_names_who_has_not",
         "parts/work/test_handlers.py::test_it_is_told_of_an_agent_that_was_killed"),
    ),
}  # fmt: skip


def counted() -> str:
    """Return how many rows are shown by tests, in a sentence."""
    shown = sum(bool(row.tests) for row in FEATURES.values())
    differ = sum(bool(row.differs) for row in FEATURES.values())
    return (
        f"{shown} of {len(FEATURES)} features are shown by tests, {differ} of them differ in part."
    )
