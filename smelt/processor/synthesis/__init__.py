"""Makes the requested outputs from transcripts."""
