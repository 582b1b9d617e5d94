"""The embedded stack: a Supabase project without Docker, for a first try, tests and offline work."""

from smelt.local.cluster import LocalCluster
from smelt.local.errors import LocalError, LocalPermanentError, LocalTransientError
from smelt.local.handle import StackHandle
from smelt.local.stack import LocalStack

__all__ = ["LocalCluster", "LocalError", "LocalPermanentError", "LocalStack", "LocalTransientError", "StackHandle"]
