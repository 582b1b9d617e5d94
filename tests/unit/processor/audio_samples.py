"""The paths of the recordings, and limits that all of them meet."""

from pathlib import Path

from smelt.processor.media.values import MediaLimits

ROOT = Path(__file__).parents[3]
RECORDINGS = ROOT / "tests" / "recordings"
STANDUP = ROOT / "smelt" / "cli" / "recordings" / "standup.ogg"
LIMITS = MediaLimits(max_file_bytes=500 * 1024 * 1024, max_duration_s=6 * 3600.0)
