"""Event streams (`text/event-stream`): many streams over one watch, feed or channel of each identity.

- `hub`: admits streams, and shares one `Source` for each identity and subject.
- `stream`: one stream: opening, comments, permission checks, drain.
- `frames`: the wire format.
- `event_id`: the id of an event, by which a reader resumes.
- `smelt_events`: the contract's events, made of states and updates. Pure.
- `smelt_log`: the log that all readers of a smelt share, and the place of one reader in it. Pure.
- `smelts`, `batches`, `rows` (changes of all rows), `files` (made of them), `notifications`: one kind of stream each.

A source never queues for a reader. It holds the newest state; segments form a linked list in which each reader has its
own place, so that they are freed once the slowest reader has them.
"""
