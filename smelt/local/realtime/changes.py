"""postgres_changes: who asked for which changes, and the way of a changed row to those who may see it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg

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
RETRY_S: Final = 1.0


class Subscriber(Protocol):
    """A channel that asked for changes."""

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
        """Tell what became of a subscription."""


@dataclass(frozen=True, slots=True)
class _Resolved:
    binding: Binding
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class _Subscription:
    wishes: Sequence[Json]
    resolved: tuple[_Resolved, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    """A subscriber and those of its wishes that are for the table and the action of a change, or that it meets, too."""

    subscriber: Subscriber
    token: Token
    wishes: Sequence[_Resolved]


class Changes:
    """Knows who asked for what, and tells them."""

    def __init__(self, catalog: Catalog, filters: Filters, visibility: Visibility, max_bytes: int) -> None:
        self._catalog = catalog
        self._filters = filters
        self._visibility = visibility
        self._max_bytes = max_bytes
        self._subscriptions: dict[Subscriber, _Subscription] = {}
        self._published: tuple[PublishedTable, ...] | None = None
        self._known_facts: tuple[tuple[int, int, frozenset[str]], TableFacts | None] | None = None

    @property
    def subscriber_count(self) -> int:
        """How many channels are told of changes."""
        return len(self._subscriptions)

    async def subscribe(self, subscriber: Subscriber, wishes: Sequence[Json]) -> None:
        """Let a channel have what it asks for from now on, or nothing when one wish cannot be fulfilled, and say so."""
        while True:
            try:
                subscription = await self._resolve(subscriber.token.role, wishes)
            except InvalidBinding as refused:
                self.unsubscribe(subscriber)
                return subscriber.system(str(refused), extension=EXTENSION)
            except psycopg.Error as error:
                logger.warning("subscribing %s: %s", subscriber.topic, error)
                await asyncio.sleep(RETRY_S)
            else:
                if not subscriber.closed:  # It may have left meanwhile.
                    self._subscriptions[subscriber] = subscription
                return subscriber.system("Subscribed to PostgreSQL", status="ok", extension=EXTENSION)

    async def _resolve(self, role: str, wishes: Sequence[Json]) -> _Subscription:
        parsed = [parse_binding(wish) for wish in wishes]
        published = await self._catalog.published()
        if self._published is None:
            self._published = published
        resolved = [_Resolved(binding, await self._filters.resolve(binding, role, published)) for binding in parsed]
        return _Subscription(wishes, tuple(resolved))

    async def renew(self) -> None:
        """Subscribe all anew if the publication has changed since the last look at it."""
        before, self._published = self._published, await self._catalog.published()
        if before in (None, self._published):
            return
        for subscriber, subscription in list(self._subscriptions.items()):
            if subscriber in self._subscriptions:
                await self.subscribe(subscriber, subscription.wishes)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Tell a channel no more."""
        self._subscriptions.pop(subscriber, None)

    def wanted(self, change: LoggedChange) -> bool:
        """Say whether anybody asks for changes of this table; nobody does for most."""
        return any(
            change.relation.oid in each.conditions
            for subscription in self._subscriptions.values()
            for each in subscription.resolved
        )

    async def tell(self, change: LoggedChange) -> None:
        """Tell a change to those who ask for it and may know."""
        try:
            await self._tell(change)
        except psycopg.Error as error:
            logger.warning("a change of %s.%s is lost: %s", change.relation.schema, change.relation.name, error)

    async def _tell(self, change: LoggedChange) -> None:
        asked = self._asked(change)
        facts = await self._facts(change, frozenset(match.token.role for match in asked)) if asked else None
        if facts is None:
            return
        types = [await self._catalog.type_of(column.type_oid) for column in change.relation.columns]
        matches = await self._met(change, facts, asked)
        written = await self._catalog.write(frames.structured_values(change, types)) if matches else {}
        bodies: dict[tuple[str, tuple[str, ...] | None], str] = {}
        for match in matches:
            for select, ids in _by_select(match.wishes).items():
                key = (match.token.role, select)
                if key not in bodies:
                    readable = facts.readable.get(match.token.role, frozenset())
                    bodies[key] = frames.change_body(change, types, written, facts, readable, select, self._max_bytes)
                match.subscriber.push(_frame(match.subscriber, change, bodies[key], ids))

    async def _facts(self, change: LoggedChange, roles: frozenset[str]) -> TableFacts | None:
        """What is true of the table; asked once for all rows of a transaction."""
        key = (change.xid, change.relation.oid, roles)
        if self._known_facts is None or self._known_facts[0] != key:
            self._known_facts = key, await self._catalog.facts(change.relation.oid, roles)
        return self._known_facts[1]

    def _asked(self, change: LoggedChange) -> list[_Match]:
        """Who asks for changes like this one, whatever their filters say."""
        oid, action = change.relation.oid, change.action
        matches = [
            _Match(
                subscriber,
                subscriber.token,
                [each for each in subscription.resolved if oid in each.conditions and each.binding.wants(action)],
            )
            for subscriber, subscription in self._subscriptions.items()
        ]
        return [match for match in matches if match.wishes]

    async def _met(self, change: LoggedChange, facts: TableFacts, asked: Sequence[_Match]) -> list[_Match]:
        """Those who are told: who sees the row and has a filter that it meets, or is refused, which needs neither."""
        refused, filtered = [], []
        values = change.filtered_values
        for match in asked:
            if frames.refusal(change, facts, facts.readable.get(match.token.role, frozenset())) is not None:
                refused.append(match)
            elif wishes := [each for each in match.wishes if await self._meets(each, change, values)]:
                filtered.append(_Match(match.subscriber, match.token, wishes))
        return refused + await self._visible(change, facts, filtered)

    async def _meets(self, each: _Resolved, change: LoggedChange, values: Mapping[str, str | None]) -> bool:
        for condition in each.conditions[change.relation.oid]:
            column = condition.filter.column
            if column not in values or not await self._is_met(condition, values[column]):
                return False
        return True

    async def _is_met(self, condition: Condition, value: str | None) -> bool:
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


def _by_select(wishes: Sequence[_Resolved]) -> dict[tuple[str, ...] | None, list[int]]:
    """The ids of wishes by the columns that they select, in whatever order: a frame for each."""
    grouped: dict[tuple[str, ...] | None, list[int]] = {}
    # The platform names the last of the matching wishes first.
    for binding in (each.binding for each in reversed(wishes)):
        select = None if binding.select is None else tuple(sorted(binding.select))
        grouped.setdefault(select, []).append(binding.id)
    return dict(sorted(grouped.items(), key=lambda group: ",".join(group[0] or ())))
