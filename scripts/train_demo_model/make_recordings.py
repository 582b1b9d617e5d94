"""Make the spoken recordings of the demo and the tests with espeak-ng.

`make_recordings.py` makes the committed recordings, reproducibly.
`make_recordings.py long FILE.wav --seconds 600` makes a long meeting, with its times in FILE.json.

Needs espeak-ng (on Debian: apt-get install espeak-ng libespeak-ng1), PyAV and NumPy.
"""

import argparse
import random
import tempfile
import wave
from dataclasses import dataclass, replace
from pathlib import Path

import av
from espeak import Espeak, Voice
from grammar import sentence
from recording import Recording, conversation, record, write_times

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "smelt" / "cli" / "recordings"
TESTS = ROOT / "tests" / "recordings"
# A worker that distrusts its model transcribes it.
CHECK = ROOT / "smelt" / "processor" / "speech" / "check.pcm"
CHECK_S = 2

ANNA = Voice("en-US", "f3", rate=158, pitch=55)
CARLA = Voice("en-GB-x-rp", "f2", rate=150, pitch=48)
DAVID = Voice("en", "m3", rate=162, pitch=45)

STANDUP = (
    (ANNA, 0.6, "Good morning Carla."),
    (CARLA, 0.5, "Good morning Anna."),
    (DAVID, 0.6, "Good morning Anna."),
    (ANNA, 1.0, "We have twelve open tickets."),
    (ANNA, 0.5, "The release is late."),
    (CARLA, 1.1, "Yesterday Emma finished the prototype."),
    (CARLA, 0.5, "Today I will review the contract."),
    (CARLA, 0.6, "The dashboard is blocked."),
    (CARLA, 0.4, "Emma is waiting for the database."),
    (DAVID, 1.2, "The website is not ready."),
    (DAVID, 0.5, "Today I will update the server."),
    (ANNA, 0.8, "Can you check the backup before Wednesday?"),
    (DAVID, 0.7, "Tomorrow Henry will check the backup and the password."),
    (CARLA, 0.9, "Martin asked about the invoice."),
    (CARLA, 0.5, "The budget for the training is forty thousand dollars."),
    (DAVID, 0.7, "I agree with Carla."),
    (ANNA, 1.6, "We decided to postpone the release."),
    (ANNA, 0.6, "We decided to publish the newsletter on Friday."),
    (ANNA, 1.1, "Action item Carla will finish the proposal by Thursday."),
    (ANNA, 0.6, "Action item David and Henry will prepare the backup."),
    (ANNA, 0.6, "Action item Martin will send the invoice by Monday."),
    (ANNA, 1.0, "The deadline for the prototype is Tuesday."),
    (ANNA, 0.5, "The next meeting is on Monday at ten."),
    (CARLA, 0.9, "Thank you Anna."),
    (DAVID, 0.5, "Thank you Carla."),
)

UTTERANCES = {
    "agreement": (CARLA, "I agree with Martin."),
    "budget": (DAVID, "The budget for the survey is seventy thousand dollars."),
    "deadline": (ANNA, "The deadline for the manual is Wednesday."),
    "decision": (CARLA, "We decided to publish the report on Friday."),
    "greeting": (DAVID, "Good morning Emma."),
    "number": (ANNA, "We have twenty seven open tickets."),
    "question": (CARLA, "Can you translate the manual before Tuesday?"),
    "status": (DAVID, "The database is not complete."),
}
ACTION_ITEM = "Action item Lisa will review the contract by Thursday."
CHECK_TEXT = "Good morning Anna."
ACTION_ITEM_FILES = (
    "action_item.wav",
    "action_item.flac",
    "action_item.mp3",
    "action_item.m4a",
    "action_item.ogg",
    "action_item.webm",
    "action_item-stereo.wav",
    "action_item-8khz.wav",
    "action_item-48khz.wav",
)


@dataclass(frozen=True)
class Encoding:
    codec: str
    sample_rate: int
    bit_rate: int | None = None


ENCODINGS = {
    ".wav": Encoding("pcm_s16le", 16_000),
    ".flac": Encoding("flac", 16_000),
    ".mp3": Encoding("libmp3lame", 22_050, 48_000),
    ".m4a": Encoding("aac", 22_050, 48_000),
    ".ogg": Encoding("libopus", 24_000, 24_000),
    ".webm": Encoding("libopus", 24_000, 24_000),
}
VARIANT_RATES = {"8khz": 8_000, "48khz": 48_000}


def write_audio(recording: Recording, path: Path, encoding: Encoding | None = None) -> None:
    """Encode with the codec of the file name; the endings -stereo, -8khz and -48khz set channels or sample rate."""
    encoding = encoding or ENCODINGS[path.suffix]
    variant = path.stem.rpartition("-")[2]
    encoding = replace(encoding, sample_rate=VARIANT_RATES.get(variant, encoding.sample_rate))
    # "bitexact" omits serial numbers and dates: the same speech results in the same file.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoding.codec, rate=encoding.sample_rate)
        stream.layout = "stereo" if variant == "stereo" else "mono"
        if encoding.bit_rate:
            stream.bit_rate = encoding.bit_rate
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        frame = av.AudioFrame.from_ndarray(recording.samples[None], format="s16", layout="mono")
        frame.sample_rate = recording.sample_rate
        resampler = av.AudioResampler(stream.format, stream.layout, encoding.sample_rate, stream.frame_size or None)
        for resampled in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))


def make_committed() -> None:
    """Make the recordings of `smelt demo`, of the worker and of the tests."""
    for folder in (DEMO, TESTS):
        folder.mkdir(parents=True, exist_ok=True)
    espeak = Espeak()
    standup = record(espeak, STANDUP)
    write_audio(standup, DEMO / "standup.ogg")
    (DEMO / "standup.txt").write_text(standup.text)
    write_times(standup, TESTS / "standup.json")
    for name, (voice, text) in UTTERANCES.items():
        utterance = record(espeak, ((voice, 0.3, text),))
        write_audio(utterance, TESTS / f"{name}.ogg")
        (TESTS / f"{name}.txt").write_text(utterance.text)
    action_item = record(espeak, ((ANNA, 0.3, ACTION_ITEM),))
    (TESTS / "action_item.txt").write_text(action_item.text)
    for name in ACTION_ITEM_FILES:
        write_audio(action_item, TESTS / name)
    write_samples(record(espeak, ((ANNA, 0.2, CHECK_TEXT),)), CHECK, CHECK_S)


def write_samples(recording: Recording, path: Path, seconds: int) -> None:
    """Write the first seconds as 16 kHz mono without a header, as the model reads them."""
    with tempfile.TemporaryDirectory() as folder:
        write_audio(recording, Path(folder) / "whole.wav")
        with wave.open(str(Path(folder) / "whole.wav")) as whole:
            count = seconds * whole.getframerate()
            path.write_bytes(whole.readframes(count).ljust(2 * count, b"\0"))


def make_long(path: Path, seconds: float, seed: int) -> None:
    """Make a meeting of three voices, with its text in a .txt file and its times in a .json file."""
    lines = conversation(random.Random(seed), [ANNA, CARLA, DAVID], sentence)
    recording = record(Espeak(), lines, max_s=seconds)
    write_audio(recording, path)
    path.with_suffix(".txt").write_text(recording.text)
    write_times(recording, path.with_suffix(".json"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the spoken recordings of the demo and the tests.")
    actions = parser.add_subparsers(dest="action")
    long = actions.add_parser("long", help="make one long recording instead")
    long.add_argument("path", type=Path, help=f"a file with one of the endings {', '.join(ENCODINGS)}")
    long.add_argument("--seconds", type=float, default=600.0)
    long.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if options.action == "long":
        make_long(options.path, options.seconds, options.seed)
    else:
        make_committed()


if __name__ == "__main__":
    main()
