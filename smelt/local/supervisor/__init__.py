"""The process that owns a stack, `python -m smelt.local.supervisor`.

`__main__` reads the command line and reports to the parent process. It runs `single`, one stack, or `cluster`, many
stacks over cloned databases. Both start Postgres (`database`), then PostgREST and the gateway (`api`), and restart
what exits (`restart`). `notes` describes what the stack does not do for its project, and `cleanup` removes ephemeral
folders.
"""
