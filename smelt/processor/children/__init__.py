"""Processes that a worker starts for work that it must survive: native code on untrusted media, and the model.

From the outside inwards: `process` starts, talks to, limits and ends a child (the worker's side, asyncio); `inside` is
the side of the child (blocking); `frames` is the format of the messages between them, `texts` that of long texts.
`decoders` decodes files in children. `python -m` starts `decode`, `model` and `extract`.
"""
