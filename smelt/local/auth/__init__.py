"""The Auth API of the embedded stack, limited to what the official clients use.

It offers sign-up with email and password or anonymously, sign-in, refresh with rotation, the user's own account,
sign-out, links and one-time passwords, and user management with the service key. It writes mails to the log instead of
sending them. Other providers and second factors are left to `supabase start`.
"""

from smelt.local.auth.app import create_auth
from smelt.local.auth.store import AuthStore

__all__ = ["AuthStore", "create_auth"]
