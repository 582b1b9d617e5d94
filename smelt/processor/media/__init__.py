"""Probes and decodes any media file to 16 kHz mono on disk, and reads the recording for the model."""
