"""Runs stacks from a program: each in a supervisor process of its own, which ends with the program.

`stack` runs one stack and `cluster` many short-lived ones; both return a `handle` with its addresses and keys.
`supervisor_client` starts a supervisor, exchanges requests with it, and stops it.
"""
