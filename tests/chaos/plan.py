"""The decisions of a seed: the smelts of a run, the calls of clients about them, and the faults in their order.

The times at which the operating system and the network let it happen are not repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

RECORDINGS: Final = ("greeting.ogg", "agreement.ogg", "status.ogg", "deadline.ogg", "question.ogg", "standup.ogg")
TEXTS: Final = (
    "Ben will call the client on Monday. We ship twelve parts.",
    "We agreed on the budget. Anna will send the report by Friday. Who will book the room?",
    "The server was slow. Tom will look at the logs. The next meeting is on Tuesday.",
)
USERS: Final = 3
OWNERS: Final = USERS + 1
"""The last owner stands for visitors."""
KINDS: Final = ("python", "blocking", "javascript", "sse")

Kind = Literal["python", "blocking", "javascript", "sse"]
Action = Literal["cancel", "retry"]
# Most smelts are left alone. A retry of a smelt that has not failed changes nothing.
ACTIONS: Final[dict[tuple[Action, ...], float]] = {
    (): 0.7,
    ("cancel",): 0.08,
    ("cancel", "retry"): 0.12,
    ("cancel", "retry", "cancel"): 0.04,
    ("retry",): 0.06,
}
MAX_ACTION_DELAY_S: Final = 3.0
DISPATCHED_SHARE: Final = 0.3
PAUSES_S: Final = (0.2, 0.8)


@dataclass(frozen=True)
class PlannedSmelt:
    """A smelt: its source is a text or the name of a recording; `delays_s` are those before each action.

    If it is dispatched, it requests the model of the external service, so that no worker transcribes it.
    """

    number: int
    owner: int
    source: str
    is_recording: bool
    is_dispatched: bool
    is_in_batch: bool
    create_calls: int
    actions: tuple[Action, ...]
    delays_s: tuple[float, ...]

    @property
    def is_visitors(self) -> bool:
        """True if it belongs to no user."""
        return self.owner == USERS


@dataclass(frozen=True)
class PlannedFault:
    """A fault by name, with the workers in the order in which it prefers them; `level` is between 0 and 1."""

    name: str
    workers: tuple[str, ...]
    pause_s: float
    level: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a run and its seed; there are faults for `seconds`, and each kind at least once."""

    seed: int
    texts: int
    recordings: int
    watchers: int
    seconds: float
    lease_s: int = 5

    def chance(self, purpose: str) -> Random:
        """Return the source of the decisions for a purpose; others do not influence it."""
        return Random(f"{self.seed}/{purpose}")

    def smelts(self, recordings: bool) -> list[PlannedSmelt]:
        """Return the planned smelts of recordings, or those of texts."""
        first = self.texts if recordings else 0
        count = self.recordings if recordings else self.texts
        return [self._smelt(number, recordings) for number in range(first, first + count)]

    def _smelt(self, number: int, is_recording: bool) -> PlannedSmelt:
        chance = self.chance(f"smelt {number}")
        owner = chance.randrange(OWNERS)
        [actions] = chance.choices(list(ACTIONS), list(ACTIONS.values()))
        sources = RECORDINGS if is_recording else TEXTS
        return PlannedSmelt(
            number=number,
            owner=owner,
            source=sources[number % len(sources)],
            is_recording=is_recording,
            is_dispatched=is_recording and chance.random() < DISPATCHED_SHARE,
            is_in_batch=owner < USERS and chance.random() < 0.3,
            create_calls=chance.choice((1, 1, 2, 3)),
            actions=actions,
            delays_s=tuple(chance.uniform(0, MAX_ACTION_DELAY_S) for _ in actions),
        )

    def faults(self, lane: str, names: Sequence[str], workers: Sequence[str]) -> Iterator[PlannedFault]:
        """Yield the faults of a lane without an end, each kind once before any kind again."""
        chance = self.chance(f"faults of {lane}")
        while True:
            for name in chance.sample(sorted(names), len(names)):
                order = tuple(chance.sample(sorted(workers), len(workers)))
                yield PlannedFault(name, order, chance.uniform(*PAUSES_S), chance.random())

    def kind(self, number: int) -> Kind:
        """Return the kind of the watcher of a smelt."""
        return KINDS[number % self.watchers % len(KINDS)]
