"""The HTTP gateway (`smelt serve`): REST and event streams over one Supabase project; see its README.md.

- `app`: puts the application together; `options`: its options.
- `server`: uvicorn until a stop; `connection`: its HTTP, with bounded heads; `drain`: when streams have to end.
- `callers`: the credential of a request; `clients`: the clients that callers of one identity share.
- `tokens`: read-only tokens of one smelt; those of callbacks are in `smelt.contract.dispatch`.
- `errors`: one shape for all errors, and their HTTP status.
- `limits`: bounds on bodies and on concurrent work.
- `requests`: the access log, metrics, and headers that protect browsers.
- `routes`: one module for each group of routes.
- `uploads`, `downloads`, `states`, `paging`, `waiting`: recordings in, documents out, entity tags, lists, `?wait=`.
- `openai`: OpenAI's audio API, behind `routes/openai`.
- `streams`: the event streams behind `routes/events`.
"""
