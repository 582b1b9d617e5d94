"""The receivers and the order of broadcasts, and the handling of slow readers."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from smelt.local.realtime.channel import JoinedChannel
from smelt.local.realtime.hub import ChannelKey, Encoded, Hub
from smelt.local.realtime.join import JoinRequest
from smelt.local.realtime.mailbox import MAX_READ_AHEAD, Mailbox
from smelt.local.realtime.messages import live_broadcast
from smelt.local.realtime.presence import CallLimit
from smelt.local.realtime.protocol import Frame, GenericBroadcast, Push, UserBroadcast, Version
from smelt.local.realtime.rates import EventLimit, EventRate
from smelt.local.realtime.tokens import Token

KEY = ChannelKey("room", private=False)
TOKEN = Token("t", "anon", "", "{}", 2**33)
TICK_S = 5.0
UNLIMITED = EventLimit(None, EventRate(TICK_S))


@dataclass
class Sink:
    frames: list[Encoded] = field(default_factory=list)

    def put(self, frame: Encoded) -> None:
        self.frames.append(frame)


def channel(version: Version = Version.V1, **settings: Any) -> JoinedChannel:
    return JoinedChannel(
        key=KEY,
        version=version,
        sink=Sink(),
        request=JoinRequest(**settings),
        token=TOKEN,
        join_ref="1",
        reply_ref="1",
        presence_key="k",
        presence_calls=CallLimit(5, 30),
        readable=frozenset({"broadcast", "presence"}),
        on_close=lambda close: None,
    )


def frames(of: JoinedChannel) -> list[Encoded]:
    assert isinstance(of.sink, Sink)
    return of.sink.frames


def test_broadcast_reaches_all_but_the_sender_in_their_protocol() -> None:
    hub, sender, first, second = Hub(UNLIMITED), channel(), channel(), channel(Version.V2)
    for member in (sender, first, second):
        hub.add(KEY, member)
    hub.send(KEY, Push(KEY.topic, "broadcast", "{}"), sender=sender)
    hub.send(KEY, GenericBroadcast(KEY.topic, "broadcast", b"x"))
    hub.send(KEY._replace(private=True), Push(KEY.topic, "broadcast", '"for nobody"'))
    assert frames(sender) == []
    assert frames(first) == ['{"ref":null,"event":"broadcast","payload":{},"topic":"realtime:room"}']
    assert frames(second)[0] == '[null,null,"realtime:room","broadcast",{}]'
    assert isinstance(frames(second)[1], bytes)


def test_presence_diff_is_sent_when_a_member_leaves() -> None:
    hub, watching, blind, leaving = Hub(UNLIMITED), channel(presence_enabled=True), channel(), channel()
    for member in (watching, blind, leaving):
        hub.add(KEY, member)
    hub.track(KEY, leaving, "k", {"x": 1})
    assert list(hub.presences(KEY)) == ["k"]
    hub.remove(KEY, leaving)
    hub.remove(KEY, leaving)
    assert [json.loads(frame)["event"] for frame in frames(watching)] == ["presence_diff"] * 2
    assert json.loads(frames(watching)[1])["payload"]["leaves"]["k"]["metas"][0]["x"] == 1
    assert frames(blind) == frames(leaving) == []
    assert hub.presences(KEY) == {}
    hub.untrack(KEY, watching)


def test_hub_drops_a_topic_with_its_last_member() -> None:
    hub, alone = Hub(UNLIMITED), channel()
    hub.add(KEY, alone)
    hub.track(KEY, alone, "k", {})
    assert (hub.member_count, hub.present_topics) == (1, 1)
    hub.remove(KEY, alone)
    assert (hub.member_count, hub.present_topics) == (0, 0)
    hub.send(KEY, Push(KEY.topic, "broadcast", "{}"))
    assert frames(alone) == []


def test_presence_untrack_of_an_unknown_member_sends_no_diff() -> None:
    hub, tracked, other = Hub(UNLIMITED), channel(presence_enabled=True), channel()
    hub.add(KEY, tracked)
    hub.track(KEY, tracked, "k", {})
    hub.untrack(KEY, other)
    assert len(frames(tracked)) == 1


def test_broadcast_replay_precedes_live_messages_without_duplicates() -> None:
    joined = channel()
    joined.withheld = []
    joined.deliver("live twice", "id-1")
    joined.deliver("live", "id-2")
    joined.deliver("no id")
    joined.replayed = [("id-1", Push(KEY.topic, "broadcast", '"old"'))]
    joined.release()
    joined.deliver("live a third time", "id-1")
    joined.deliver("after", "id-3")
    assert [frame if "old" not in str(frame) else "old" for frame in frames(joined)] == [
        "old",
        "live",
        "no id",
        "after",
    ]


def test_channel_reports_legacy_changes() -> None:
    assert channel(legacy=True).legacy
    assert not channel().legacy


def test_closed_channel_sends_no_further_frames() -> None:
    joined = channel(Version.V2)
    joined.reply("2", {})
    joined.system("sentence")
    joined.push_close()
    joined.reply("3", {})
    assert [json.loads(frame)[:2] for frame in frames(joined)] == [["1", "2"], ["1", None], ["1", "1"]]


def frame(event: str) -> Frame:
    return Frame(None, None, "t", event, {}, "{}")


def test_rate_limit_uses_the_mean_of_the_last_minute() -> None:
    """The mean is updated every few seconds, so a burst is noticed late, and expires after a minute."""
    limit = EventLimit(100, EventRate(TICK_S))
    limit.count(7000, now=1000.0)
    assert not limit.exceeded(1000.0 + TICK_S / 2)
    assert limit.exceeded(1000.0 + TICK_S)
    assert limit.exceeded(1055.0)
    assert not limit.exceeded(1066.0)
    assert not limit.exceeded(1066.0, more=100)
    assert limit.exceeded(1066.0, more=101)
    limit.count(7000, now=2000.0)
    assert not limit.exceeded(9000.0)
    UNLIMITED.count(10**9, now=0)
    assert not UNLIMITED.exceeded(10, more=10**9)


def test_rate_limit_closes_receivers_after_their_last_message() -> None:
    rate = EventRate(TICK_S)
    rate.count(1, now=time.monotonic() - TICK_S)
    hub, receiver = Hub(EventLimit(0, rate)), channel()
    hub.add(KEY, receiver)
    assert hub.is_over_limit()
    hub.send(KEY, Push(KEY.topic, "broadcast", "{}"))
    messages = [json.loads(frame) for frame in frames(receiver)]
    assert [frame["event"] for frame in messages] == ["broadcast", "system", "phx_close"]
    assert messages[1]["payload"]["message"] == "Too many messages per second"


async def test_mailbox_hold_keeps_the_order_of_both_directions() -> None:
    """A delayed reply is sent first; frames that arrived meanwhile, in either direction, follow in order."""
    mailbox = Mailbox(10, 1000)
    with mailbox.hold():
        mailbox.put("parked")
        await mailbox.receive(frame("heartbeat"))
        mailbox.put("parked later")
        mailbox.put_now("answer")
    mailbox.put("behind")
    assert await mailbox.next_outgoing() == "answer"
    assert await mailbox.next_incoming() == frame("heartbeat")
    mailbox.put_now("reply")
    working = asyncio.create_task(mailbox.next_incoming())
    assert [await mailbox.next_outgoing() for _ in range(4)] == ["parked", "reply", "parked later", "behind"]
    mailbox.put("free")
    assert await mailbox.next_outgoing() == "free"
    await mailbox.receive(frame("late"))
    assert await working == frame("late")


async def test_mailbox_end_follows_the_queued_frames() -> None:
    mailbox = Mailbox(10, 1000)
    mailbox.put("last")
    mailbox.end()
    assert [await mailbox.next_outgoing() for _ in range(2)] == ["last", None]


async def test_mailbox_blocks_a_client_that_sends_too_fast() -> None:
    mailbox = Mailbox(10, 1000)
    for _ in range(MAX_READ_AHEAD):
        await mailbox.receive(frame("e"))
    one_more = asyncio.create_task(mailbox.receive(frame("last")))
    await asyncio.sleep(0)
    assert not one_more.done()
    for _ in range(MAX_READ_AHEAD):
        assert (await mailbox.next_incoming()).event == "e"
    assert (await mailbox.next_incoming()).event == "last"
    await one_more


@pytest.mark.parametrize(("max_frames", "max_bytes", "held"), [(2, 1000, False), (1000, 25, False), (2, 1000, True)])
async def test_mailbox_overflow_detects_a_slow_reader(max_frames: int, max_bytes: int, held: bool) -> None:
    mailbox = Mailbox(max_frames, max_bytes)
    with mailbox.hold():
        put = mailbox.put if held else mailbox.put_now
        for _ in range(2):
            put("0123456789")
        assert not mailbox.overflow.done()
        for _ in range(2):
            put("0123456789")
        assert mailbox.overflow.done()


ROW = {"topic": "room", "extension": "broadcast", "event": "e", "private": "t", "id": "i", "payload": '{"n": 1.50}'}


def test_message_row_becomes_a_broadcast_with_its_payload_unchanged() -> None:
    live = live_broadcast(ROW)
    assert live is not None
    key, message_id, message = live
    assert (key, message_id) == (ChannelKey("room", private=True), "i")
    assert message == UserBroadcast("realtime:room", "e", b'{"n": 1.50}', is_json=True, metadata='{"id":"i"}')


def test_message_row_with_binary_payload_becomes_bytes() -> None:
    live = live_broadcast({**ROW, "payload": None, "binary_payload": "\\x00ff10"})
    assert live is not None
    assert (live[2].payload, live[2].is_json) == (b"\x00\xff\x10", False)


@pytest.mark.parametrize(
    "change", [{"extension": "presence"}, {"event": None}, {"topic": None}, {"payload": None}, {"id": None}]
)
def test_message_row_of_another_kind_or_incomplete_is_not_broadcast(change: dict[str, str | None]) -> None:
    assert live_broadcast({**ROW, **change}) is None
