"""Known histories of the core: the cases that random ones reach rarely."""

from collections.abc import Sequence
from contextlib import closing
from typing import Final

from tests.integration.database.core_machine import Core, Step
from tests.integration.database.core_project import Callers
from tests.integration.database.db_calls import Database

START: Final[list[Step]] = [("start", 0), ("start", 1)]
HISTORIES: Final[dict[str, list[Step]]] = {
    "delays pass in another order": [
        *START,
        *[("create", 0)] * 4,
        ("claim", 4),
        *[("fail_later", 0)] * 4,
        *[("pass_delay", n) for n in (3, 1, 1, 0)],
    ],
    "the next of an owner whose others run": [
        *START,
        *[("create", 0)] * 3,
        *[("create", 1)] * 3,
        ("claim", 5),
        ("create", 0),
    ],
    "leases expire in another order": [
        *START,
        *[("create", 0)] * 3,
        ("claim", 3),
        *[("expire", n) for n in (2, 1, 0)],
        ("claim", 1),
    ],
    "workers at different ranks": [
        *START,
        *[("create", 7)] * 5,
        *[("create", 3)] * 5,
        ("claim", 3),
        ("create", 2),
        ("create", 1),
        ("create", 4),
        ("create", 8),
        ("claim", 4, 1),
        ("create", 0),
        ("create", 9),
    ],
    "the delay of a model passes": [
        *START,
        ("create", 8),
        ("claim", 1, 1),
        ("fail_later", 0),
        *[("create", 7)] * 3,
        *[("create", 3)] * 5,
        ("claim", 3),
        ("pass_delay", 0),
        ("claim", 1),
    ],
    "a model is back": [
        ("create", 6),
        *[("create", 0)] * 2,
        ("start", 0),
        *[("create", 6)] * 3,
        ("create", 0),
        ("claim", 1),
        ("start", 1),
        ("create", 0),
        ("claim", 3, 1),
    ],
    "a worker restarts": [("start", 1), ("create", 6), *[("create", 0)] * 2, ("stop", 1), ("start", 1)],
    "a worker starts while its row is removed": [
        ("race", ("start", 0, 0), ("stop", 0, 0)),
        *[("create", 3)] * 2,
        ("claim", 1),
        ("create", 1),
    ],
    "the rank of a suspect is below zero": [
        *START,
        ("create", 3),
        ("claim", 1),
        ("stop_at_risk", 0),
        ("claim", 1),
        ("report", 15),
        ("release", 1),
        ("create", 3),
        ("claim", 2),
        ("stop_at_risk", 1),
        ("release", 2),
        ("claim", 1),
    ],
    "two are released": [("start", 0), *[("create", 0)] * 6, ("claim", 3), ("claim", 1), *[("release", 0)] * 2],
    "two of one owner are created at the same time": [("race", ("text", 2, 0), ("text", 2, 0))],
    "an expired lease is renewed": [
        *START,
        ("create", 0),
        ("claim", 1),
        ("expire", 0),
        ("race", ("renew", 0, 0), ("claim", 1, 1)),
    ],
    "an older attempt reports after a cancel": [
        *START,
        ("create", 0),
        ("claim", 1),
        ("release", 1),
        ("claim", 1),
        ("cancel", 0),
        ("report", 0),
    ],
    "three failures": [*START, ("create", 0), *[("claim", 1), ("fail_later", 1), ("pass_delay", 0)] * 3],
    "a recording is damaged": [*START, ("create", 3), ("claim", 1), ("fail", 7), ("retry", 1)],
    "two workers send a message": [
        *START,
        ("create", 0),
        ("cancel", 0),
        ("age_outbox",),
        ("race", ("send", 0, 0), ("send", 0, 1)),
    ],
    "two workers purge": [("draft", 1), ("cancel", 0), ("list_expired", 0, 0), ("list_expired", 0, 1)],
    "a purge fails": [
        ("draft", 1),
        ("cancel", 0),
        ("list_expired", 0, 0),
        ("confirm", 0, 0),
        ("list_expired", 0, 0),
    ],
    "the audio of a user is purged after a day": [
        *START,
        ("create", 3),
        ("claim", 1),
        ("complete", 1),
        ("age", 0),
        ("list_expired", 0, 0),
        ("remove", 0),
        ("confirm", 0, 0),
    ],
    "a suspect is at the stage in which its worker stopped": [
        *START,
        ("create", 3),
        ("claim", 1),
        ("stop_at_risk", 0),
        ("claim", 1),
        ("report", 1),
    ],
    "a report has a lower percentage": [
        *START,
        ("create", 0),
        ("claim", 1),
        ("report", 22, 0, 90),
        ("report", 22, 0, 10),
    ],
    "a smelt advances after a failure": [
        *START,
        ("create", 0),
        ("claim", 1),
        ("fail_later", 1),
        ("pass_delay", 0),
        ("claim", 1),
        ("report", 22),
    ],
    "a failure is repeated": [*START, ("create", 0), ("claim", 1), ("fail_later", 1), ("fail_later", 0)],
    "a smelt completes while it is cancelled": [
        *START,
        ("create", 0),
        ("claim", 1),
        ("race", ("cancel_leased", 1, 0), ("complete", 1, 0)),
    ],
    "an end is written while others are acknowledged": [
        *START,
        *[("text", 0)] * 2,
        ("claim", 1),
        ("race", ("fail", 0, 0), ("acknowledge", 0, 0)),
    ],
    "a claim is repeated while it runs": [*START, *[("create", 0)] * 5, ("race", ("claim", 2, 0), ("repeat", 0, 0))],
    "a member of a batch is retried": [*START, ("create", 0, 1), ("cancel", 0), ("cancel", 0), ("retry", 1)],
    "a cancelled smelt has failed before": [
        *START,
        ("create", 0),
        ("claim", 1),
        ("fail_later", 1),
        ("cancel", 0),
        ("retry", 1),
    ],
    "a message is leased": [("create", 0), ("cancel", 0), ("age_outbox",), ("send", 0, 0), ("send", 0, 1)],
}


def follow(history: Sequence[Step], database: Database, callers: Callers) -> None:
    """Make the steps of a history, and let both workers claim the rest; raise `Violation`."""
    with closing(Core(database, callers)) as core:
        for step in [*history, ("claim", 100), ("claim", 100, 1)]:
            core.step(*step)
        assert core.project.ids
