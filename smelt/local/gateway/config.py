"""The configuration of the gateway."""

from dataclasses import dataclass
from pathlib import Path

from smelt.local.keys import Keys
from smelt.local.project import AuthRules, RealtimeLimits


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """The complete configuration of the gateway; it reads neither the environment nor files.

    The DSNs are libpq connection strings over the Unix socket, one for each role that a service of the platform uses:
    `realtime_dsn` connects as `smelt_realtime` (replication), `authenticator_dsn` as the role that switches to the
    caller's, `auth_dsn` and `storage_dsn` as the owners of those tables. None is a superuser: all of these sessions run
    functions of the project.
    """

    api_url: str
    postgrest_url: str
    realtime_dsn: str
    authenticator_dsn: str
    auth_dsn: str
    storage_dsn: str
    keys: Keys
    storage_dir: Path
    file_size_limit: int
    max_body_bytes: int
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    auth: AuthRules
    realtime: RealtimeLimits

    @property
    def jwt_secret(self) -> str:
        """The secret that signs all tokens of this stack."""
        return self.keys.jwt_secret
