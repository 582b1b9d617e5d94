"""Texts for people, made from the transcript and the results of a smelt. Pure.

`documents` makes the transcript or the results of a smelt, `formats` the transcript of a file as text, captions or
JSON. Captions are cut by `captions` from the timed tokens of `caption_tokens`; `writing` knows the rules of scripts.
"""
