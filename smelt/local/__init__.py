"""The embedded stack: a Supabase project without Docker, for first contact, tests and offline work."""

from smelt.local.errors import LocalError, LocalRefused, LocalUnavailable
from smelt.local.stack import LocalStack

__all__ = ["LocalError", "LocalRefused", "LocalStack", "LocalUnavailable"]
