"""From any file to 16 kHz mono on disk: validation, decoding, and the recording as the model reads it."""
