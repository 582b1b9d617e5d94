"""What whoever uses a running stack asks of it: addresses and keys."""

from smelt.local.keys import Keys
from smelt.local.state import StackState


class StackHandle:
    """A running stack, as it is reached."""

    def __init__(self, state: StackState | None = None) -> None:
        self._state = state
        self._keys = Keys()

    @property
    def state(self) -> StackState:
        """Where the stack is reached; raise `RuntimeError` outside of the block that it runs in."""
        if self._state is None:
            raise RuntimeError("a stack runs inside of its `async with` block")
        return self._state

    @property
    def api_url(self) -> str:
        """What goes in `SUPABASE_URL`."""
        return self.state.api_url

    @property
    def db_url(self) -> str:
        """How to connect as `postgres`, the owner of the project; no superuser."""
        return self.state.db_url

    @property
    def admin_dsn(self) -> str:
        """How to connect as the superuser that the platform keeps for itself; for tests that look behind the scenes."""
        return self.state.admin_dsn

    @property
    def anon_key(self) -> str:
        """The key of apps."""
        return self._keys.anon_key

    @property
    def service_role_key(self) -> str:
        """The key of workers, which row level security does not hold back."""
        return self._keys.service_role_key

    @property
    def publishable_key(self) -> str:
        """The newer kind of `anon_key`."""
        return self._keys.publishable_key

    @property
    def secret_key(self) -> str:
        """The newer kind of `service_role_key`."""
        return self._keys.secret_key

    @property
    def jwt_secret(self) -> str:
        """What tokens are signed with."""
        return self._keys.jwt_secret

    def env(self) -> dict[str, str]:
        """Answer the names of `supabase status -o env`, and those that a `.env` for smelt wants."""
        return self.state.env(self._keys)
