"""The rules of the queue in Python, for smelts with numbers: ranks, and the order of claims. Pure."""

from dataclasses import dataclass, field


@dataclass
class Queue:
    """The rules of the queue in Python, for smelts with numbers.

    Due smelts and expired leases have `(rank, arrival)`, by which they are claimed; a smelt that waits for a delay
    has its arrival once the delay has passed, None before. `workers` are the models that each worker can process;
    `live` are the workers that are alive, and `started` the smelts that a worker has claimed.
    """

    workers: tuple[frozenset[str], ...] = (frozenset({""}),)
    live: set[int] = field(default_factory=lambda: {0})
    owners: dict[int, str] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)
    due: dict[int, tuple[int, int]] = field(default_factory=dict)
    leases: dict[int, int] = field(default_factory=dict)
    expired: dict[int, tuple[int, int]] = field(default_factory=dict)
    delayed: dict[int, int | None] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    started: set[int] = field(default_factory=set)
    arrivals: int = 0

    def arrive(self) -> int:
        """Return the next arrival: a later one is higher."""
        self.arrivals += 1
        return self.arrivals

    def workers_of(self, model: str) -> list[frozenset[str]]:
        """Return the models of each live worker that can process this one, of an imagined one if there is none."""
        live = [self.workers[worker] for worker in self.live]
        return [models for models in live if model in models] or [frozenset({"", model})]

    def reached(self, model: str) -> int:
        """Return the rank that the workers of a model have reached."""
        workers = self.workers_of(model)
        shared = frozenset().union(*workers)
        ranks = {smelt: rank for smelt, (rank, _) in self.due.items() if self.models[smelt] in shared}
        new = {smelt: rank for smelt, rank in ranks.items() if smelt not in self.started}
        queues = [[rank for smelt, rank in new.items() if self.models[smelt] in models] for models in workers]
        if new:
            return max(min(ranks) - 1 for ranks in queues if ranks)
        leased = [rank for smelt, rank in self.leases.items() if self.models[smelt] in shared]
        returned = [min(ranks.values()) - 1] if ranks else []
        return max([*leased, *returned], default=0)

    def ranks_of(self, owner: str) -> list[int]:
        """Return the ranks of an owner, in the queue and on leases."""
        ranks = {smelt: rank for smelt, (rank, _) in self.due.items()} | self.leases
        return [rank for smelt, rank in ranks.items() if self.owners[smelt] == owner]

    def rank(self, smelt: int, arrival: int) -> None:
        """Rank a smelt that becomes due."""
        rank = max([*self.ranks_of(self.owners[smelt]), self.reached(self.models[smelt])]) + 1
        self.due[smelt] = (rank, arrival)

    def create(self, owner: str, model: str = "") -> int:
        """Add a smelt of an owner; return its number."""
        smelt = len(self.owners)
        self.owners[smelt], self.models[smelt] = owner, model
        self.rank(smelt, self.arrive())
        return smelt

    def order(self, worker: int = 0) -> list[int]:
        """Return the due smelts and expired leases that a worker can claim, in the order of claims."""
        waiting = self.due | self.expired
        reachable = [smelt for smelt in waiting if self.models[smelt] in self.workers[worker]]
        return sorted(reachable, key=lambda smelt: waiting[smelt])

    def claim(self, limit: int, worker: int = 0) -> list[int]:
        """Rank the smelts whose delay has passed, then lease the first ones for a worker."""
        self.rank_passed()
        claims = self.order(worker)[:limit]
        self.lease(claims)
        return claims

    def rank_passed(self) -> None:
        """Rank the smelts whose delay has passed."""
        passed = sorted((arrival, smelt) for smelt, arrival in self.delayed.items() if arrival is not None)
        highest: dict[str, int] = {}
        for _, smelt in passed:
            owner, reached = self.owners[smelt], self.reached(self.models[smelt])
            highest[owner] = max([*self.ranks_of(owner), reached, highest.get(owner, reached)])
        for arrival, smelt in passed:
            del self.delayed[smelt]
            highest[self.owners[smelt]] += 1
            self.due[smelt] = (highest[self.owners[smelt]], arrival)

    def lease(self, claims: list[int]) -> None:
        """Lease due smelts and those with expired leases."""
        for smelt in claims:
            self.leases[smelt] = (self.due.pop(smelt, None) or self.expired.pop(smelt))[0]
        self.started.update(claims)

    def release(self, smelt: int) -> None:
        """Return a smelt with its rank."""
        self.due[smelt] = (self.leases[smelt], self.arrive())
        self.end_lease(smelt)

    def expire(self, smelt: int) -> None:
        """Let a lease expire: it is claimed at its rank."""
        self.expired[smelt] = (self.leases[smelt], self.arrive())

    def complete(self, smelt: int) -> None:
        """End a smelt that a worker holds."""
        self.end_lease(smelt)

    def fail_later(self, smelt: int) -> None:
        """Let a smelt wait for a delay."""
        self.end_lease(smelt)
        self.delayed[smelt] = None

    def pass_delay(self, smelt: int) -> None:
        """Let the delay of a smelt pass: the next claim ranks it."""
        self.delayed[smelt] = self.arrive()

    def cancel(self, smelt: int) -> None:
        """End a due smelt; its rank becomes a gap."""
        del self.due[smelt]
        self.ended.append(smelt)

    def retry(self, smelt: int) -> None:
        """Let a cancelled smelt arrive again."""
        self.ended.remove(smelt)
        self.started.discard(smelt)
        self.rank(smelt, self.arrive())

    def start(self, worker: int) -> None:
        """Let a worker send heartbeats."""
        self.live.add(worker)

    def stop(self, worker: int) -> None:
        """Let a worker leave; its leases stay."""
        self.live.discard(worker)

    def candidates(self, change: str) -> list[int]:
        """Return the smelts that a change applies to."""
        match change:
            case "cancel":
                return list(self.due)
            case "retry":
                return list(self.ended)
            case "pass_delay":
                return [smelt for smelt, arrival in self.delayed.items() if arrival is None]
            case _:
                return [smelt for smelt in self.leases if smelt not in self.expired]

    def end_lease(self, smelt: int) -> None:
        """Remove the lease of a smelt."""
        del self.leases[smelt]
        self.expired.pop(smelt, None)
