"""The addresses and keys of a running stack."""

from smelt.local.keys import Keys
from smelt.local.state import StackState


class StackHandle:
    """The addresses and keys of a running stack."""

    def __init__(self, state: StackState | None = None) -> None:
        self._state = state
        self._keys = Keys()

    @property
    def state(self) -> StackState:
        """The addresses of the stack; raises `RuntimeError` outside its `async with` block."""
        if self._state is None:
            raise RuntimeError("use a stack inside its `async with` block")
        return self._state

    @property
    def api_url(self) -> str:
        """The value for `SUPABASE_URL`."""
        return self.state.api_url

    @property
    def db_url(self) -> str:
        """The database URL for `postgres`, the owner of the project, who is not a superuser."""
        return self.state.db_url

    @property
    def admin_dsn(self) -> str:
        """The connection string for the superuser, which the platform does not give out; for tests of internals."""
        return self.state.admin_dsn

    @property
    def anon_key(self) -> str:
        """The public key, for apps."""
        return self._keys.anon_key

    @property
    def service_role_key(self) -> str:
        """The key for workers, which bypasses row level security."""
        return self._keys.service_role_key

    @property
    def publishable_key(self) -> str:
        """The opaque key that replaces `anon_key`."""
        return self._keys.publishable_key

    @property
    def secret_key(self) -> str:
        """The opaque key that replaces `service_role_key`."""
        return self._keys.secret_key

    @property
    def jwt_secret(self) -> str:
        """The secret that signs tokens."""
        return self._keys.jwt_secret

    def env(self) -> dict[str, str]:
        """Return the variables of `supabase status -o env`, and those that smelt reads from `.env`."""
        return self.state.env(self._keys)
