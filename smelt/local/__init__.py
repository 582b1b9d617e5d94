"""The embedded stack: a Supabase project without Docker, for a first try, tests and offline work.

From the outside inwards:

- `client`: what a program uses: it starts a supervisor process and talks to it.
- `supervisor`: the process that owns a stack or a cluster; it starts, restarts and stops everything below.
- `gateway`: the HTTP server with one origin, in the supervisor, and PostgREST behind it.
- `auth`, `storage`, `realtime`: the services behind the gateway.
- `database`: Postgres, the platform's own SQL, and migrations.
- `processes`: child processes, their logs, ports and locks.

The modules beside them are shared: `project` (a `supabase/` folder), `state` (the addresses of a running stack),
`paths`, `files`, `account` (the user of the servers), `http` (for the services), `keys` and `errors`. Each package
imports only those below it. README.md describes how the stack is built, and its differences to the platform.
"""

from smelt.local.client.cluster import LocalCluster
from smelt.local.client.handle import StackHandle
from smelt.local.client.stack import LocalStack
from smelt.local.errors import LocalError, LocalPermanentError, LocalTransientError

__all__ = ["LocalCluster", "LocalError", "LocalPermanentError", "LocalStack", "LocalTransientError", "StackHandle"]
