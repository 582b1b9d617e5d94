"""Postgres, and what is in its database before a project's own tables.

`template` builds a data folder once for each project, and copies it for new stacks. `postgres` runs the server,
`schemas` installs the platform's own SQL (`platform/`), `extensions` adds the extensions, and `migrations` applies a
project's migrations, seed and buckets.
"""
