"""From transcripts to the output that was asked for."""
