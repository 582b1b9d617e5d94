"""OpenAI's audio API over smelts: the parts behind `routes/openai`.

- `errors`: the shape of errors under `/v1`.
- `parameters`: the fields of a form. Pure.
- `creation`: the smelt of a request, which repeated requests join.
- `transcripts`: the response formats. Pure.
- `stream`: the transcript as it grows, as events.
"""
