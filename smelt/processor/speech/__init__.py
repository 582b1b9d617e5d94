"""From a decoded recording to segments of text, window by window, so that a killed run can be taken up again."""
