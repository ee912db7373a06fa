# SPDX-License-Identifier: Apache-2.0
"""What is said of a line that cannot be read: what is wrong, and what may have been meant."""

import json
import shlex

import pytest

from mcp_agentbus.cli.main import main
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.version import __version__


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("sendd coder s b", "there is no sendd. Nearest: send"),
        ("server strat", "there is no strat. Nearest: start"),
        ("agent ad x", "there is no ad. Nearest: add"),
        ("send coder s b --priority hihg", "there is no hihg. Nearest: high"),
        ("send coder s b --priorty high", "there is no --priorty. Nearest: --priority"),
        ("agents --limt=3", "there is no --limt=3. Nearest: --limit"),
        ("send --bogus coder", "it takes no '--bogus'. Try: agentbus send --help"),
        ("send --priorty high", "there is no --priorty. Nearest: --priority"),
        ("send --priority high", "Try: agentbus send --priority high TO SUBJECT"),
        ("--json", "it takes no '--json'. Try: agentbus"),
        ("--json send coder s b", "behind their command. Try: agentbus send coder s b --json"),
        ("--agent=me --json inbox", "Try: agentbus inbox --agent=me --json"),
        ("--agent me inbox --peek", "Try: agentbus inbox --peek --agent me"),
        ("agent --json list", "Try: agentbus agent list --json"),
        ("agent --dir . add x -- true", "Try: agentbus agent add x --dir . -- true"),
        ("--limit 3 send coder s b", "invalid choice: '3'"),  # it has no such option
        ("result 1a2b done", "invalid choice: 'done'"),
        ("agents --zzzz", "it takes no '--zzzz'. Try: agentbus agents"),
        ("watch --timeout nan", "'nan' is no duration"),
        ("watch --timeout -1", "'-1' is no duration"),
        ("watch --timeout 61m", "'61m' is not from 0 to 1h"),
        ("send coder s b --wait nan", "'nan' is no duration"),
        ("send coder s b --wait -1", "'-1' is no duration"),
        ("send coder s b --expires-in 8d", "'8d' is not from 1s to 7d"),
        ("send coder s b --deliver-in 0", "'0' is not from 1s to 7d"),
        ("inbox --limit 51", "'51' is no whole number from 1 to 50"),
        ("agents add x --host cursor -- a", "Try: agentbus agent add x --host cursor -- a"),
        ("agents forget x", "Try: agentbus agent forget x"),
        ("agents old x", "it takes no 'x'. Try: agentbus agents old"),
        ("agents --limit 0", "'0' is no whole number from 1 to 1000"),
        ("agent wakes x --limit -1", "'-1' is no whole number"),
    ],
)
def test_wrong_usage_says_what_would_be_right(capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(argv.split())

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("result 1a2b completed all done", "agentbus result 1a2b completed --summary 'all done'"),
        ("result 1a2b completed --zzzz", "agentbus result 1a2b completed"),
        ("server status --zzzz", "agentbus server status"),
        ("agent list list", "agentbus agent list"),
        ("agent --zzzz list", "agentbus agent list"),
        ("agent --json", "agentbus agent --help"),
        ("server --json", "agentbus server --help"),
        ("--zzzz", "agentbus --help"),
        ("--zzzz inbox", "agentbus inbox"),
    ],
)
def test_a_word_too_many_is_told_with_the_usage_of_its_command_and_a_line_to_try(
    capsys, argv, line
):
    with pytest.raises(SystemExit):
        parser().parse_args(argv.split())

    told = capsys.readouterr().err
    command = line.partition(" 1a2b")[0]
    command = {"--zzzz": "agentbus"}.get(argv.split()[0], command)
    command = command.removesuffix(" --help")
    command = "agentbus agent" if argv.startswith("agent --") else command
    assert told.startswith(f"usage: {command} [-h]")
    assert told.endswith(f"Try: {line}\n")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("result 1a2b", "agentbus result 1a2b STATUS"),
        ("result completed --summary s", "agentbus result TASK completed --summary s"),
        ("result 1a2b --summary failed", "agentbus result 1a2b --summary failed STATUS"),
        ("send --json", "agentbus send --json TO SUBJECT"),
        ("server init", "agentbus server init --shared"),
        ("agent add --host command -- cat -n", "agentbus agent add --host command ID -- cat -n"),
        ("agent", "agentbus agent --help"),
        ("watch --timeout --json", "agentbus watch --timeout TIMEOUT --json"),
    ],
)
def test_what_a_command_lacks_stands_in_capitals_in_a_line_to_try(capsys, argv, line):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(argv.split())

    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"Try: {line}\n")


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("inbox --json --limit 99", "argument --limit: '99' is no whole number", "Try: agentbus "),
        (
            "--json send coder s b",
            "options stand behind their command",
            "Try: agentbus send coder ",
        ),
        ("agent --json", "it takes no '--json'", "Try: agentbus agent --help"),
        ("tasks --json --since gestern", "argument --since: ", "Try: agentbus tasks --json "),
    ],
)
def test_wrong_usage_is_data_where_data_was_asked_for(capsys, typed, message, hint):
    with pytest.raises(SystemExit) as ended:
        main(typed.split())

    told = json.loads(capsys.readouterr().out)["error"]
    assert (ended.value.code, told["kind"]) == (2, "BadInput")
    assert told["message"].startswith(message)
    assert told["hint"].startswith(hint)


@pytest.mark.parametrize(
    ("typed", "usage"),
    [
        ("help", "agentbus [-h]"),
        ("help send", "agentbus send "),
        ("help agent add", "agentbus agent add "),
    ],
)
def test_help_is_a_word_as_well(capsys, typed, usage):
    with pytest.raises(SystemExit) as ended:
        main(typed.split())

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {usage}")


@pytest.mark.parametrize("typed", ["--version", "-V", "-v", "version"])
def test_the_version_is_told_however_it_is_asked_for(capsys, typed):
    with pytest.raises(SystemExit) as ended:
        main([typed])

    assert (ended.value.code, capsys.readouterr().out) == (0, f"agentbus {__version__}\n")


def test_wrong_usage_is_no_data_where_a_program_asks_for_its_own(capsys):
    with pytest.raises(SystemExit):
        main(["agent", "list", "--", "x", "--json"])

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("send x huge b --priority huge", "agentbus send x huge b --priority PRIORITY"),
        ("send x s b --priority hihg", "agentbus send x s b --priority high"),
        ("send x s b --priorty=high", "agentbus send x s b --priority=high"),
        ("inbox --limit=x --json", "agentbus inbox --limit=LIMIT --json"),
        ("watch --timeout 61m", "agentbus watch --timeout TIMEOUT"),
        ("result 1a2b done", "agentbus result 1a2b STATUS"),
        ("result completed 2e4367 --json", "agentbus result 2e4367 completed --json"),
        ("sendd x s b", "agentbus send x s b"),
        ("agent zzzz x", "agentbus agent --help"),
        ("clear x1 --yes", "agentbus clear --yes --agent x1"),
        ("clear x1 x2 --yes", "agentbus clear --help"),
        ("clear x1 --yes --agent boss", "agentbus clear --help"),
        ("clear --user=x1 --yes", "agentbus clear --help"),
        ("clear X.Y --yes", "agentbus clear --help"),
        ("inbox coder", "agentbus inbox --agent coder"),
        ("inbox peek", "agentbus inbox --peek"),
        ("inbox 2e4367", "agentbus inbox --help"),
        ("watch 2e4367", "agentbus watch --task 2e4367"),
        ("watch coder", "agentbus watch --agent coder"),
        ("parked coder --json", "agentbus parked --json --agent coder"),
        ("doctor fix", "agentbus doctor --fix"),
        ("answer 1a2b yes please", "agentbus answer 1a2b 'yes please'"),
        ("send x fix the bug now", "agentbus send x 'fix the bug now' BODY"),
        ("send x --no-body fix the bug", "agentbus send x --no-body 'fix the bug'"),
        ("send x fix the --no-body bug now", "agentbus send --help"),
        ("send x fix --json the bug", "agentbus send x fix --json 'the bug'"),
        ("tell x the build is green", "agentbus tell x 'the build is green'"),
        ("approve 1a2b --note yes do it", "agentbus approve 1a2b --note 'yes do it'"),
        ("deny 1a2b not yet", "agentbus deny 1a2b --note 'not yet'"),
        ("work --instruction be quick -- cat", "agentbus work --instruction 'be quick' -- cat"),
        ("work --instruction 'Be quick.' cat", "agentbus work --instruction 'Be quick.' -- cat"),
        ("agent rename a to b", "agentbus agent rename --help"),
        ("server invite my laptop", "agentbus server invite --help"),
    ],
)
def test_what_is_refused_is_put_right_in_a_line_to_try(capsys, argv, line):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(shlex.split(argv))

    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"Try: {line}\n")


@pytest.mark.parametrize(
    ("typed", "as_well"),
    [
        ("send x subject --priority high body", "send x subject body --priority high"),
        ("send x subject --json -- -body", "send --json -- x subject -body"),
        ("tasks shop --json checkout", "tasks shop checkout --json"),
        ("uninstall cursor --dry-run codex", "uninstall cursor codex --dry-run"),
    ],
)
def test_options_may_stand_before_the_last_words(typed, as_well):
    assert parser().parse_args(typed.split()) == parser().parse_args(as_well.split())


def test_whoever_says_yes_to_all_may_say_so_to_what_asks_nothing():
    assert parser().parse_args(["uninstall", "cursor", "--yes"]).yes
