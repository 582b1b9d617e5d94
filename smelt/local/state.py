"""Where a running stack is reached."""

import json
import os
from dataclasses import asdict, dataclass

from smelt.local import files, lock
from smelt.local.keys import Keys
from smelt.local.paths import StackPaths


@dataclass(frozen=True, kw_only=True)
class StackState:
    """A running stack: its supervisor's process id, the folder with its migrations, and its addresses."""

    pid: int
    project: str
    api_url: str
    db_url: str
    admin_dsn: str

    @classmethod
    def parse(cls, text: str) -> "StackState":
        """Read what `dump` wrote."""
        return cls(**json.loads(text))

    def dump(self) -> str:
        """Answer one line of JSON."""
        return json.dumps(asdict(self))

    def env(self, keys: Keys) -> dict[str, str]:
        """Answer the names of `supabase status -o env`, and those that a `.env` for smelt wants."""
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


def read(places: StackPaths) -> StackState | None:
    """Answer the stack that runs in a folder, None when none does or it is still starting."""
    if lock.holder(places.lock) is None or not places.state.exists():
        return None
    return StackState.parse(files.read_text(places.state, os.geteuid(), 0))


def write(places: StackPaths, state: StackState) -> None:
    """Tell others where the stack is; never half of it."""
    whole = places.state.with_suffix(".new")
    with files.open_text(whole, "w") as file:
        file.write(state.dump())
    whole.replace(places.state)


def forget(places: StackPaths) -> None:
    """Tell others nothing any more."""
    places.state.unlink(missing_ok=True)
