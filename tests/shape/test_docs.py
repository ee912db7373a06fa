# SPDX-License-Identifier: Apache-2.0
"""README and docs/ are true: what is generated is fresh, examples run, links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import get_args

import configuration
import demo_picture
import forking
import pytest
import renew_docs
from test_shape import FILES, ROOMS
from variables import VARIABLES

import mcp_agentbus
from mcp_agentbus import Options, __version__
from mcp_agentbus.config import folder_file
from mcp_agentbus.config.sections import server
from mcp_agentbus.shared.accounts.store import STREAM as ACCOUNTS
from mcp_agentbus.shared.replacement.carried import STREAM as BEFORE
from mcp_agentbus.store.outbox.own import STREAM as OUTBOX
from mcp_agentbus.store.streams import STREAMS
from mcp_agentbus.tools.catalog import TOOLS
from mcp_agentbus.work import worker_file

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in renew_docs.pages()}
LINKED = {
    **DOCS,
    **{
        page.relative_to(ROOT).as_posix(): page.read_text()
        for page in [ROOT / "CHANGELOG.md", *(ROOT / ".github").rglob("*.md")]
    },
}
RUN = "run: python tests/shape/renew_docs.py"


def shown(page):
    """A page as it is read: without what stands in blocks of code."""
    return re.sub(r"^```.*?^```", "", LINKED[page], flags=re.DOTALL | re.MULTILINE)


def anchors(text):
    """The places in a page that a link can lead to, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCS)
def test_the_generated_parts_are_fresh(page):
    assert renew_docs.renewed(DOCS[page]) == DOCS[page], RUN


def test_the_page_of_commands_is_fresh():
    assert renew_docs.every_command() == renew_docs.CLI.read_text(), RUN


def test_the_picture_shows_what_the_demo_says():
    with forking.on():
        now = demo_picture.told(demo_picture.drawn(demo_picture.run()))

    assert now == demo_picture.told(demo_picture.PICTURE.read_text()), RUN


def test_the_picture_loads_nothing_and_names_no_folder_of_a_machine():
    picture = demo_picture.PICTURE.read_text()

    assert set(re.findall(r"https?://[^\"' )]+", picture)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"/(tmp|home|Users|root|work|var)\b", picture)


def test_every_generated_part_stands_on_one_page():
    names = [name for text in DOCS.values() for name in renew_docs.parts_of(text)]

    assert sorted(names) == sorted(renew_docs.PARTS)


def test_nothing_is_said_twice():
    """A sentence of prose stands on one page; a link leads to it from the others."""
    told = [
        sentence.strip()
        for page in DOCS
        for sentence in re.split(r"(?<=[.!?:])\s+|\n|\|", shown(page))
        if len(sentence.strip()) > 50
    ]

    assert {one for one in told if told.count(one) > 1} <= configuration.sentences()


def test_readme_installs_into_an_environment_of_its_own_and_says_why():
    """Beside packages that need mcp 1, ours breaks both."""
    [connect] = re.findall(
        r"<!-- command: connect -->\n```sh\n(.*?)```\n(.*?)\n##", README, re.DOTALL
    )
    commands, why = connect

    assert re.match(r"uv tool install mcp-agentbus +# or: pipx install mcp-agentbus", commands)
    assert "pip install mcp-agentbus" not in README
    assert "`mcp` 1" in why


def test_readme_has_at_most_200_lines():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", [page for page in DOCS if page != "README.md"])
def test_every_page_begins_with_its_title_and_what_it_is_for(page):
    title, blank, about, *_ = DOCS[page].splitlines()

    assert title.startswith("# ")
    assert blank == ""
    assert about
    assert about[0] not in "#|<`-"


@pytest.mark.parametrize("page", [page for page in DOCS if page != "README.md"])
def test_every_page_is_linked_from_readme(page):
    assert f"]({page}" in README


@pytest.mark.parametrize("page", LINKED)
def test_every_link_leads_somewhere(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", shown(page)):
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if "://" in target:
            continue
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            lost.append(target)

    assert lost == []


KEYWORD = re.compile(r"`(\w+)`")
EXAMPLES = dict(
    re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", DOCS["docs/python.md"], re.DOTALL)
)
PRINTS = {
    "python": "three\n",
    "options": "True True\nTrue\nnothing\n",
    "worker": "3 words\n",
    "gather": "['looks good', 'looks good']\n['third']\n",
    "events": "builder build.done 214 tests pass\nyes\nnobody listens\n",
    "test": "",
}


def test_every_python_example_is_run():
    assert list(EXAMPLES) == list(PRINTS)
    assert DOCS["docs/python.md"].count("```python") == len(EXAMPLES)


def test_what_may_be_said_of_a_task_is_all_in_its_table_and_its_example():
    table = DOCS["docs/python.md"].partition("| keyword |")[2].partition("\n\n")[0]
    cells = [line[1:].split("|")[0] for line in table.splitlines()]
    described = [name for cell in cells for name in KEYWORD.findall(cell)]

    assert sorted(described) == sorted(Options.__annotations__)
    assert all(re.search(rf"\b{name}\b", EXAMPLES["options"]) for name in described)


def test_each_input_of_a_tool_is_one_in_python_or_the_page_says_what_is_in_its_place():
    line = re.search(r"^- `send_task`.*", DOCS["docs/python.md"], re.MULTILINE)[0]
    lacking = {
        name: set(tool.schema["properties"]) - _parameters(getattr(mcp_agentbus, name))
        for name, tool in TOOLS.items()
    }

    assert {name: lacks for name, lacks in lacking.items() if lacks} == {
        "read_inbox": {"task_id", "detail", "view", "query"}
    }
    assert all(f"`{name}`" in line for name in lacking["read_inbox"])
    for call in re.findall(r"`(\w+\([^`]+\))`", line):
        made = ast.parse(call, mode="eval").body
        given = {each.arg for each in made.keywords}
        assert given <= _parameters(getattr(mcp_agentbus, made.func.id))


def _parameters(function):
    """The names by which a function is given something, those of a TypedDict among them."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    open_ = [get_args(each.annotation)[0] for each in parameters if each.kind == each.VAR_KEYWORD]
    return {each.name for each in parameters}.union(*(each.__annotations__ for each in open_))


@pytest.mark.parametrize("example", PRINTS)
def test_the_python_examples_do_what_they_say(example):
    code, prints = EXAMPLES[example], PRINTS[example]

    with forking.on():
        ran = forking.ran([sys.executable, "-W", "error", "-c", code], 60)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, prints, "")


@pytest.mark.parametrize("table", configuration.TABLES)
def test_every_key_of_config_toml_is_described(table):
    assert sorted(configuration.TABLES[table]) == sorted(configuration.keys_of(table))


def test_every_table_of_config_toml_is_described():
    assert {name.partition(".")[0] for name in configuration.TABLES} == set(
        configuration.tables_known()
    )


def test_every_key_of_a_folders_file_is_described():
    assert set(configuration.FOLDER) == set(folder_file._IN_FOLDER)


def test_the_examples_of_an_agents_keys_are_taken_with_each_host_that_they_are_for():
    refused = {
        (key, host): configuration.refused(configuration.agent_with(key, one.example, host))
        for key, one in configuration.AGENT.items()
        for host in configuration.hosts_of(key)
    }

    assert {which: why for which, why in refused.items() if why} == {}


@pytest.mark.parametrize("key", configuration.SERVER)
def test_the_example_of_a_key_of_a_server_is_taken_with_what_it_needs(key):
    """But beside no other, as there is one way to log in."""
    needed = [each for each in (key, server._NEEDS.get(key)) if each]
    lines = [f"{each} = {configuration.SERVER[each].example}" for each in needed]

    assert configuration.refused("\n".join(["[server]", *lines])) == ""


@pytest.mark.parametrize("table", ["wake", "archive"])
def test_the_examples_of_a_table_are_taken(table):
    lines = [f"{key} = {one.example}" for key, one in configuration.TABLES[table].items()]

    assert configuration.refused("\n".join([f"[{table}]", *lines])) == ""


def test_the_blocks_of_toml_are_taken(tmp_path):
    for page, text in DOCS.items():
        for block in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if block.startswith("# agentbus.toml"):
                (tmp_path / "agentbus.toml").write_text(block)
                assert worker_file.read(str(tmp_path / "agentbus.toml")), page
            elif not block.startswith("# .agentbus.toml"):
                assert configuration.refused(block) == "", page
            assert tomllib.loads(block)


def test_every_variable_that_the_code_names_is_described():
    assert configuration.variables_in_the_code() - {*STREAMS, ACCOUNTS, OUTBOX, BEFORE} == {
        variable.name for variable in VARIABLES
    }


def test_the_symptoms_that_are_quoted_are_said_by_the_code():
    joined = configuration.said_by_the_code()
    rows = re.findall(r"^\| (.*?) \|", DOCS["docs/troubleshooting.md"], re.MULTILINE)
    quoted = [
        part
        for row in rows
        for one in re.findall(r'"(.*?)"', row)
        for part in re.split(r" ?\.\.\. ?", one)
    ]

    assert [one for one in quoted if one not in joined] == []


def test_every_word_that_is_explained_is_used():
    """As it is, or as the name of a file: a word that the code has given up leaves the list."""
    used = " ".join([configuration.said_by_the_code(), *map(str, FILES), *ROOMS]).casefold()
    lists = README.partition("## Words")[2].partition("\n## ")[0] + DOCS["docs/words.md"]
    words = [
        word
        for row in re.findall(r"^\| ([a-z, ]+) \|", lists, re.MULTILINE)
        for word in row.split(", ")
        if word != "word"
    ]

    assert len(words) > 40
    assert len(set(words)) == len(words)
    assert [word for word in words if not re.search(rf"\b_?{word.replace(' ', '')}", used)] == []


def test_the_changelog_speaks_of_this_version():
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def unanswered(changelog):
    """Return what the entries of a changelog do not say of versions on one bus."""
    entries = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    wire = {entry.split("\n")[0]: entry.partition("\n### Wire\n")[2] for entry in entries}
    return [
        (entry, question)
        for entry, answers in wire.items()
        for question in ("Messages", "Subjects", "Streams", "Tools")
        if not re.search(rf"^- {question}: \S.*\.$", answers.partition("\n### ")[0], re.MULTILINE)
    ]


def test_each_entry_of_the_changelog_says_whether_versions_go_together_on_one_bus():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    silent = "\n## [9.9.9]\n\n### Wire\n\n- Messages: as before.\n- Tools: \n\n### Added\n\n- Streams: .\n"

    assert unanswered(changelog) == []
    assert unanswered(changelog + silent) == [
        ("[9.9.9]", question) for question in ("Subjects", "Streams", "Tools")
    ]


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["project"]["dynamic"] == ["version"]
    assert "mcp_agentbus.version.__version__" in str(project["tool"]["setuptools"]["dynamic"])
