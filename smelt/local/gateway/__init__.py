"""The HTTP server of the embedded stack: PostgREST, Auth, Storage and Realtime behind one origin.

`uvicorn_server` serves the application `app`, which `config` configures; `edge` checks API keys and origins, and
forwards to PostgREST, which `postgrest` runs.
"""
