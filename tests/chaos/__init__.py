"""Smelts under faults of all kinds, with a checker afterwards; README.md describes faults, checks and output.

From the outside inwards:

- `run`: a run in rounds: the servers, an undisturbed transcript of each source, the faults, the checks.
- `plan`: all decisions of a seed: the smelts, the calls of clients about them, the faults in their order.
- `site`, `workers`, `network`, `disks`: the stack, the gateway and the workers, with faults between and below them.
- `service`, `hooks`: an external service with callbacks, and the endpoints of webhooks, both with faults.
- `injections`: the faults.
- `clients`, `watchers`, `feeds`: those who create, cancel, retry and follow the smelts.
- `checker`, `deadlines`, `samples`: what must be true afterwards, and meanwhile, and what may be used.
"""
