"""A model that does not come to an end, so that what happens to its worker happens in the middle of a transcript."""

ENDLESS_MODEL = """
import threading
from smelt.processor.speech.transcriber import Transcriber
_transcribe = Transcriber.transcribe
def transcribe(*args):
    passages = _transcribe(*args)
    for _ in range(12):
        yield next(passages)
    threading.Event().wait()
Transcriber.transcribe = transcribe
"""
"""For a `sitecustomize.py`: the model is in one window for ever, after it has told some segments."""
