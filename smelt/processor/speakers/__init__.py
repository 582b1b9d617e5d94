"""Speaker diarization: who speaks when in a recording.

    turns.py       windows of speech, and the turns of speakers from the clusters of the windows; pure
    embedding.py   a vector for the voice in each window, by an ONNX model
    clusters.py    windows of the same voice
    diarization.py all of it for one recording; runs in a child (`children/speakers.py`)
    finder.py      the worker's side of that child

The child alone imports numpy, scipy, onnxruntime and the voice detection.
"""
