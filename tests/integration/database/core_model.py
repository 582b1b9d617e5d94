"""The core in Python: what each call returns, and the state after it. Pure; the ranks are those of `queue_model`.

`apply` takes a call with its response, raises `Violation` if that is not the expected one, and changes the state. With
`is_exact` false, a claim may return any claimable smelts: beside another transaction it skips locked ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.integration.database.queue_model import Queue

STAGES: Final = ("pending", "validating", "decoding", "transcribing", "synthesizing")
MAX_FAILURES: Final = 3
PASSED: Final = {"decode": STAGES[2:], "model": STAGES[3:]}
"""The stages with which a suspect has passed the one in which its worker stopped."""

Attempt = tuple[int, int]
"""A smelt and the number of an attempt."""


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, detail: object) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant


def expect(invariant: str, actual: object, expected: object) -> None:
    """Raise `Violation` unless two values are equal; name those of dictionaries that differ."""
    if actual == expected:
        return
    if isinstance(actual, dict) and isinstance(expected, dict):
        different = dict(actual.items() ^ expected.items()).keys()
        actual, expected = ({key: values.get(key) for key in different} for values in (actual, expected))
    raise Violation(invariant, f"{actual} instead of {expected}")


@dataclass(frozen=True)
class Call:
    """A call of a caller: `kind` names a method of the model, and one of the project."""

    kind: str
    caller: str
    smelt: int = -1
    attempt: int = -1
    worker: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass
class Smelt:
    """The state of a smelt, except its place in the queue."""

    owner: str
    model: str
    is_submitted: bool
    audio: str
    run: int = 1
    attempt: int = 0
    status: str = "pending"
    error: str | None = None
    failures: int = 0
    worker: int | None = None
    token: int | None = None
    risk: str | None = None
    suspect: str | None = None
    reserved_by: int | None = None
    is_aged: bool = False
    is_postponed: bool = False
    ends: dict[int, tuple[str, tuple[str | None, ...]]] = field(default_factory=dict)
    """How attempts ended, and the responses of their workers; none for an expired one."""

    @property
    def has_ended(self) -> bool:
        return self.status in ("completed", "failed")


@dataclass
class Model:
    """All smelts, the queue, and what the workers know."""

    queue: Queue
    smelts: dict[int, Smelt] = field(default_factory=dict)
    claims: list[Attempt] = field(default_factory=list)
    at_risk: dict[int, int] = field(default_factory=dict)
    """The arrivals of leases that expired with a risk, or of suspects."""
    suspects: dict[int, int | None] = field(default_factory=dict)
    """The arrivals of suspects in the queue; None while one waits for a delay."""
    objects: set[int] = field(default_factory=set)
    """The smelts whose object is in Storage."""
    janitor: int | None = None
    is_exact: bool = True

    def apply(self, call: Call, response: Any) -> None:
        """Check the response to a call and change the state."""
        getattr(self, call.kind)(call, response)

    # Clients

    def create(self, call: Call, _: Any) -> None:
        """A recording is submitted by a later call, a text at once."""
        number, model, is_audio = call.smelt, call.arguments["model"], call.arguments["is_audio"]
        owner = call.caller if call.caller in ("ada", "ben") else "visitors"
        self.smelts[number] = Smelt(owner, model, not is_audio, "expected" if is_audio else "none")
        self.queue.owners[number], self.queue.models[number] = owner, model
        if not is_audio:
            self.queue.rank(number, self.queue.arrive())

    def submit(self, call: Call, response: Any) -> None:
        smelt = self.smelts.get(call.smelt)
        if smelt is None:
            return expect("a missing smelt is not found", response, ("rejected", "not_found"))
        if not smelt.is_submitted and not smelt.has_ended:
            if smelt.audio != "expected":
                return expect("expired audio is not submitted", response, ("rejected", "audio_expired"))
            if call.smelt not in self.objects:
                return expect("a missing upload is not submitted", response, ("rejected", "missing_upload"))
            smelt.is_submitted, smelt.audio, smelt.is_aged = True, "stored", False
            self.queue.rank(call.smelt, self.queue.arrive())
        return self._expect_state(call, response)

    def cancel(self, call: Call, response: Any) -> None:
        smelt = self.smelts.get(call.smelt)
        if smelt is None:
            return expect("a missing smelt is not found", response, ("rejected", "not_found"))
        if not smelt.has_ended:
            self._end(call.smelt, "cancelled")
        return self._expect_state(call, response)

    def retry(self, call: Call, response: Any) -> None:
        smelt = self.smelts.get(call.smelt)
        if smelt is None:
            return expect("a missing smelt is not found", response, ("rejected", "not_found"))
        if smelt.status == "failed":
            if smelt.audio in ("removing", "removed"):
                return expect("removed audio is not retried", response, ("rejected", "audio_expired"))
            smelt.run += 1
            smelt.attempt += 1
            smelt.failures, smelt.status, smelt.error, smelt.is_aged = 0, "pending", None, False
            self.queue.started.discard(call.smelt)
            self.queue.rank(call.smelt, self.queue.arrive())
        return self._expect_state(call, response)

    def delete(self, call: Call, response: Any) -> None:
        if call.smelt not in self.smelts:
            return expect("a missing smelt is not found", response, ("rejected", "not_found"))
        self._remove(call.smelt)
        return None

    # Workers

    def claim(self, call: Call, response: Any) -> None:
        """Compare the claims, in their order if exact; `response` is a list of attempts."""
        worker, token = call.worker, call.arguments["token"]
        held = [number for number in self.queue.leases if self._holds(number, worker, token)]
        if held:
            expected = sorted((number, self.smelts[number].attempt) for number in held)
            expect("a repeated claim returns the same attempts", sorted(response), expected)
            for number in held:
                self._renew(number)
            return
        numbers = [number for number, _ in response]
        if self.is_exact:
            expect("claims follow the order of the queue", numbers, self._next(worker, call.arguments["limit"]))
        else:
            claimable = {number for number, at in (self.queue.delayed | self.suspects).items() if at is not None}
            claimable |= self.queue.due.keys() | (
                self.queue.expired.keys() if call.arguments["with_expired"] else set()
            )
            if not set(numbers) <= claimable or (len(numbers) > 1 and self.suspects.keys() & set(numbers)):
                raise Violation("only claimable smelts are claimed, a suspect alone", numbers)
        self._lease(numbers, worker, token)
        expect(
            "a claim starts the next attempt", response, [(number, self.smelts[number].attempt) for number in numbers]
        )

    def report(self, call: Call, response: Any) -> None:
        expect("fencing of reports", response, self.verdict(call.smelt, call.attempt))
        if response != "go_on":
            return
        smelt, stage, risk = self.smelts[call.smelt], call.arguments["stage"], call.arguments["risk"]
        self._renew(call.smelt)
        smelt.risk = risk
        if smelt.suspect is not None and smelt.suspect != risk and stage in PASSED[smelt.suspect]:
            smelt.suspect = smelt.reserved_by = None
        smelt.status = max(smelt.status, stage, key=STAGES.index)
        if call.arguments["is_advanced"]:
            smelt.failures = 0

    def renew(self, call: Call, response: Any) -> None:
        attempts = call.arguments["attempts"]
        expect("fencing of renewals", response, [self.verdict(*attempt) for attempt in attempts])
        for (number, _), verdict in zip(attempts, response, strict=True):
            if verdict == "go_on":
                self._renew(number)

    def complete(self, call: Call, response: Any) -> None:
        if self._is_held(call, response, ("settled",)):
            self._end(call.smelt, None)
            expect("a worker completes its smelt", response, ("settled", "completed", None))

    def fail(self, call: Call, response: Any) -> None:
        if self._is_held(call, response, ("settled", "retrying")):
            smelt, code = self.smelts[call.smelt], call.arguments["code"]
            smelt.failures += 1
            if call.arguments["is_transient"] and smelt.failures < MAX_FAILURES:
                self._release(call.smelt, "retrying", is_delayed=True)
                expect("a transient failure is retried", response, ("retrying", smelt.status, None))
            else:
                self._end(call.smelt, code)
                expect("a failure ends the smelt", response, ("settled", "failed", code))

    def release(self, call: Call, response: Any) -> None:
        if self._is_held(call, response, ("settled", "released")):
            smelt, is_failure = self.smelts[call.smelt], call.arguments["is_failure"]
            smelt.failures += is_failure
            if is_failure and smelt.failures >= MAX_FAILURES:
                self._end(call.smelt, "internal_error")
                expect("the third failure ends the smelt", response, ("settled", "failed", "internal_error"))
            else:
                self._release(call.smelt, "released", is_delayed=is_failure)
                expect("a release returns the smelt", response, ("released", smelt.status, None))

    def start(self, call: Call, _: Any) -> None:
        self.queue.start(call.worker)

    def stop(self, call: Call, _: Any) -> None:
        self.queue.stop(call.worker)
        if self.janitor == call.worker:
            self.janitor = None

    def claim_outbox(self, call: Call, response: Any) -> None:
        """The messages are compared with the rows of the outbox, by the machine."""

    def settle_outbox(self, call: Call, response: Any) -> None:
        """The messages are compared with the rows of the outbox, by the machine."""

    # Purge

    def list_expired(self, call: Call, response: Any) -> None:
        """`response` is the smelts to confirm, and the smelts of the objects to remove."""
        numbers, objects = response
        expected: set[int] = set()
        if self.janitor in (None, call.worker):
            for smelt in self.smelts.values():
                is_over = smelt.is_aged and (smelt.has_ended or not smelt.is_submitted)
                if is_over and not smelt.is_postponed and smelt.audio in ("stored", "expected"):
                    smelt.audio = "removing"
            expected = {
                number
                for number, smelt in self.smelts.items()
                if not smelt.is_postponed and (smelt.audio == "removing" or self._is_expired(smelt))
            }
            self.janitor = call.worker if numbers or objects else None
        expect("expired smelts are listed to one janitor", set(numbers), expected)
        needed = {number for number in objects if number in self.smelts and self.smelts[number].audio != "removing"}
        expect("audio that is needed is not listed", needed, set())

    def remove_objects(self, call: Call, _: Any) -> None:
        self.objects -= set(call.arguments["numbers"])

    def confirm(self, call: Call, _: Any) -> None:
        for number in call.arguments["numbers"]:
            smelt = self.smelts.get(number)
            if smelt is None:
                continue
            if number in self.objects:
                smelt.is_postponed = smelt.is_postponed or smelt.audio == "removing"
            elif self._is_expired(smelt):
                self._remove(number)
            elif smelt.audio == "removing":
                smelt.audio, smelt.is_postponed = "removed", False

    # The clock

    def expire(self, number: int) -> None:
        """Let a lease expire."""
        smelt = self.smelts[number]
        if smelt.risk is None and smelt.suspect is None:
            self.queue.expire(number)
        else:
            self.at_risk[number] = self.queue.arrive()

    def pass_delay(self, number: int) -> None:
        """Let the delay of a smelt pass."""
        (self.suspects if number in self.suspects else self.queue.delayed)[number] = self.queue.arrive()

    # Views

    def verdict(self, number: int, attempt: int) -> str:
        """Return the verdict for an attempt."""
        smelt = self.smelts.get(number)
        if smelt is None or smelt.attempt != attempt:
            return "lost"
        if number in self.queue.leases:
            return "go_on"
        return "cancelled" if smelt.error == "cancelled" else "lost"

    def live_leases(self) -> list[int]:
        """Return the smelts whose lease has not expired."""
        return [number for number in self.queue.leases if number not in self.queue.expired | self.at_risk]

    def waiting(self) -> list[int]:
        """Return the smelts that wait for a delay."""
        return [number for number, at in (self.queue.delayed | self.suspects).items() if at is None]

    def rows(self) -> dict[int, tuple[Any, ...]]:
        """Return the rows that the database shall have."""
        return {number: self._row(number, smelt) for number, smelt in self.smelts.items()}

    def workers(self) -> tuple[set[int], int | None]:
        """Return the live workers, and the one that purges."""
        return self.queue.live, self.janitor

    def ranks(self) -> dict[int, int]:
        """Return the ranks of the smelts in the queue and of the leases."""
        return {number: rank for number, (rank, _) in self.queue.due.items()} | self.queue.leases

    def adopt(self, ranks: dict[int, int], reserved: dict[int, int | None]) -> None:
        """Continue with what depends on the order of calls that ran at the same time."""
        for number, smelt in self.smelts.items():
            smelt.reserved_by = reserved[number]
        for number in [number for number, at in self.queue.delayed.items() if at is not None and number in ranks]:
            self.queue.due[number] = (0, self.queue.delayed.pop(number) or 0)
        self.queue.due = {number: (ranks.get(number, 0), at) for number, (_, at) in self.queue.due.items()}
        self.queue.leases = {number: ranks.get(number, 0) for number in self.queue.leases}
        self.queue.expired = {number: (ranks.get(number, 0), at) for number, (_, at) in self.queue.expired.items()}

    def _row(self, number: int, smelt: Smelt) -> tuple[Any, ...]:
        is_queued = number in self.queue.due | self.queue.delayed | self.suspects
        lease = (smelt.attempt, smelt.worker, smelt.risk) if number in self.queue.leases else (None, None, None)
        return (
            *(smelt.run, smelt.attempt, smelt.status, smelt.error, smelt.failures, smelt.audio, is_queued),
            *(*lease, smelt.suspect),
        )

    def _expect_state(self, call: Call, response: Any) -> None:
        smelt = self.smelts[call.smelt]
        expect(f"{call.kind} returns the state", response, (smelt.status, smelt.run))

    def _holds(self, number: int, worker: int, token: int) -> bool:
        smelt = self.smelts[number]
        return (smelt.worker, smelt.token) == (worker, token)

    def _is_held(self, call: Call, response: Any, repeatable: Iterable[str]) -> bool:
        """Return True if the attempt holds the smelt; else compare the response with that of its end."""
        if self.verdict(call.smelt, call.attempt) == "go_on":
            return True
        smelt = self.smelts.get(call.smelt)
        ended_as, first = ("", ("lost", None, None)) if smelt is None else smelt.ends.get(call.attempt, ("", ()))
        expected = first if ended_as in repeatable else ("lost", None, None)
        expect("a settled attempt returns its first response, an older one is lost", response, expected)
        return False

    def _next(self, worker: int, limit: int) -> list[int]:
        """Return what a claim returns, after the changes that it makes first."""
        held = [number for number in self.live_leases() if self.smelts[number].worker == worker]
        if any(self.smelts[number].suspect for number in held):
            return []
        for number in sorted(self.at_risk, key=lambda number: self.at_risk[number])[:limit]:
            self._requeue(number)
        self.queue.rank_passed()
        suspect = self._due_suspect(worker, is_idle=not held)
        if suspect is not None:
            self.smelts[suspect].reserved_by = worker if held else None
            return [] if held else [suspect]
        return self.queue.order(worker)[:limit]

    def _due_suspect(self, worker: int, *, is_idle: bool) -> int | None:
        busy = {self.smelts[number].worker for number in self.live_leases()}
        others = {smelt.reserved_by for smelt in self.smelts.values() if smelt.suspect} - {None, worker}
        if not is_idle and others & busy:
            return None
        reachable = self.queue.workers[worker]
        due = [(at, n) for n, at in self.suspects.items() if at is not None and self.smelts[n].model in reachable]
        return min(due)[1] if due else None

    def _requeue(self, number: int) -> None:
        """Return a smelt whose lease expired with a risk, or a suspect."""
        smelt, expired_at = self.smelts[number], self.at_risk[number]
        smelt.ends[smelt.attempt] = ("expired", ())
        risk, is_failure = smelt.risk, smelt.risk is not None
        smelt.failures += is_failure
        if smelt.failures >= MAX_FAILURES and is_failure:
            self._end(number, "internal_error")
            return
        self._leave(number)
        smelt.attempt += 1
        if is_failure:
            smelt.suspect, smelt.reserved_by = risk, None
        self.suspects[number] = None if is_failure and smelt.failures > 1 else expired_at

    def _lease(self, numbers: list[int], worker: int, token: int) -> None:
        for number in numbers:
            smelt = self.smelts[number]
            if number in self.queue.expired:
                smelt.ends[smelt.attempt] = ("expired", ())
            if number in self.suspects:
                del self.suspects[number]
                self.queue.leases[number] = self.queue.reached(smelt.model)
                self.queue.started.add(number)
            else:
                if number in self.queue.delayed:
                    self.queue.due[number] = (0, self.queue.delayed.pop(number) or 0)
                self.queue.lease([number])
            smelt.attempt += 1
            smelt.worker, smelt.token, smelt.risk = worker, token, None
            self.claims.append((number, smelt.attempt))

    def _renew(self, number: int) -> None:
        self.at_risk.pop(number, None)
        self.queue.expired.pop(number, None)

    def _release(self, number: int, ended_as: str, *, is_delayed: bool) -> None:
        smelt, rank = self.smelts[number], self.queue.leases[number]
        smelt.ends[smelt.attempt] = (ended_as, (ended_as, smelt.status, None))
        self._leave(number)
        smelt.attempt += 1
        arrival = None if is_delayed else self.queue.arrive()
        if smelt.suspect is not None:
            self.suspects[number] = arrival
        elif arrival is None:
            self.queue.delayed[number] = None
        else:
            self.queue.due[number] = (rank, arrival)

    def _end(self, number: int, error: str | None) -> None:
        smelt = self.smelts[number]
        smelt.status, smelt.error = "failed" if error else "completed", error
        if (number, smelt.attempt) in self.claims:
            smelt.ends[smelt.attempt] = ("settled", ("settled", smelt.status, error))
        if smelt.audio == "expected" or (smelt.audio == "stored" and error in (None, "corrupted_file")):
            smelt.audio = "removing"
        smelt.suspect = smelt.reserved_by = None
        self._leave(number)

    def _leave(self, number: int) -> None:
        """Remove a smelt from the queue and its lease."""
        for places in (self.queue.due, self.queue.expired, self.queue.delayed, self.at_risk, self.suspects):
            places.pop(number, None)
        self.queue.leases.pop(number, None)
        self.smelts[number].worker = self.smelts[number].token = self.smelts[number].risk = None

    def _is_expired(self, smelt: Smelt) -> bool:
        """Return True if the whole smelt is to be deleted."""
        return smelt.is_aged and (not smelt.is_submitted or (smelt.owner == "visitors" and smelt.has_ended))

    def _remove(self, number: int) -> None:
        self._leave(number)
        del self.smelts[number]
