"""postgres_changes: keeps subscriptions, and publishes row changes to the subscribers that may see them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from smelt.local.realtime import frames
from smelt.local.realtime.bindings import Binding, InvalidBinding, parse_binding
from smelt.local.realtime.catalog import Catalog, PublishedTable, TableFacts
from smelt.local.realtime.conditions import Condition, Undecided, evaluate
from smelt.local.realtime.filters import Conditions, Filters
from smelt.local.realtime.frames import LoggedChange
from smelt.local.realtime.protocol import Json, Push
from smelt.local.realtime.tokens import Token
from smelt.local.realtime.visibility import Visibility

logger = logging.getLogger(__name__)

EXTENSION: Final = "postgres_changes"
RETRY_DELAY_S: Final = 1.0
_RETRYING: Final = AsyncRetrying(
    retry=retry_if_exception_type(psycopg.OperationalError),
    stop=stop_after_attempt(5),
    wait=wait_fixed(RETRY_DELAY_S),
    reraise=True,
)


class Subscriber(Protocol):
    """A channel with bindings for postgres_changes."""

    @property
    def topic(self) -> str: ...

    @property
    def token(self) -> Token: ...

    @property
    def closed(self) -> bool: ...

    @property
    def legacy(self) -> bool: ...

    def push(self, message: Push) -> None:
        """Queue a message without waiting."""

    def system(self, message: str, *, status: str = "error", extension: str = "system") -> None:
        """Send a system event about the result of a subscription."""


@dataclass(frozen=True, slots=True)
class _ResolvedBinding:
    binding: Binding
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class _Subscription:
    bindings: Sequence[Json]
    resolved: tuple[_ResolvedBinding, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    """A subscriber with its bindings for the table and the action of a change; later only those whose filters match."""

    subscriber: Subscriber
    token: Token
    bindings: Sequence[_ResolvedBinding]


class Changes:
    """The subscriptions to postgres_changes, and the publication of changes to them."""

    def __init__(self, catalog: Catalog, filters: Filters, visibility: Visibility, max_bytes: int) -> None:
        self._catalog = catalog
        self._filters = filters
        self._visibility = visibility
        self._max_bytes = max_bytes
        self._subscriptions: dict[Subscriber, _Subscription] = {}
        self._published: tuple[PublishedTable, ...] | None = None
        self._cached_facts: tuple[tuple[int, int, frozenset[str]], TableFacts | None] | None = None

    @property
    def subscriber_count(self) -> int:
        """The number of subscribed channels."""
        return len(self._subscriptions)

    async def subscribe(self, subscriber: Subscriber, bindings: Sequence[Json]) -> None:
        """Replace the bindings of a channel and send the result; one invalid binding cancels all of them."""
        while True:
            try:
                subscription = await self._resolve(subscriber.token.role, bindings)
            except InvalidBinding as error:
                self.unsubscribe(subscriber)
                return subscriber.system(str(error), extension=EXTENSION)
            except psycopg.Error as error:
                logger.warning("subscribing %s: %s", subscriber.topic, error)
                await asyncio.sleep(RETRY_DELAY_S)
            else:
                if not subscriber.closed:  # The channel may have left meanwhile.
                    self._subscriptions[subscriber] = subscription
                return subscriber.system("Subscribed to PostgreSQL", status="ok", extension=EXTENSION)

    async def _resolve(self, role: str, bindings: Sequence[Json]) -> _Subscription:
        parsed = [parse_binding(binding) for binding in bindings]
        published = await self._catalog.published()
        if self._published is None:
            self._published = published
        resolved = [
            _ResolvedBinding(binding, await self._filters.resolve(binding, role, published)) for binding in parsed
        ]
        return _Subscription(bindings, tuple(resolved))

    async def refresh(self) -> None:
        """Renew all subscriptions if the publication has changed since the last check."""
        previous, self._published = self._published, await self._catalog.published()
        if previous in (None, self._published):
            return
        for subscriber, subscription in list(self._subscriptions.items()):
            if subscriber in self._subscriptions:
                await self.subscribe(subscriber, subscription.bindings)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove the subscription of a channel."""
        self._subscriptions.pop(subscriber, None)

    def is_subscribed(self, change: LoggedChange) -> bool:
        """Return True if any channel is subscribed to the table of a change."""
        return any(
            change.relation.oid in binding.conditions
            for subscription in self._subscriptions.values()
            for binding in subscription.resolved
        )

    async def publish(self, change: LoggedChange) -> None:
        """Send a change to the subscribers that match it and may see it; try again if a connection is lost."""
        try:
            # All queries come before the first frame.
            await _RETRYING(self._publish, change)
        except psycopg.Error as error:
            logger.warning("a change of %s.%s is lost: %s", change.relation.schema, change.relation.name, error)

    async def _publish(self, change: LoggedChange) -> None:
        candidates = self._candidates(change)
        facts = await self._facts(change, frozenset(match.token.role for match in candidates)) if candidates else None
        if facts is None:
            return
        types = [await self._catalog.type_of(column.type_oid) for column in change.relation.columns]
        matches = await self._matching(change, facts, candidates)
        json_values = await self._catalog.write(frames.structured_values(change, types)) if matches else {}
        bodies: dict[tuple[str, tuple[str, ...] | None], str] = {}
        for match in matches:
            for select, ids in _by_select(match.bindings).items():
                key = (match.token.role, select)
                if key not in bodies:
                    readable = facts.readable.get(match.token.role, frozenset())
                    bodies[key] = frames.change_body(
                        change, types, json_values, facts, readable, select, self._max_bytes
                    )
                match.subscriber.push(_frame(match.subscriber, change, bodies[key], ids))

    async def _facts(self, change: LoggedChange, roles: frozenset[str]) -> TableFacts | None:
        """Return the facts of the table, cached for all rows of a transaction."""
        key = (change.xid, change.relation.oid, roles)
        if self._cached_facts is None or self._cached_facts[0] != key:
            self._cached_facts = key, await self._catalog.facts(change.relation.oid, roles)
        return self._cached_facts[1]

    def _candidates(self, change: LoggedChange) -> list[_Match]:
        """Return the subscribers with bindings for the table and the action, regardless of their filters."""
        oid, action = change.relation.oid, change.action
        matches = [
            _Match(
                subscriber,
                subscriber.token,
                [
                    resolved
                    for resolved in subscription.resolved
                    if oid in resolved.conditions and resolved.binding.includes_action(action)
                ],
            )
            for subscriber, subscription in self._subscriptions.items()
        ]
        return [match for match in matches if match.bindings]

    async def _matching(self, change: LoggedChange, facts: TableFacts, candidates: Sequence[_Match]) -> list[_Match]:
        """Return the subscribers that receive the change.

        Those who get an error instead of the values come first, without a check of filters and visibility. For the
        others, at least one binding must match, and the row must be visible.
        """
        without_values, filtered = [], []
        values = change.filtered_values
        for match in candidates:
            if frames.change_error(change, facts, facts.readable.get(match.token.role, frozenset())) is not None:
                without_values.append(match)
            elif bindings := [
                binding for binding in match.bindings if await self._passes_filters(binding, change, values)
            ]:
                filtered.append(_Match(match.subscriber, match.token, bindings))
        return without_values + await self._visible(change, facts, filtered)

    async def _passes_filters(
        self, binding: _ResolvedBinding, change: LoggedChange, values: Mapping[str, str | None]
    ) -> bool:
        for condition in binding.conditions[change.relation.oid]:
            column = condition.filter.column
            if column not in values or not await self._passes(condition, values[column]):
                return False
        return True

    async def _passes(self, condition: Condition, value: str | None) -> bool:
        try:
            return evaluate(condition, value)
        except Undecided:
            return value is not None and await self._filters.decide(condition, value)

    async def _visible(self, change: LoggedChange, facts: TableFacts, matches: list[_Match]) -> list[_Match]:
        if not facts.rls or change.action == "DELETE" or not facts.key:
            return matches
        key = {column: value for column in facts.key if (value := change.record.get(column)) is not None}
        if len(key) < len(facts.key):
            return []
        seen = await self._visibility.seen_by(change.relation, key, {match.token for match in matches})
        return [match for match in matches if match.token in seen]


def _frame(subscriber: Subscriber, change: LoggedChange, body: str, ids: Sequence[int]) -> Push:
    if subscriber.legacy:
        return Push(subscriber.topic, change.action, body)
    return frames.postgres_changes(subscriber.topic, body, ids)


def _by_select(bindings: Sequence[_ResolvedBinding]) -> dict[tuple[str, ...] | None, list[int]]:
    """Return the ids of the bindings by the columns that they select, in any order; each group gets a frame."""
    grouped: dict[tuple[str, ...] | None, list[int]] = {}
    # The platform lists the last matching binding first.
    for binding in (resolved.binding for resolved in reversed(bindings)):
        select = None if binding.select is None else tuple(sorted(binding.select))
        grouped.setdefault(select, []).append(binding.id)
    return dict(sorted(grouped.items(), key=lambda group: ",".join(group[0] or ())))
