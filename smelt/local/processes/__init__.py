"""The processes of a stack, for the operating system.

`child` starts and stops one, through the program `exec_shim`, which ends it with the supervisor. `lock` allows one
stack per folder, `ports` opens the ports, `logs` reads and rotates the log files, and `waiting` polls for changes that
raise no event.
"""
