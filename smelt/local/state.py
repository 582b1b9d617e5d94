"""The state file of a running stack."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from smelt.local import files
from smelt.local.keys import Keys
from smelt.local.paths import StackPaths
from smelt.local.processes import lock


@dataclass(frozen=True, kw_only=True)
class StackState:
    """A running stack: the process id of its supervisor, the project folder and the addresses.

    `notes` are sentences about what the stack does not do for this project.
    """

    pid: int
    project: str
    api_url: str
    db_url: str
    admin_dsn: str
    notes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "StackState":
        """Parse the output of `dump`."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, values: dict[str, Any]) -> "StackState":
        """Return the state with the values of JSON, which has no tuples."""
        return cls(**values | {"notes": tuple(values["notes"])})

    def dump(self) -> str:
        """Return the state as one line of JSON."""
        return json.dumps(asdict(self))

    def env(self, keys: Keys) -> dict[str, str]:
        """Return the variables of `supabase status -o env`, and those that smelt reads from `.env`."""
        return {
            "API_URL": self.api_url,
            "REST_URL": f"{self.api_url}/rest/v1",
            "DB_URL": self.db_url,
            "PUBLISHABLE_KEY": keys.publishable_key,
            "SECRET_KEY": keys.secret_key,
            "JWT_SECRET": keys.jwt_secret,
            "ANON_KEY": keys.anon_key,
            "SERVICE_ROLE_KEY": keys.service_role_key,
            "SUPABASE_URL": self.api_url,
            "SUPABASE_ANON_KEY": keys.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": keys.service_role_key,
        }


def read(paths: StackPaths) -> StackState | None:
    """Return the stack that runs in a folder, or None if there is none or it is still starting."""
    if lock.holder(paths.lock) is None or not paths.state.exists():
        return None
    return StackState.parse(files.read_text(paths.state, os.geteuid(), 0))


def write(paths: StackPaths, state: StackState) -> None:
    """Write the state file atomically."""
    new = paths.state.with_suffix(".new")
    with files.open_text(new, "w") as file:
        file.write(state.dump())
    new.replace(paths.state)


def remove(paths: StackPaths) -> None:
    """Remove the state file."""
    paths.state.unlink(missing_ok=True)
