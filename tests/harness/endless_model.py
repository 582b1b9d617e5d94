"""A model that never finishes, so that a test can stop its worker in the middle of a transcription."""

ENDLESS_MODEL = """
import threading
from smelt.processor.speech.transcriber import Transcriber
_transcribe = Transcriber.transcribe
def transcribe(*args, **more):
    passages = _transcribe(*args, **more)
    for _ in range(12):
        yield next(passages)
    threading.Event().wait()
Transcriber.transcribe = transcribe
"""
"""The text of a `sitecustomize.py`: after some segments the model stays in one window forever."""
