# SPDX-License-Identifier: Apache-2.0
"""Errors are sentences with what to do next."""

import argparse
import doctest
import inspect
import re
from types import SimpleNamespace

import errors_all
import pytest

from mcp_agentbus import errors
from mcp_agentbus.bus.replies import ApiError, NotNow
from mcp_agentbus.cli.carried.commands import Carried
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.errors import AgentbusError, Unconfirmed

CLASSES = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if one.__module__ == errors.__name__
]
# The first word of a hint: an order.
ORDERS = {
    "Ask",
    "Call",
    "Change",
    "Copy",
    "Correct",
    "Finish",
    "Mend",
    "Move",
    "Run",
    "Tell",
    "Use",
    "Wait",
}


def _drawn():
    """Return (class, parent) for each line of the tree in the docstring."""
    path, pairs = [], set()
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r" {4}((?:[│ ] {3})*)(?:[├└]── )?([A-Z][A-Za-z]+)(?: {2,}\S.*)?", line)
        if match:
            depth = len(match[1]) // 4 + ("── " in line)
            path[depth:] = [match[2]]
            pairs.add((match[2], path[depth - 1] if depth else "Exception"))
    return pairs


def test_the_drawn_tree_is_the_tree_of_classes():
    """The docstring shows each class once, under its real parent."""
    assert _drawn() == {(one.__name__, one.__base__.__name__) for one in CLASSES}


def test_the_tree_is_drawn_whole():
    """The parser above sees what a reader sees."""
    assert len(CLASSES) == len(_drawn()) > 10


def test_the_example_in_the_docstring_is_true():
    """The docstring's example prints what it says."""
    failed, tried = doctest.testmod(errors)

    assert (failed, tried > 0) == (0, True)


@pytest.mark.parametrize("error", CLASSES)
def test_every_docstring_is_a_sentence_that_serves_as_the_message(error):
    """An error raised without a message says what its class says."""
    sentence = error.__doc__.splitlines()[0]

    assert re.fullmatch(r"[A-Z][^\n]+ [^\n]+ [^\n]+\.", sentence)
    assert error().message == sentence
    assert str(error()) == f"{sentence} Hint: {error.hint}"


@pytest.mark.parametrize("error", CLASSES)
def test_every_hint_says_what_to_do(error):
    """A hint begins with an order, and is a sentence."""
    assert error.hint.split()[0] in ORDERS
    assert error.hint.endswith(".")
    assert "\n" not in error.hint


@pytest.mark.parametrize("error", [one for one in CLASSES if one is not AgentbusError])
def test_no_class_is_content_with_the_hint_of_all(error):
    """Each class says something of its own."""
    assert error.hint != AgentbusError.hint


@pytest.mark.parametrize("error", CLASSES)
def test_every_exit_code_is_one_that_scripts_know(error):
    """1 refused, 2 usage, 3 bus unreachable, 4 timed out, 5 not known."""
    assert error.exit_code in {1, 2, 3, 4, 5}


def test_exit_code_3_means_that_no_bus_server_answers_and_nothing_else():
    """What was handed over and not confirmed may be stored; and a listener is no bus server."""
    threes = {error for error in errors_all.ALL if error.exit_code == 3}

    assert threes == {one for one in errors_all.ALL if issubclass(one, errors.BusUnreachable)}
    assert errors.Unconfirmed.exit_code == 5
    assert errors.NoListener.exit_code == 1


@pytest.mark.parametrize(
    "error",
    [*(one() for one in CLASSES), ApiError(503), NotNow(503, ""), Unconfirmed(mend="Look.")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_says_more_is_one_alike(error):
    """Whoever adds to it need not know of what it was made."""
    more, of_it = error.saying(f"More. {error.message}"), error.saying(hint="Do more.")

    assert type(more) is type(of_it) is type(error)
    assert (str(more), of_it.message) == (
        f"More. {error.message} Hint: {error.hint}",
        error.message,
    )
    assert of_it.hint == "Do more."
    assert vars(more) == {**vars(error), "message": more.message, "hint": error.hint}


@pytest.mark.parametrize("error", errors_all.ALL)
def test_an_error_of_a_command_in_the_listener_keeps_its_exit_code(error):
    """It is worded there, and only its code and words go to the process of the command."""
    raised, said = error.__new__(error), []
    AgentbusError.__init__(raised, "It went wrong.", hint="Mend it.")
    args = argparse.Namespace(command="task", json=False)
    order = SimpleNamespace(args=args, say=lambda *words: said.append(words))

    assert Carried(parser).complain(order, raised) == error.exit_code
    done = {EXIT_CODE: error.exit_code}
    assert said == [("complain", "agentbus: It went wrong.\nHint: Mend it.", done)]


def test_exit_codes_tell_refusal_usage_and_no_bus_apart():
    """A script can tell what to do from the code alone."""
    codes = [errors.UnknownAgent().exit_code, errors.BadInput().exit_code]

    assert [*codes, errors.BusUnreachable().exit_code] == [1, 2, 3]


def test_a_message_and_a_hint_of_ones_own_replace_the_defaults():
    """What the raiser knows is better than what the class knows."""
    error = errors.BadInput("No.", hint="Say yes.")

    assert (error.message, error.hint) == ("No.", "Say yes.")
    assert str(error) == "No. Hint: Say yes."


def test_a_hint_of_ones_own_stays_with_its_error():
    """The class is not changed by one error of it."""
    errors.BadInput("No.", hint="Say yes.")

    assert errors.BadInput("No.").hint == errors.BadInput.hint != "Say yes."


def test_only_the_first_line_of_a_docstring_is_the_message():
    """The rest is for readers of the code."""

    class Explained(AgentbusError):
        """The bus is closed.

        It closes at night.
        """

    assert Explained().message == "The bus is closed."


def test_an_error_without_a_docstring_still_has_a_message():
    """`python -OO` removes docstrings; an error must not fail while it is made."""

    class Undocumented(AgentbusError):
        pass

    assert Undocumented.__doc__ is None
    assert Undocumented().message == "Undocumented"


@pytest.mark.parametrize(
    "message",
    [
        "The disk is full. Nothing was stored.",
        "Nothing was stored. The disk is full.",
        "The disk is full. Nothing was sent.",
        "The disk is full. Nothing was stored, and no token was sent.",
        "The disk is full.",
    ],
)
def test_why_something_failed_is_told_without_what_became_of_the_call(message):
    assert errors.StoreFull(message).cause == "The disk is full."
