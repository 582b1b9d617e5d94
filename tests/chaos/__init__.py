"""Smelts under faults of all kinds, with a checker afterwards; `test_chaos.py` runs a minute, `scripts/chaos` longer.

From the outside inwards:

- `run`: a run in rounds: the servers, an undisturbed transcript of each source, the faults, the checks.
- `plan`: all decisions of a seed: the smelts, the calls of clients about them, the faults in their order.
- `site`, `workers`, `network`: the stack, the gateway and the workers, behind proxies with faults.
- `service`, `hooks`: an external service with callbacks, and the endpoints of webhooks, both with faults.
- `injections`: the faults.
- `clients`, `watchers`, `feeds`: those who create, cancel, retry and follow the smelts.
- `checker`, `samples`: what must be true afterwards, and what may be used meanwhile.
"""
