# SPDX-License-Identifier: Apache-2.0
"""The errors that a caller of this package may see, each with what to do next.

    >>> str(AlreadyEnded("Task 7f has failed."))
    'Task 7f has failed. Hint: Call task_life with this task_id to see the stored result.'

A class docstring is the default message. Errors never carry a peer's text, a credential or a path
of another user: a model reads them.

    AgentbusError
    ├── Refused                nothing was stored or changed
    │   ├── BadInput           a value breaks its rule; nothing was sent or stored
    │   │   └── TooLarge       ... or is more bytes than the bus takes as one message
    │   ├── UnknownAgent       nobody of that name is registered
    │   ├── UnknownTask        this agent neither sent nor received such a task
    │   ├── NotYourTask        the task is somebody else's to finish or to cancel
    │   ├── NotClaimed         the task is this agent's, but this session does not hold it
    │   ├── AlreadyEnded       the task has another result already
    │   ├── NotAccepted        the addressee takes no tasks of this sender
    │   ├── HopLimit           agents are handing work round in a circle
    │   ├── SendLimit          this agent has sent as many tasks as a minute allows
    │   ├── InboxFull          the addressee's inbox takes no more from this sender
    │   ├── StoreFull          the bus has no room left
    │   ├── NotAllowed         the server's permissions forbid it
    │   ├── NameTaken          an agent of that name is another account's
    │   ├── ArchiveBroken      the file of what became of tasks cannot be used
    │   └── BadSetup           settings or files on this machine need mending
    ├── BusUnreachable         no server answers: nothing was handed over
    │   ├── OutOfReach         one runs, in a network or container that nothing here reaches
    │   ├── CutOff             one ends each connection as it begins
    │   │   └── Crowded        ... as it allows this login no more of them
    │   ├── Untrusted          one answers, and is not known by TLS to be the right one
    │   └── GateAway           one answers, and its gate does not
    ├── Unconfirmed            handed over, but the server did not confirm it in time
    ├── NoAnswer               a request was handed over, and nobody answered it in its time
    │   └── NobodyListens      nobody is there to hear it
    └── NoListener             no listener runs for this user
        └── SilentListener     one runs, and does not answer here

`replies.ApiError` is a `Refused` besides, in the bus server's words. The listener names an error of
a command to `relay` by its class, so whatever has an exit code of its own must be in this file.
"""

from __future__ import annotations

from typing import Final, Self

# What a message says of the call beside why; the first has the second in it.
_OF_THE_CALL: Final = (
    "Nothing was stored, and no token was sent.",
    "Nothing was stored.",
    "Nothing was sent.",
)
#: The exit code of a command that waited in vain, which is no error.
TIMED_OUT: Final = 4
#: That of one that waited for tasks, and all have an answer, but not each was completed.
NOT_DONE: Final = 6


class AgentbusError(Exception):
    """Something went wrong on the bus."""

    hint = "Run `agentbus server status`."

    # Exit code of the command line: 1 refused, 2 usage, 3 bus unreachable, 5 not known.
    exit_code = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        # `python -OO` has no docstrings.
        self.message = message or (self.__doc__ or type(self).__name__).partition("\n")[0]
        if hint:
            self.hint = hint
        super().__init__(f"{self.message} Hint: {self.hint}")

    @property
    def cause(self) -> str:
        """Why, without what became of the call: for whoever tells it of something else."""
        message = self.message
        for outcome in _OF_THE_CALL:
            message = message.replace(f" {outcome}", "").replace(f"{outcome} ", "")
        return message

    def saying(self, message: str = "", *, hint: str = "") -> Self:
        """Return a copy of this error with another message, another hint, or both.

        All else that it knows stays, whatever arguments its kind is made from.
        """
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        AgentbusError.__init__(other, message or self.message, hint=hint or self.hint)
        return other


class Refused(AgentbusError):
    """The request was refused. Nothing was stored."""

    hint = "Change the request as the message says."


class BadInput(Refused):
    """A value breaks its rule. Nothing was sent."""

    hint = "Correct the value and call again."
    exit_code = 2


class TooLarge(BadInput):
    """The message is larger than the bus takes. Nothing was stored."""

    hint = (
        "Call again with the path or URL of a file that both agents can reach: each control "
        "character takes six times its room here."
    )


class UnknownAgent(Refused):
    """No agent of that name is registered. Nothing was sent."""

    hint = (
        "Run `agentbus agents` to see who is there; an agent is known from the first call of a "
        "tool in a session of it, or from `agentbus agent add`, on."
    )


class UnknownTask(Refused):
    """This agent neither sent nor received a task with that id."""

    hint = "Copy the task_id from a receipt or from read_inbox, all of it."


class NotYourTask(Refused):
    """Only the addressee finishes a task, and only its sender cancels it."""

    hint = "Use send_task to tell the other agent what you found."


class NotClaimed(Refused):
    """This session does not hold that task."""

    hint = "Call read_inbox: it claims waiting tasks and shows the ones this session holds."


class AlreadyEnded(Refused):
    """The task has ended with another result. Nothing was stored."""

    hint = "Call task_life with this task_id to see the stored result."


class NotAccepted(Refused):
    """The addressee takes no tasks of this sender. Nothing was stored."""

    hint = (
        "Ask your user: whose tasks the addressee takes is for its own user to say, by accept_from "
        "in config.toml there. Or send it to another agent: list_agents shows who is there."
    )


class HopLimit(Refused):
    """The task would travel too far from agent to agent. Nothing was sent."""

    hint = (
        "Finish the task you hold with publish_result instead of passing it on, or wait for the "
        "others to end: what this agent had at hand within 10 minutes counts. "
        "Ask the person you work for if agents keep handing it round."
    )


class SendLimit(Refused):
    """This agent has sent as many tasks as a minute allows. Nothing was sent."""

    hint = "Wait a minute, then send it again."


class InboxFull(Refused):
    """The inbox takes no more tasks from this sender. Nothing was stored."""

    hint = "Wait until the other agent has read some, or cancel tasks that are no longer needed."


class StoreFull(Refused):
    """The bus has no room left. Nothing was stored."""

    hint = "Run `agentbus server status`: it shows the limits and what fills them."


class NotAllowed(Refused):
    """The server's permissions forbid this for this agent."""

    hint = "Ask the owner of the server for the permission, or check which agent you are."


class NameTaken(Refused):
    """Another account of this bus has an agent of that name. Nothing was stored."""

    hint = "Change the name where it is given: --agent, AGENTBUS_AGENT or .agentbus.toml."


class ArchiveBroken(Refused):
    """The archive cannot be used."""

    hint = "Call again. If it stays so, do without: `[archive] enabled = false` in config.toml."


class BadSetup(Refused):
    """A setting or a file on this machine is not as it must be."""

    hint = "Mend it as the message says, then run the command again."


class BusUnreachable(AgentbusError):
    """No bus server answers. Nothing was stored."""

    hint = (
        "Run `agentbus server start`; if the server is a shared one, check AGENTBUS_URL, or url in "
        "config.toml."
    )
    exit_code = 3


class OutOfReach(BusUnreachable):
    """A bus server runs, and nothing here reaches it. Nothing was stored."""


class CutOff(BusUnreachable):
    """The bus server ended the connection at once, as it does while it reads its configuration."""


class Crowded(CutOff):
    """The bus server allows this login no more connections. Nothing was stored."""

    hint = (
        "Run `agentbus listen`, or `agentbus listen --install` to keep it running: all sessions of "
        "this user share its connection. Or end sessions and commands that are not needed."
    )


class Untrusted(BusUnreachable):
    """TLS does not prove that this server is the right one. Nothing was stored."""

    hint = "Tell whoever runs the shared server; run `agentbus doctor`."


class GateAway(BusUnreachable):
    """The bus server answers, and its gate does not. Nothing was stored."""

    hint = "Tell whoever runs the shared server: its gate must run beside it, and does not."


class Unconfirmed(AgentbusError):
    """The server did not confirm in time: it is not known whether this was stored."""

    hint = "Call again: what is stored already is not stored twice."
    exit_code = 5

    def __init__(
        self, message: str = "", *, hint: str = "", again: str = "", mend: str = ""
    ) -> None:
        #: What else may have to be done, whoever calls again; empty if nothing is known.
        self.mend = mend
        super().__init__(message, hint=hint or f"{again or self.hint} {mend}".rstrip())


class NoAnswer(AgentbusError):
    """Nobody has answered in time. Somebody may have heard the request."""

    hint = "Ask again, or for what must be done by somebody use send_task: it is stored."


class NobodyListens(NoAnswer):
    """It was answered that nobody listens there. Nothing was stored."""

    hint = "Use send_task for what must be done by somebody: it is stored until it is."


class NoListener(AgentbusError):
    """No listener runs for this user."""

    hint = "Run `agentbus listen`, or `agentbus listen --install` to keep it running."
    #: Whether one was asked before it ended or fell silent, and may have done it.
    was_asked = False


class SilentListener(NoListener):
    """A listener runs, and does not answer here."""
