"""Transcribes a decoded recording window by window, so that a killed run can be resumed."""
