"""The supervised connection to Supabase Realtime, shared by processor and subscriber."""

from smelt.backend.realtime.channel import Channel
from smelt.backend.realtime.connection import ConnectionReport, ConnectionState, RealtimeConnection
from smelt.backend.realtime.decisions import Pace
from smelt.backend.realtime.seat import ChangesOf

__all__ = ["ChangesOf", "Channel", "ConnectionReport", "ConnectionState", "Pace", "RealtimeConnection"]
