"""Values that the supervisor hands to the processes of the stack."""

from dataclasses import dataclass
from pathlib import Path

from smelt.local.keys import Keys
from smelt.local.migrations import AuthRules, RealtimeLimits


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """All that the gateway needs to know; it reads no environment and no file for it.

    The DSNs are libpq connection strings over the Unix socket, one for each role that a service of the platform uses:
    `admin_dsn` is the superuser `supabase_admin` (replication), `authenticator_dsn` switches to the caller's role,
    `auth_dsn` and `storage_dsn` are the owners of those tables.
    """

    api_url: str
    postgrest_url: str
    admin_dsn: str
    authenticator_dsn: str
    auth_dsn: str
    storage_dsn: str
    keys: Keys
    storage_dir: Path
    file_size_limit: int
    max_body_bytes: int
    auth: AuthRules
    realtime: RealtimeLimits

    @property
    def jwt_secret(self) -> str:
        """The secret that all tokens of this stack are signed with."""
        return self.keys.jwt_secret
