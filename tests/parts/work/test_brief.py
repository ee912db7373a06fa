# SPDX-License-Identifier: Apache-2.0
"""What a program is told of a task: this program's words first, a peer's in one frame only."""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from places import outside_and_inside

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.intake.answer import Item
from mcp_agentbus.store.task import Answer, Task
from mcp_agentbus.work.brief import ARGUMENT_MAX_BYTES, brief, check_place, filled, has_place

AT = datetime(2026, 11, 27, tzinfo=UTC)
HOSTILE = json.loads((Path(__file__).parents[1] / "hostile.json").read_text())


def task(**fields):
    given = {"id": "9d0c", "sender": "planner", "to": "coder", "subject": "Count", "body": "all"}
    given |= {"thread_id": "9d0c", "created_at": AT, "expires_at": AT}
    return Task.model_validate({**given, **fields}, by_name=True)


def item(question, answer, **fields):
    """Return a task that a session before has asked about, and its sender's answer."""
    answers = (Answer(question=AT, at=AT, body=answer),)
    return Item(task(**fields), "claimed", question=question, asked_by="reviewer", answers=answers)


def test_it_begins_with_who_one_is_then_come_the_rules_the_instruction_and_the_task():
    told = brief(Item(task(task_type="review"), "claimed"), "coder", "Answer in German.\n")

    outside, inside = outside_and_inside(told)
    assert told.startswith("You are coder (an agent of your user on agentbus). Another agent, pla")
    places = [outside.index(words) for words in ("Rules:", "Answer in German.", "<<<")]
    assert places == sorted(places)
    assert inside == "    Subject: Count\n    Type: review\n    \n    all"


def test_of_a_role_it_is_said_to_whom_it_was_sent():
    asked = Item(task(to="role-review", priority="high"), "claimed")
    assert "from planner, to role:review, priority high:" in brief(asked, "coder")


def test_of_a_question_it_is_said_who_asked_it_and_that_nobody_has_replied():
    told = brief(Item(task(), "claimed", question="Which?", asked_by="reviewer"), "coder")

    outside, inside = outside_and_inside(told)
    assert "asked, reviewer in task 9d0c, and nobody has replied yet:" in outside
    assert inside.endswith("    Which?")


@pytest.mark.promise(37)
@pytest.mark.parametrize("text", HOSTILE if isinstance(HOSTILE, list) else HOSTILE.values())
def test_whatever_a_peer_writes_stays_inside_the_frame(text):
    plain = outside_and_inside(brief(item("Which?", "Main."), "coder"))[0]
    told = brief(item(str(text), str(text), subject=str(text)[:200], body=str(text)), "coder")

    outside, inside = outside_and_inside(told)
    fences = re.compile("[0-9a-f]{6}")
    assert fences.sub("", outside) == fences.sub("", plain)
    assert all(line.startswith("    ") for line in inside.split("\n"))


def test_the_brief_takes_the_place_that_the_arguments_give_it():
    assert filled(["ai", "--ask={input}", "-q"], "Do it") == ["ai", "--ask=Do it", "-q"]
    assert has_place(["ai", "--ask={input}"])
    assert not has_place(["ai", "{other}"])


def test_an_argument_that_the_system_does_not_take_is_refused_and_says_what_to_do():
    assert filled(["ai", "{input}"], "x" * ARGUMENT_MAX_BYTES)

    with pytest.raises(BadInput, match="131,072 bytes, and the system takes 131,071") as refused:
        filled(["ai", "{input}"], "x" * (ARGUMENT_MAX_BYTES + 1))
    assert "agentbus work -- PROGRAM" in refused.value.hint


@pytest.mark.parametrize(
    "word", ["{input}", "--ask={input}", "-p={input}", "--agent.ask={input}", "--json"]
)
def test_the_brief_may_be_an_argument_or_stand_right_behind_an_option(word):
    check_place(["ai", "-q", word])
    check_place(["sh", "-c", 'ai "$1"', "sh", word])
    check_place(["bash", "-euo", "pipefail", "-c", 'ai "$1"', "bash", word])
    check_place(["bash", "ask.sh", word])


@pytest.mark.parametrize(
    "line",
    [
        "claude -p {input}",
        "claude -c -p {input}",
        "claude -c {input}",
        "codex exec -c model=x {input}",
        "gemini -p {input}",
        "sudo -u me timeout 60 claude -p {input}",
        "sudo -n claude -c {input}",
        "sudo -u me -nEH claude -c {input}",
        "docker exec -i box claude -p {input}",
        "nix develop -c claude -p {input}",
        "node agent.js -p {input}",
        "python3 ask.py {input}",
        "perl -e CODE {input}",
        "ai -message {input}",
        "ai --description {input}",
        "opencode run -c {input}",
        "kimi --print -c {input}",
        "llm -c {input}",
        "nice claude -c {input}",
        "nice -n 5 claude -c {input}",
        "env FOO=1 claude -c {input}",
        "npx -y @anthropic-ai/claude-code -c {input}",
        "docker exec -i box claude -c {input}",
        "node /usr/bin/claude -c {input}",
        "python3 agent.py --command {input}",
        "python3 agent.py -r {input}",
        "python3 -u agent.py -c {input}",
        "mytool --run={input}",
        "timeout 60 mytool --run={input}",
        "bash ask.sh --command {input}",
        "claude --add-dir /srv/su -p {input}",
        "claude --add-dir ../script -p {input}",
        "claude --add-dir ../node -p {input}",
        "claude --agent parallel -p {input}",
        "nice claude --agent parallel -p {input}",
        "mytool --name watch {input}",
        "mytool watch {input}",
        "sudo -u me mytool --name watch {input}",
        "python3 agent.py --name watch {input}",
    ],
)
def test_hosts_and_programs_of_the_users_get_it_as_they_are_called(line):
    check_place(line.split())


@pytest.mark.parametrize(
    "argv",
    [
        ["sh", "-c", 'echo "{input}" | wc'],
        ["python", "-c", "print('{input}')"],
        ["ai", "x={input};"],
        ["ai", "--ask={input};"],
        ["ai", "--ask={input}{input}"],
    ],
)
def test_the_brief_is_no_part_of_a_script(argv):
    with pytest.raises(BadInput, match=r"has \{input\} within a script") as refused:
        check_place(argv)
    assert "agentbus work -- PROGRAM" in refused.value.hint


@pytest.mark.parametrize(
    ("line", "by"),
    [
        ("/bin/bash -c {input}", "-c"),
        ("env LANG=C zsh -lc {input}", "-lc"),
        ("sh -c -- {input}", "-c"),
        ("sh -c --ask={input}", "-c"),
        ("bash -euo pipefail -c {input}", "-c"),
        ("bash -c -o pipefail {input}", "-c"),
        ("bash --rcfile /dev/null -xc {input}", "-xc"),
        ("bash-5.2 -cx {input}", "-cx"),
        ("ksh93 -c -x {input}", "-c"),
        ("fish -C {input}", "-C"),
        ("fish --init-command={input}", "--init-command"),
        ("python3.11 -Ic {input}", "-Ic"),
        ("perl -w -lane {input}", "-lane"),
        ("node --print={input}", "--print"),
        ("nodejs -p {input}", "-p"),
        ("php -r {input}", "-r"),
        ("env -S {input}", "-S"),
        ("emacs --batch --eval {input}", "--eval"),
        ("gdb -ex {input}", "-ex"),
        ("find . -exec sh -c {input} ;", "-c"),
        ("docker exec -it box python3 -c {input}", "-c"),
        ("ssh pi cat {input}", "ssh"),
        ("sudo /usr/bin/ssh pi cat {input}", "ssh"),
        ("su --command={input}", "su"),
        ("script -qc {input} /dev/null", "script"),
        ("pwsh.exe -File ask.ps1 {input}", "pwsh"),
        ("tmux new -d {input}", "tmux"),
        ("sh -c eval {input}", "eval"),
        ("gawk {input}", "gawk"),
        ("mytool -c {input}", "-c"),
        ("mytool node -p {input}", "-p"),
        ("python3 wrap.py perl -lane {input}", "-lane"),
        ("nice mytool -e {input}", "-e"),
        ("psql --command={input}", "--command"),
        ("nix develop --command {input}", "--command"),
        ("python3 -W ignore.me -c {input}", "-c"),
        ("node --env-file .env -e {input}", "-e"),
        ("node inspect -e {input}", "-e"),
        ("python3 -m pdb ./x.py -c {input}", "-c"),
        ("claude ssh pi cat {input}", "ssh"),
        ("env -i ssh pi cat {input}", "ssh"),
        ("deno eval {input}", "eval"),
        ("codex sandbox linux python3 -c {input}", "-c"),
        ("sudo -u claude -H python3 -c {input}", "-c"),
        ("sudo -nu claude ssh pi cat {input}", "ssh"),
        ("sudo -u claude -H ssh pi cat {input}", "ssh"),
        ("docker exec claude bash -c {input}", "-c"),
        ("mytool bash -c -o pipefail {input}", "-c"),
    ],
)
def test_the_brief_does_not_stand_where_something_runs_it(line, by):
    with pytest.raises(BadInput, match=rf"has \{{input\}} behind {by}, where") as refused:
        check_place(line.split())
    assert "agentbus work -- PROGRAM" in refused.value.hint


@pytest.mark.parametrize(
    "body", ["touch made", "'; touch made; #", '"; touch made; #', ")\n touch made"]
)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_that_gets_it_all_the_same_stops_at_our_first_words(shell, body, tmp_path):
    told = brief(item("Which?", body, body=body, subject=body), "coder", "Answer in German.")

    subprocess.run([shell, "-c", f"cat {told}"], cwd=tmp_path, capture_output=True, check=False)

    assert list(tmp_path.iterdir()) == []
    assert not re.search("['\"`]", outside_and_inside(told)[0])
