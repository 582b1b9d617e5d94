"""The supervised connection to Supabase Realtime, shared by processor and subscriber."""

from smelt.backend.realtime.channel import Channel
from smelt.backend.realtime.channel_join import ChangesOf
from smelt.backend.realtime.connection import ConnectionReport, ConnectionState, RealtimeConnection
from smelt.backend.realtime.policy import RealtimeTimings

__all__ = ["ChangesOf", "Channel", "ConnectionReport", "ConnectionState", "RealtimeConnection", "RealtimeTimings"]
