"""Decides whether a worker trusts its model: a circuit breaker. Pure."""

from typing import Final, Literal
from uuid import UUID

State = Literal["closed", "open", "probing"]

_MIN_DELAY_S: Final = 2.0
_MAX_DELAY_S: Final = 300.0


class CircuitBreaker:
    """Opens when the model dies for a reason that is probably not the recording.

    That is so if it dies while loading, or without work, or on two smelts without a success in between; a model that
    is ended because it fails on a smelt has died on it. While it is open, a known recording is transcribed after
    `delay_s`, which doubles with each failure; a success closes it.
    """

    def __init__(self, min_delay_s: float = _MIN_DELAY_S) -> None:
        self.state: State = "closed"
        self.delay_s = self._min_delay_s = min_delay_s
        self._last_death: UUID | None = None

    def on_death(self, smelt_id: UUID | None) -> None:
        """Record that the model died on a smelt; None for a death that no smelt can have caused."""
        if self.state != "closed":
            return
        if smelt_id is None or self._last_death not in (None, smelt_id):
            self.state = "open"
        self._last_death = smelt_id

    def on_success(self) -> None:
        """Record that a smelt, or the known recording, was transcribed."""
        if self.state != "open":
            self.state, self.delay_s, self._last_death = "closed", self._min_delay_s, None

    def start_probe(self) -> None:
        """Record that the known recording is transcribed from now on."""
        assert self.state == "open"
        self.state = "probing"

    def on_probe_failure(self) -> None:
        """Record that this failed."""
        assert self.state == "probing"
        self.state, self.delay_s = "open", min(2 * self.delay_s, _MAX_DELAY_S)
