"""The stages of a smelt, one file each; `pipeline` runs them in order.

A stage is a class with a `name`, the files that it processes, the `weight` of a file in its progress, the `risk` that
the database saves before its work, and `run` for one file (`stage`). To add one, write its file, and add its class to
`STAGES` in `pipeline`.
"""
