"""Readers of one smelt over cuts, restarts of the gateway and lost events: each segment and the end exactly once."""

import gc
import json
import random
import weakref
from collections import Counter
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.contract.events import SmeltEvent, parse_event
from smelt.gateway.streams.event_id import EventId
from smelt.gateway.streams.smelt_log import SmeltLog, SmeltReader
from smelt.subscriber.timeline import Timeline, end_of_snapshot, progress_of_snapshot
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update
from tests.harness.histories import (
    FILES,
    SMELT,
    History,
    Row,
    lengths,
    make_history,
    segment,
    snapshot,
)


class Gateway:
    """One gateway: a watch that misses, repeats and reorders events, and the log that it feeds."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.timeline = Timeline(SMELT)
        self.log = SmeltLog()

    def receive(self, updates: tuple[Update, ...]) -> None:
        for update in updates:
            if isinstance(update, Completed | Failed):
                self.log.conclude(update, self.timeline.segments_seq)
                if self.log.end is None:
                    self._start()
                return
            self.log.add(update)
        self.log.settle(self.timeline.segments_seq)

    def read(self, row: Row) -> None:
        known = self.timeline.known
        if self.log.end is not None:
            self._start()
        elif known.after_seq is None or known.after_seq < row.seq:
            after = known.segments_after or 0
            self.receive(self.timeline.merge_snapshot(snapshot(row, after), after))


class Watcher:
    """A reader over many connections, and all that it has received."""

    def __init__(self) -> None:
        self.last: str | None = None
        self.segments: Counter[tuple[int, UUID, int]] = Counter()
        self.order: dict[tuple[int, UUID], list[int]] = {}
        self.ends: list[tuple[int, int]] = []
        self.reader: SmeltReader | None = None
        self.log: SmeltLog | None = None
        self.is_done = False

    def connect(self, row: Row, chance: random.Random, *, cuts: bool) -> None:
        last = EventId.parse(self.last)
        reader = SmeltReader(last)
        state = snapshot(row, reader.segments_after)
        assert last is None or last.is_of(state)
        self.is_done = last is not None and last.is_end_of(state)
        self.reader, self.log = None if self.is_done else reader, None
        if not self.is_done:
            self.receive(b"".join(reader.events_of(state)), chance, cuts=cuts)

    def proceed(self, gateway: Gateway, row: Row, chance: random.Random, *, cuts: bool) -> None:
        """Do what a stream does once: enter the log, read, or take."""
        if self.reader is None:
            self.connect(row, chance, cuts=cuts)
        elif self.reader.is_over:
            self.reader = None
        elif self.log is not gateway.log:
            if self.log is not None:  # The source is closed: the reader reads the state itself.
                self.receive(
                    b"".join(self.reader.events_of(snapshot(row, self.reader.segments_after))), chance, cuts=cuts
                )
                self.log = None
            if self.reader is not None and not self.reader.is_over:
                self._enter(gateway, row, chance, cuts=cuts)
        else:
            self.receive(self.reader.take() or b"", chance, cuts=cuts)

    def _enter(self, gateway: Gateway, row: Row, chance: random.Random, *, cuts: bool) -> None:
        assert self.reader is not None
        log = gateway.log
        place = self.reader.enter(log)
        if place == "behind":
            gateway.read(row)
        if place == "ahead" or gateway.log is not log or log.end is not None:
            state = snapshot(row, self.reader.segments_after)
            self.receive(b"".join(self.reader.events_of(state)), chance, cuts=cuts)
        elif place == "entered":
            self.log = log

    def receive(self, sent: bytes, chance: random.Random, *, cuts: bool) -> None:
        """Receive all bytes, or some of them before the connection is lost."""
        is_cut = cuts and chance.random() < 0.3
        if is_cut:
            sent = sent[: chance.randint(0, len(sent))]
        *complete, _ = sent.decode().split("\n\n")
        for text in complete:
            fields = dict(line.split(": ", 1) for line in text.split("\n"))
            self.last = fields["id"]
            self._record(fields["event"], json.loads(fields["data"]))
        if is_cut:
            self.reader = self.log = None

    def _record(self, name: str, payload: dict[str, Any]) -> None:
        assert parse_event(name, payload) is not None
        run = payload["run"]
        for new in payload.get("segments", ()):
            key = (run, UUID(new["file_id"]))
            self.segments[*key, new["index"]] += 1
            self.order.setdefault(key, []).append(new["index"])
        if name in ("completed", "failed"):
            self.ends.append((run, payload["seq"]))

    def assert_nothing_lost_or_doubled(self, history: History) -> None:
        final = history.rows[-1]
        assert max(self.segments.values(), default=1) == 1
        assert Counter(self.ends).most_common(1)[0][1] == 1
        assert self.ends[-1] == (final.run, final.seq)
        got = {file: indexes for (run, file), indexes in self.order.items() if run == final.run}
        assert got == {file: list(range(n)) for file, n in lengths(final).items()}


class World:
    """A smelt as time passes, one gateway, and watchers that are cut off at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.history = make_history(chance)
        self.gateway = Gateway()
        self.watchers = [Watcher() for _ in range(3)]
        self._current = 0
        self._sent: list[SmeltEvent] = []

    def play(self) -> None:
        """Let time pass until the last change, with losses, cuts and restarts."""
        while self._current < len(self.history.steps) - 1:
            self.chance.choice([self._change, self._deliver, self._read, self._restart, *[self._proceed] * 4])()

    def finish(self) -> None:
        """Let all watchers receive the end and reconnect after it, without further faults."""
        final = self.history.rows[-1]
        for watcher in self.watchers:
            watcher.is_done = False
            for _ in range(20):
                if not watcher.is_done:
                    watcher.proceed(self.gateway, final, self.chance, cuts=False)
                    if self.gateway.log.end is None:
                        self.gateway.read(final)
            assert watcher.is_done

    def _change(self) -> None:
        self._current += 1
        event = self.history.steps[self._current].event
        if event is not None:
            self._sent += [event] * self.chance.choice([0, 1, 1, 1, 1, 2])

    def _deliver(self) -> None:
        if self._sent:
            place = 0 if self.chance.random() < 0.8 else self.chance.randrange(len(self._sent))
            self.gateway.receive(self.gateway.timeline.merge_event(self._sent.pop(place)))

    def _read(self) -> None:
        self.gateway.read(self.history.rows[self._current])

    def _restart(self) -> None:
        if self.chance.random() < 0.3:
            self.gateway = Gateway()

    def _proceed(self) -> None:
        row = self.history.rows[self._current]
        self.chance.choice(self.watchers).proceed(self.gateway, row, self.chance, cuts=True)


@settings(max_examples=150)
@given(st.randoms(use_true_random=False))
def test_resumption_loses_and_doubles_no_segment_and_no_end(chance: random.Random) -> None:
    world = World(chance)
    world.play()
    world.finish()
    for watcher in world.watchers:
        watcher.assert_nothing_lost_or_doubled(world.history)


def progress(row: Row) -> Progress:
    return progress_of_snapshot(snapshot(row))


def segments(first: int, count: int) -> Segments:
    indexes = tuple(segment(index) for index in range(first, first + count))
    return Segments(smelt_id=SMELT, file_id=FILES[0], segments=indexes, run=1)


def entered(log: SmeltLog, row: Row) -> SmeltReader:
    """Return a reader that has the state of a row."""
    reader = SmeltReader(None)
    assert list(reader.events_of(snapshot(row)))
    assert reader.enter(log) == "entered"
    return reader


def test_slow_reader_gets_one_event_with_the_newest_state_and_all_segments() -> None:
    log = SmeltLog()
    log.add(progress(Row(seq=1)))
    log.settle(1)
    reader = entered(log, Row(seq=1))
    for seq in range(2, 100):
        log.add(segments(seq - 2, 1))
        log.add(progress(Row(seq=seq, status="transcribing", percentage=float(seq))))
        log.settle(seq)
    frame = reader.take()
    assert frame is not None
    assert frame.count(b"event: progress") == 1
    assert b"id: 1.99.99\n" in frame
    assert json.loads(frame.split(b"data: ")[1].split(b"\n")[0])["progress"]["percentage"] == 99.0
    assert reader.take() is None


def test_segments_are_freed_once_the_slowest_reader_has_them() -> None:
    log = SmeltLog()
    log.add(progress(Row(seq=1)))
    log.settle(1)
    slow, fast = entered(log, Row(seq=1)), entered(log, Row(seq=1))
    log.add(segments(0, 1))
    log.settle(2)
    first = weakref.ref(log.last.segments[0])
    log.add(segments(1, 1))
    log.settle(3)
    assert fast.take() == slow.take()
    log.frame(log.last, progress(Row(seq=3)), [])  # The rendered event is kept for other readers.
    gc.collect()
    assert first() is None


def test_event_is_rendered_once_for_readers_in_the_same_place() -> None:
    log = SmeltLog()
    log.add(progress(Row(seq=1)))
    log.settle(1)
    readers = [entered(log, Row(seq=1)) for _ in range(2)]
    log.add(progress(Row(seq=2, status="validating")))
    log.settle(2)
    first, second = (reader.take() for reader in readers)
    assert first is second


def test_change_of_the_queue_position_alone_is_no_event() -> None:
    log = SmeltLog()
    log.add(progress(Row(seq=1)))
    log.settle(1)
    reader = entered(log, Row(seq=1))
    log.add(progress(Row(seq=1)).model_copy(update={"queue_position": 5, "worker_online": False}))
    log.settle(1)
    assert reader.take() is None


def test_reader_enters_a_log_only_at_a_boundary_within_its_own_reads() -> None:
    log = SmeltLog()
    reader = SmeltReader(EventId(1, 3, 3))
    assert list(reader.events_of(snapshot(Row(seq=5), segments_after=3)))
    assert reader.enter(log) == "behind"
    log.settle(2)
    assert reader.enter(log) == "behind"
    log.settle(6)
    assert reader.enter(log) == "ahead"
    assert list(reader.events_of(snapshot(Row(seq=6), segments_after=5)))
    assert reader.enter(log) == "entered"


def test_end_is_left_to_the_readers_if_something_before_it_may_be_missing() -> None:
    failed = end_of_snapshot(snapshot(Row(run=2, seq=9, status="failed")))
    assert failed is not None
    log = SmeltLog()
    log.add(progress(Row(run=1, seq=5)))
    log.conclude(failed, 9)
    assert log.end is None
    log.add(progress(Row(run=2, seq=8)))
    log.conclude(failed, None)
    assert log.end is None
    log.conclude(failed, 9)
    assert log.end == failed
