# SPDX-License-Identifier: Apache-2.0
"""What users may rely on, one sentence each. Every test that proves one carries its number.

`shape/test_promises.py` fails for a promise without a test and for a test that names none of these.
"""

PROMISES = {
    1: "send_task says stored only after the server's acknowledgement; with the server down it "
    "fails within 5 s, says that nothing was stored, and nothing appears later; but see 49.",
    2: "A send that the same agent repeats on the same machine with the same request_id leaves one "
    "task, also across a server crash, and the receipt says duplicate.",
    3: "Tasks that were acknowledged are readable after the server is killed and restarted.",
    4: "A task to an agent that is registered but away is stored, with its last seen; one to an "
    "unknown name is refused with the nearest names.",
    5: "An oversize body, a bad id and a deadline in the past are refused before any network "
    "traffic, and nothing is ever cut silently.",
    6: "A full inbox refuses new tasks and leaves the old ones untouched.",
    8: "Two sends in order from one sender, of one priority, are read in that order.",
    9: "A claimed task is given whole to one call, and named by each later one until its end; a "
    "process killed after reading loses none.",
    10: "watch_inbox returns as soon as a task is stored, and empty at its time limit.",
    11: "A cancelled watch_inbox gives back at once what it had taken.",
    12: "A task that one session holds is refused to another, with its holder named, until that "
    "session lets go or dies.",
    13: "A claim is kept for as long as its session lives, past the server's own time limit; but two "
    "hours without any call of that session give it back.",
    14: "Paging shows every task once and none twice, also when new ones arrive meanwhile.",
    15: "Whether a listener runs makes no difference to what read_inbox shows.",
    16: "Stored bytes that are no task are parked with a reason, shown, and delay nobody.",
    17: "A newer sender's unknown fields and values are kept, shown and treated as the default.",
    18: "A task claimed 5 times without an end is parked, its sender gets a result that says so, "
    "and one command offers it again.",
    19: "A high-priority task starts or nudges its agent; a normal one does not, unless its user says `wake_on`.",
    20: "A listener killed at any point between its decision and its record starts a host twice at "
    "most, and the next listener goes on.",
    21: "However many urgent tasks come, one wake runs and one is pending; all are readable.",
    22: "A sender's hourly rate, an agent's and its day's budget hold further wakes, with the reason.",
    23: "A task of a sender that may not wake an agent is stored and wakes nobody.",
    24: "A wake's text, argv and environment, and the listener's log, hold no byte of a peer.",
    25: "A host that cannot start, hangs or fails leaves the task readable, is tried again after "
    "1, 5 and 25 minutes, and says so.",
    26: "Beside a live session of an agent no second one is started.",
    27: "A listener that is stopped takes no new work and ends what it started, unless its user says "
    "`on_stop`.",
    28: "A listener finds a server that went and came back elsewhere.",
    29: "A clock that jumps causes no storm of wakes.",
    30: "A ledger that cannot be used holds every wake and leaves tasks readable.",
    31: "After a crash between storing a result and finishing the task, the task is finished and "
    "not done again, and the sender sees one result.",
    32: "Publishing the same result twice changes nothing; another result is refused with the "
    "stored one named.",
    33: "Only the addressee publishes a result; one for an unknown or finished task is refused.",
    34: "A result waits for a sender that is away, and is shown until it was seen.",
    35: "After its deadline a task is expired, its sender is told once, and a late result is "
    "stored and marked late.",
    36: "Work handed round in a circle stops at the hop limit with an error that its sender reads.",
    37: "Hostile text stays inside one frame, indented, with every hidden character shown.",
    38: "Ids are checked when they are read as well as when they are written.",
    39: "Artifacts are references and are never opened.",
    40: "No command line, service file, log, answer, doctor's report or error shows a password or a "
    "token, also where something fails.",
    41: "A token or record that is open to others, is another user's or is a link is refused with "
    "what mends it, and so is a configuration that others can change; ours are 0600 in 0700 "
    "folders, never in /tmp.",
    42: "A server off this machine is refused without TLS, unless allow_plaintext = true is written "
    "into config.toml.",
    43: "The session server answers without the bus, prints only JSON-RPC on stdout, and ends "
    "within 2 s of EOF, SIGTERM, SIGINT or its parent's death.",
    44: "An installer that is run twice leaves the same bytes; taken out again it leaves a file as "
    "it was; what is no JSON is refused and left alone.",
    45: "Each step of a task, accepted, held, woken, claimed, noted, finished, expired or parked, is "
    "a line of the audit, with ids and without a text, also of what happened while no listener "
    "ran: of more than 40 steps then the first and the latest 39.",
    46: "A session or a command that the listener serves outlives it, with all that it holds; what "
    "may have happened twice is said.",
    47: "A worker that is killed loses no task and leaves no program running; one that is told to "
    "end ends with what it is at, and takes no more.",
    48: "A worker's program that hangs is ended at its time limit with all that it has started; "
    "what it prints comes whole, or is in a file that the result names.",
    49: "What is sent while a shared bus is out of reach is said to be stored here and not yet at "
    "the bus, where a listener runs; it comes there once and in order, whatever is killed "
    "meanwhile, or its sender is told why not.",
    50: "Between accounts of a shared server nobody sends, answers, takes, withdraws or registers for "
    "an agent of another's, and is told within 2 s that they may not.",
    51: "What stands in an inbox is read by the account whose it is and, each its own, by who sent it.",
    52: "A name is the account's whose session registered it first, also where two do so at once.",
    53: "The line of an invitation lets one key in, once, until it expires or is revoked; the same line "
    "typed again goes on where it ended. Whoever is refused is told why.",
    54: "Nothing is told to a server that is not the one of the line, or not known by its certificate.",
    55: "Who is removed, or has another key, is cut off at once, and does not come back by a restore.",
    56: "An account that floods its gate keeps no other from its work, and is cut off; one that fills "
    "the room for tasks and results is refused before the others are.",
    57: "A task goes from an account to an agent of another, wakes it, and its result comes back, also "
    "after the link was away.",
    58: "A server that is away, one without its gate and one that lets an account in no more are told "
    "apart, and what to do is said as far as an account can do it.",
    59: "Three servers go on while one of them is away; of two that are away nothing is said to be stored.",
}
