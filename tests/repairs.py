# SPDX-License-Identifier: Apache-2.0
"""What `agentbus doctor --fix` mends, with the test that breaks it and has it mended.

`shape/test_repairs.py` fails for a row whose test is not there; `shape/renew_docs.py` writes the
table of docs/troubleshooting.md from it.
"""

from typing import NamedTuple


class Repair(NamedTuple):
    """Something that goes wrong, and stays so until somebody mends it."""

    #: What its user sees, or would miss.
    seen: str
    #: The check of `agentbus doctor` that names it.
    check: str
    #: What --fix does.
    does: str
    #: As pytest takes it, below tests/.
    test: str


_MENDS = "life/test_doctor_mends.py::test_what_is_broken_is_named_and_mended"

REPAIRS = {
    "write-dead store": Repair(
        "nothing is stored any more since the disk was full, or another write failed", "server",
        "starts the server anew, once its store takes something",
        "faults/test_disk_full.py::test_a_server_that_a_full_disk_has_left_dead_is_started_anew_by_a_fix",
    ),
    "cramped store": Repair(
        "there is no room left, since the server was started while the disk was nearly full",
        "server", "starts the server anew",
        "faults/test_disk_full.py::test_a_server_that_began_on_a_nearly_full_disk_takes_more_once_others_leave_some",
    ),
    "torn consumer": Repair(
        "an inbox cannot be read: what the server keeps of it is damaged, as by a power cut",
        "server", "sets that aside, and starts the server anew; what waits is kept",
        "parts/bus/test_torn.py::test_what_waits_is_read_again_once_doctor_has_mended_it",
    ),
    "missing stream": Repair(
        "a stream is missing", "store", "makes it; what it held is told of as `losses`",
        f"{_MENDS}[missing_stream]",
    ),
    "foreign stream": Repair(
        "nothing is stored: another program's stream has agentbus's subjects", "streams",
        "removes that stream with what it holds, and makes agentbus's; one of the same name on a "
        "shared server stays, and `agentbus doctor` says what to do",
        f"{_MENDS}[foreign_stream]",
    ),
    "changed stream": Repair(
        "somebody has changed how a stream keeps messages", "streams",
        "sets it up anew; it keeps what it holds", f"{_MENDS}[changed_stream]",
    ),
    "foreign consumer": Repair(
        "tasks do not come: another program takes them from the work queue", "consumers",
        "removes that consumer", f"{_MENDS}[foreign_consumer]",
    ),
    "changed consumer": Repair(
        "results do not come: somebody has changed by what they are handed out", "consumers",
        "makes it anew", f"{_MENDS}[changed_consumer]",
    ),
    "missing consumer": Repair(
        "a session is there, and by what it takes its tasks is not", "consumers",
        "makes it", f"{_MENDS}[missing_consumer]",
    ),
    "task without message": Repair(
        "a task is waited for that was deleted", "orphans",
        "ends it as failed, so that its sender is told", f"{_MENDS}[task_without_message]",
    ),
    "message without task": Repair(
        "a task that has ended counts as waiting", "orphans",
        "takes it out of the inbox", f"{_MENDS}[message_without_task]",
    ),
    "task without sender": Repair(
        "a task is stored, and its sender was killed before that was noted", "orphans",
        "notes it: its deadline is kept, and its result comes as asked for",
        f"{_MENDS}[task_without_sender]",
    ),
    "result without copy": Repair(
        "`reply_to` has no copy of a result", "orphans", "stores it",
        f"{_MENDS}[result_without_copy]",
    ),
    "unreadable": Repair(
        "messages that nobody can read take room", "messages",
        "removes those that are nobody's; a task is parked, where its addressee sees it",
        f"{_MENDS}[unreadable]",
    ),
    "repeating schedule": Repair(
        "a schedule of another program puts messages into inboxes again and again", "schedules",
        "removes it", f"{_MENDS}[repeating_schedule]",
    ),
    "kept back": Repair(
        "nothing falls due: one task that fits into no inbox is first", "schedules",
        "ends that one as failed",
        "hostile/test_full_lane.py::test_doctor_names_the_full_lane_and_after_its_fix_others_get_what_has_fallen_due",
    ),
    "folder gone": Repair(
        "an agent is listed whose folder was deleted", "roster",
        "forgets it, unless tasks wait for it", f"{_MENDS}[folder_gone]",
    ),
    "self-test killed": Repair(
        "an agent `doctor-...` of a self-test that was killed stays registered", "roster",
        "forgets it", f"{_MENDS}[self_test_killed]",
    ),
    "shell gone": Repair(
        "a shell claimed a task and is gone (on Linux); the claim would last two hours", "claims",
        "gives the task back, without counting an attempt", f"{_MENDS}[shell_gone]",
    ),
    "host's entry": Repair(
        "a host starts an agentbus that is not there any more", "the host's name",
        "has the host's installer renew agentbus's own entry, hooks or plugin; nothing else there "
        "is touched",
        "parts/installers/test_renewed.py::test_an_entry_whose_program_is_gone_is_renewed_by_a_fix",
    ),
    "files": Repair(
        "a file with a secret is open to others", "files", "`chmod`",
        "life/test_doctor.py::test_what_others_may_read_is_wrong_until_a_fix_closes_it",
    ),
    "server": Repair(
        "the server does not run", "server", "starts it",
        "life/test_doctor.py::test_a_fix_starts_the_server",
    ),
    "listener": Repair(
        "no listener runs, it hangs, or it is of another version", "listener",
        "ends that one, and starts one",
        "life/test_doctor.py::test_a_listener_of_another_version_is_wrong_until_a_fix_replaces_it",
    ),
}  # fmt: skip
