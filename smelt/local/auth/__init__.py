"""The Auth API of the embedded stack, as far as the official clients use it here.

Sign-up by address and password or anonymously, signing in, refreshing with rotation, the own account, signing out, and
users managed with the service key. Nothing is ever mailed: what needs mail, other providers or second factors is left
to `supabase start`.
"""

from smelt.local.auth.app import create_auth
from smelt.local.auth.store import AuthStore

__all__ = ["AuthStore", "create_auth"]
