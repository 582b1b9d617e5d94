"""The id of an event of a smelt, `<run>.<seq>.<segments_seq>`, by which a reader resumes. Pure."""

import re
from dataclasses import dataclass
from typing import Self

from smelt.contract.state import Snapshot
from smelt.contract.vocabulary import TERMINAL_STATUSES

_FORM = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})")


@dataclass(frozen=True, order=True)
class EventId:
    """The part of a smelt that a reader has once it has an event.

    `run` and `seq` are those of the newest state. The reader has all segments that were saved up to `segments_seq`, and
    none that were saved later: it is the `segments_after` of its next read.
    """

    run: int
    seq: int
    segments_seq: int

    def __str__(self) -> str:
        return f"{self.run}.{self.seq}.{self.segments_seq}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Return the id that a reader sent; None if there is none, or it has another form."""
        found = _FORM.fullmatch(text.strip()) if text else None
        return None if found is None else cls(*map(int, found.groups()))

    def is_of(self, snapshot: Snapshot) -> bool:
        """Return True unless the id is newer than the smelt, so that it can't be one of its ids."""
        return self.run <= snapshot.run and max(self.seq, self.segments_seq) <= snapshot.seq

    def is_end_of(self, snapshot: Snapshot) -> bool:
        """Return True if the smelt has ended, and the reader has that end."""
        return (self.run, self.seq) == (snapshot.run, snapshot.seq) and snapshot.status in TERMINAL_STATUSES
