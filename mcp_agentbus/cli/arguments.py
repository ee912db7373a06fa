# SPDX-License-Identifier: Apache-2.0
"""What is typed, as argparse does not read it: durations, numbers with limits, and near misses.

    >>> duration(0, 3600)("1h")
    3600.0
    >>> parser.parse_args(["watch", "--timout", "5"])
    error: there is no --timout. Nearest: --timeout. Try: agentbus watch --timeout 5

Every command line loads it, so it loads next to nothing itself.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar

_T = TypeVar("_T")
#: How argparse says that something was not typed.
_LACKS: Final = "the following arguments are required"
# What a person writes in words, which a shell takes apart where they stand in no quotes.
_TEXTS: Final = frozenset(("subject", "body", "summary", "note", "description", "instruction"))
# What is a text, or refused in words of its own; elsewhere an empty value would be taken for none.
_MAY_BE_EMPTY: Final = _TEXTS | {"to", "query", "words", "cursor", "request_id"}


def duration(low: float, high: float) -> Callable[[str], float]:
    """Return what reads a duration of `low` to `high` seconds."""
    return _typed(lambda text, written: text.seconds(written, low, high))


def whole_seconds(low: int, high: int) -> Callable[[str], int]:
    """Return what reads the same for those who count in whole seconds."""
    return _typed(lambda text, written: round(text.seconds(written, low, high)))


def count(high: int) -> Callable[[str], int]:
    """Return what reads a number of things, 1 to `high`."""
    return _typed(lambda text, written: text.whole(written, 1, high))


def moment(written: str) -> str:
    """Return a time that was typed as RFC 3339 has it, or how long ago it was, as it was typed."""
    read: Callable[[str], str] = _typed(lambda text, when: text.since(when))
    return read(written)


def _typed(read: Callable[[Any, str], _T]) -> Callable[[str], _T]:
    """Return what reads a value and says what is wrong with it; it loads what it takes late."""

    def typed(written: str) -> _T:
        from mcp_agentbus.core import text

        try:
            return read(text, written)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


class WrongUsage(SystemExit):
    """A line that was typed cannot be read. It was said so, as argparse does, to who typed it."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class Parser(argparse.ArgumentParser):
    """Says of each fault how its own command is typed, and what line may have been meant.

    argparse leaves a word too many to the parser above, whose usage names other commands only.
    """

    #: The option that takes a text which was typed as one more word; empty if there is none.
    text_option = ""
    #: Whether a line without a word that was typed may do what nobody meant.
    needs_each_word = False
    #: Whether what follows `--` is a program: it stays as it is, where argparse would take its
    #: options for ours, and is `argv` of what was parsed.
    takes_program = False
    #: Whether it takes words of its own; else one before `--` was meant for the program.
    takes_words = True
    #: All that was typed; what was after the command; behind it, `--` and the program.
    whole: Sequence[str] = ()
    typed: Sequence[str] = ()
    behind: Sequence[str] = ()

    def __init__(self, **more: Any) -> None:
        # `--body x` would be read as `--body-file x`.
        super().__init__(allow_abbrev=False, **more)

    def parse_known_args(  # type: ignore[override]  # its overloads say the same
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse all of it; end with an error at a word that the command does not take."""
        typed = list(sys.argv[1:] if args is None else args)
        self.whole = [*self.prog.split()[1:], *typed]
        if self.takes_program:
            cut = typed.index("--") if "--" in typed else len(typed)
            typed, self.behind = typed[:cut], typed[cut:]
            self.check_program()
        self.typed = typed
        parsed, rest = super().parse_known_args(typed, namespace)
        rest = self._left(parsed, rest)
        if rest:
            self._takes_no(rest, typed, parsed)
        self._check_empty(parsed)
        if self.takes_program:
            parsed.argv = self.behind[1:]
        return parsed, rest

    def check_program(self) -> None:
        """End with an error where the program that stands behind `--` is not taken."""

    def _left(self, parsed: argparse.Namespace, rest: list[str]) -> list[str]:
        """Return the words that nothing takes, without those that its last argument does.

        Before Python 3.12.7 that is over for argparse where an option stands before its words.
        """
        last = next(reversed(self._get_positional_actions()), None)
        words = rest[1:] if rest[:1] == ["--"] else rest
        if last is None or not words or (words is rest and any(map(_is_option, rest))):
            return rest
        rest = words
        if last.nargs in {"*", "+"}:
            getattr(parsed, last.dest).extend(rest)
            return []
        has_none = getattr(parsed, last.dest, None) == last.default
        if last.nargs != "?" or not has_none or last.default in self.typed:
            return rest
        setattr(parsed, last.dest, rest[0])
        return rest[1:]

    def _check_empty(self, parsed: argparse.Namespace) -> None:
        """End with an error where a value is empty: a script would go on as somebody else."""
        for action in self._actions:
            value = getattr(parsed, action.dest, None)
            given = value if isinstance(value, list) else [value]
            may_be = "" in (action.default, action.const) or action.dest in _MAY_BE_EMPTY
            if "" in given and not may_be:
                name = [action.dest, *filter(None, [action.metavar]), *action.option_strings][-1]
                self.error(f"argument {name}: '' is empty, as of a variable that is not set")

    def _takes_no(
        self, rest: Sequence[str], typed: list[str], parsed: argparse.Namespace | None = None
    ) -> NoReturn:
        words = " ".join(word[:40] for word in rest)
        lacks_program = not self.takes_words and not self.behind
        if parsed and not lacks_program and (line := self._in_quotes(parsed, rest)):
            self.error(f"it takes no {words!r}. {line}")
        if not self.takes_words and not rest[0].startswith("-"):
            at = typed.index(rest[0])
            self.typed, self.behind = typed[:at], ["--", *typed[at:], *self.behind[1:]]
            self.error(f"a program stands behind --. {self._try()}")
        if line := self._misplaced():
            self.error(line)
        options = _options(self)
        for word in rest:
            option = word.partition("=")[0]
            if word.startswith("--") and (near := _nearest(option, options)):
                line = self._instead(typed.index(word), near + word.removeprefix(option))
                self.error(f"there is no {word[:40]}. Nearest: {near}. {line}")
            at = len(typed) - typed[::-1].index(word)  # of two equal words the last is too many
            del typed[at - 1]
        meant = [] if any(map(_is_option, rest)) else self._meant_by(rest)
        self.typed = [*typed, *meant]
        # Without who was named it would be done for somebody else; without one of its commands it
        # would only be refused again.
        names = self._is_anyones() and not all(map(_is_option, rest))
        if not meant and (names or self.needs_each_word):
            self.typed, lacks = [], "--help"
        else:
            lacks = "" if self._is_whole() else "--help"
        self.error(f"it takes no {words!r}. {self._try(lacks)}")

    def _in_quotes(self, parsed: argparse.Namespace, words: Sequence[str]) -> str:
        """Return the line to try in which words too many stand in the quotes of their text.

        It is empty if they follow none.
        """
        typed, count = self.typed, len(words)
        before = [at for at in range(1, len(typed)) if typed[at + 1 : at + 1 + count] == words]
        start = before[-1] if before and not any(map(_is_option, words)) else 0
        option = self._option_string_actions.get(typed[start - 1]) if start else None
        lacks = ""
        if option is None or option.dest not in _TEXTS:
            if not start or typed[start] != getattr(parsed, "body", None):
                return ""
            if typed[start - 1] == getattr(parsed, "subject", None) and " " not in parsed.subject:
                start -= 1
                lacks = "" if getattr(parsed, "no_body", True) or parsed.body_file else "BODY"
        end = before[-1] + 1 + count
        self.typed = [*typed[:start], " ".join(typed[start:end]), *typed[end:]]
        return self._try(lacks)

    def _meant_by(self, words: Sequence[str]) -> list[str]:
        """Return the option as which words too many may have been meant; nothing if none is."""
        from mcp_agentbus.core.ids import is_agent

        if self.text_option:
            return [self.text_option, " ".join(words)]
        [word, *more] = words
        flags = [name for each in self._actions if each.nargs == 0 for name in each.option_strings]
        if f"--{word}" in flags and not more:
            return [f"--{word}"]
        if more or not self._is_anyones() or "--agent" in self.typed:
            return []
        if re.fullmatch("[0-9a-f]{6,32}", word):
            return ["--task", word] if "--task" in _options(self) else []
        return ["--agent", word] if is_agent(word) else []

    def _is_anyones(self) -> bool:
        """Tell whether it takes nothing but options, and among them for whom it is done."""
        return not self._get_positional_actions() and "--agent" in _options(self)

    def _is_whole(self) -> bool:
        """Tell whether one of its commands was typed, where it has any."""
        below = [action.choices for action in self._actions if isinstance(action.choices, dict)]
        return all(set(self.typed) & set(commands) for commands in below)

    def _strange(self) -> list[str]:
        """Return the options that were typed and that it does not have."""
        known = _options(self)
        cut = [*self.typed, "--"].index("--")
        options = (word for word in self.typed[:cut] if word.startswith("--"))
        return [word for word in options if word.partition("=")[0] not in known]

    def _misplaced(self) -> str:
        """Return what is wrong where a command's options stand before it, with the line to try."""
        cut = [*self.typed, "--"].index("--")
        for action in self._actions:
            commands = action.choices if isinstance(action.choices, dict) else {}
            at = next((at for at, word in enumerate(self.typed[:cut]) if word in commands), 0)
            before = self.typed[:at]
            options = _options(commands[self.typed[at]]) if at else []
            if before[:1] and all(
                word.partition("=")[0] in options
                for word in (before[0], *filter(_is_option, before))
            ):
                self.typed = [*self.typed[at:cut], *before, *self.typed[cut:]]
                return f"options stand behind their command. {self._try()}"
        return ""

    def _try(self, lacks: str = "") -> str:
        """Return the line to try: what was typed, with what it lacks, if anything, in capitals."""
        import shlex

        typed = shlex.join([*self.prog.split(), *self.typed])
        behind = shlex.join(self.behind)
        return f"Try: {' '.join(filter(None, (typed, lacks, behind)))}"

    def _lacking(self, message: str) -> str:
        """Return the line to try where argparse misses something; empty if it does not."""
        if missing := re.fullmatch(rf"{_LACKS}: (.+)", message):
            names = missing[1].split(", ")
            places = self._get_positional_actions()
            choices = (places[-1].choices if places else None) or ()
            chosen = (at for at, word in enumerate(self.typed) if word in choices)
            at = next((at for at in chosen if not self._is_value(at)), None)
            if at is not None and names == [places[-1].dest]:  # it was taken for the one before
                return self._instead(at, f"{places[0].metavar}", self.typed[at])
            # Which commands there are, its help says, each with what it does.
            lacks = "--help" if names[0] in {"COMMAND", "ACTION"} else " ".join(map(_due, names))
            return self._try(lacks)
        option = re.fullmatch(r"argument (?:.+/)?(--[a-z-]+): expected one argument", message)
        if option and option[1] in self.typed:
            at = len(self.typed) - self.typed[::-1].index(option[1])
            self.typed = [*self.typed[:at], option[1].lstrip("-").upper(), *self.typed[at:]]
            return self._try()
        return ""

    def _is_value(self, at: int) -> bool:
        """Tell whether the word there is the value of the option before it."""
        option = self._option_string_actions.get(self.typed[at - 1]) if at else None
        return option is not None and option.nargs != 0

    def _refused(self, message: str, near: str) -> str:
        """Return the line to try where a value is refused: with the nearest, or with its name.

        A word before it that is one of those it may be was meant for it.
        """
        wrong = re.match(r"argument (.+?): (?:invalid choice: )?'(.*?)'(?: |$)", message)
        if wrong is None:
            return ""
        option, given = wrong[1].rpartition("/")[2], wrong[2]
        choices = set(re.findall(r"[\w-]+", message.partition("(choose from ")[2]))
        if option in {"COMMAND", "ACTION"} and not near:
            self.typed = []
            return self._try("--help")
        due = near or option.lstrip("-").upper()
        of = option if option.startswith("-") else None
        for at, word in enumerate(self.typed):
            before = self.typed[at - 1 : at]
            if not near and of is None and word == given and set(before) & choices:
                self.typed = [*self.typed[: at - 1], word, *before, *self.typed[at + 1 :]]
                return self._try()
            if word == f"{option}={given}":
                return self._instead(at, f"{option}={due}")
            if word == given and (of is None or self.typed[at - 1] == of):
                return self._instead(at, due)
        return ""

    def _instead(self, at: int, *right: str) -> str:
        """Return the line to try that has this in the place of the word there."""
        self.typed = [*self.typed[:at], *right, *self.typed[at + 1 :]]
        return self._try()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        from mcp_agentbus.cli.grammar import elsewhere

        # A program has options of its own, wherever it was typed.
        if line := "" if self.takes_program else elsewhere.here(self.whole):
            why = elsewhere.left_out(self.whole)
            self._end(f"this is typed otherwise here{why}. Try: {line}")
        if line := self._misplaced():
            self._end(line)
        if message.startswith(_LACKS) and (strange := self._strange()):
            self._takes_no(strange, list(self.typed))
        wrong = re.search(r"invalid choice: '(.+)' \(choose from (.+)\)", message)
        near = _nearest(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else ""
        line = self._lacking(message) or self._refused(message, near)
        if wrong and near:
            message = f"there is no {wrong[1][:40]}. Nearest: {near}"
        elif message.startswith("argument COMMAND"):  # of dozens nobody reads a list of names
            message = message.partition(" (choose from")[0]
        self._end(f"{message}. {line}" if line else message)

    def _end(self, message: str) -> NoReturn:
        """Print how it is typed and what is wrong, and end.

        Raises:
            WrongUsage: always.
        """
        try:
            super().error(message)
        except SystemExit:
            raise WrongUsage(message) from None


class Untold(Exception):  # nothing need be wrong: it may be help that was asked for
    """Something is to be told of a line that was typed, by the process in which it was."""


class QuietParser(Parser):
    """Reads what was typed elsewhere, and tells nothing of it here."""

    def error(self, message: str) -> NoReturn:
        """Leave it to be told there.

        Raises:
            Untold: always.
        """
        raise Untold(message)

    def _print_message(self, message: str, file: Any = None) -> None:  # noqa: ARG002
        raise Untold(message)


def _options(of: argparse.ArgumentParser) -> list[str]:
    return re.findall(r"--[a-z][a-z-]+", of.format_help())


def _due(name: str) -> str:
    """Return how what is missing stands in a line to try: an option as it is, else in capitals."""
    return name if _is_option(name) else name.upper()


def _is_option(word: str) -> bool:
    return word.startswith("-")


def _nearest(word: str, known: Sequence[str]) -> str:
    """Return the one of these that is meant, if one is like it; else nothing."""
    from difflib import get_close_matches

    # By their letters: two dashes make any two short options alike.
    names = {name.lstrip("-"): name for name in known}
    return next(
        (names[near] for near in get_close_matches(word.lower().lstrip("-"), names, n=1)), ""
    )


class WithProgram(Parser):
    """The commands of `agent`, of which only `add` takes a program."""

    takes_program = True

    def check_program(self) -> None:
        """End with an error where none is taken."""
        if self.behind[1:] and not self.prog.endswith(" add"):
            self.error("only `agent add` takes a program after --")
