"""`smelt submit`: create a smelt from files or a text, and watch it with `--watch`."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, print_json, run
from smelt.contract.vocabulary import DEFAULT_PROMPTS, MAX_VOCABULARY, Channels, Mode

if TYPE_CHECKING:
    from smelt.contract.options import SmeltOptions

# Lines after `\b` are not wrapped.
EXAMPLES: Final = """\b
Examples:
  smelt submit meeting.m4a --prompt summarize --prompt action_items --watch
  smelt submit interview.mp3 --language de --vocabulary "Anna Schmidt" --vocabulary Kubernetes
  smelt submit interview.mp3 --translate --word-times --vocabulary-file names.txt
  smelt submit meeting.m4a --speakers
  smelt submit call.flac --channels separate --model large-v3-turbo --keep-audio 24
  smelt submit lecture.ogg --transcript-only --metadata course=17 --metadata '{"tags": ["physics"]}'
  smelt submit --text "Anna sends the report by Friday." --prompt action_items
"""

_PROMPTS: Final = f"A prompt to apply: {', '.join(DEFAULT_PROMPTS)}. Repeatable. Default: summarize."
_FLAGS: Final = {"keep_audio_h": "--keep-audio"}
_FILE: Final[dict[str, Any]] = {"exists": True, "dir_okay": False, "readable": True}

_Files = Annotated[list[Path] | None, typer.Argument(help="Up to five recordings; one without an account.", **_FILE)]
_Text = Annotated[str | None, typer.Option(help="A text to process instead of recordings.")]
_Prompt = Annotated[list[str] | None, typer.Option(metavar="NAME", help=_PROMPTS)]
_TranscriptOnly = Annotated[
    bool, typer.Option("--transcript-only", help="Apply no prompt: the result is the transcript.")
]
_Mode = Annotated[Mode, typer.Option(help="separate: one result per file; combine: one result for all files.")]
_Language = Annotated[
    str | None, typer.Option(metavar="CODE", help="The language that is spoken, such as de. Default: detect it.")
]
_Translate = Annotated[bool, typer.Option("--translate", help="Translate the speech into English.")]
_Vocabulary = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TERM", help=f"A word or name to expect, as it is spelled. Repeatable, up to {MAX_VOCABULARY}."
    ),
]
_VocabularyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A file with such words and names, one per line.", **_FILE)
]
_WordTimes = Annotated[
    bool | None,
    typer.Option("--word-times/--no-word-times", help="Save when each word is spoken. Default: as the worker is set."),
]
_Channels = Annotated[
    Channels, typer.Option(help="mixed: as one recording; separate: each channel is transcribed and is a speaker.")
]
_Speakers = Annotated[
    bool, typer.Option("--speakers", help="Identify the speakers by their voices; the worker needs a speaker model.")
]
_Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="The model to transcribe with. Default: any that a worker has.")
]
_KeepAudio = Annotated[
    float | None, typer.Option(metavar="HOURS", min=0, help="Keep the audio for this time after the smelt has ended.")
]
_Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="JSON|KEY=VALUE", help="Data of your app: a JSON object, or a key and a text. Repeatable."),
]
_Watch = Annotated[bool, typer.Option("--watch", help="Watch the smelt until it ends.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def submit(
    files: _Files = None,
    text: _Text = None,
    prompt: _Prompt = None,
    transcript_only: _TranscriptOnly = False,
    mode: _Mode = "separate",
    language: _Language = None,
    translate: _Translate = False,
    vocabulary: _Vocabulary = None,
    vocabulary_file: _VocabularyFile = None,
    word_times: _WordTimes = None,
    channels: _Channels = "mixed",
    speakers: _Speakers = False,
    model: _Model = None,
    keep_audio: _KeepAudio = None,
    metadata: _Metadata = None,
    watch: _Watch = False,
    as_json: _Json = False,
) -> None:
    """Create a smelt from recordings or a text."""
    if transcript_only and prompt:
        raise typer.BadParameter("--transcript-only and --prompt exclude each other.", param_hint="--prompt")
    request: dict[str, Any] = {
        "text": text,
        "prompts": () if transcript_only else prompt or None,
        "mode": mode,
        "options": _options(
            language=language,
            task="translate" if translate else "transcribe",
            vocabulary=[*(vocabulary or ()), *_terms(vocabulary_file)],
            word_times=word_times,
            channels=channels,
            speakers=speakers,
            model=model,
            keep_audio_h=keep_audio,
        ),
        "metadata": parse_metadata(metadata or ()),
    }
    run(_submit(files or [], request, watch, as_json), as_json=as_json)


def _options(**values: object) -> "SmeltOptions":
    from pydantic import ValidationError

    from smelt.contract.options import SmeltOptions

    try:
        return SmeltOptions.model_validate(values)
    except ValidationError as exc:
        error = exc.errors()[0]
        name = str(error["loc"][0])
        raise typer.BadParameter(error["msg"], param_hint=_FLAGS.get(name, f"--{name}")) from exc


def _terms(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as exc:
        raise typer.BadParameter(f"{file} is not a text in UTF-8.", param_hint="--vocabulary-file") from exc
    return [line for line in lines if line.strip()]


def parse_metadata(values: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of arguments, each a JSON object or `KEY=VALUE`; raise `typer.BadParameter`."""
    metadata: dict[str, Any] = {}
    for value in values:
        key, separator, text = value.partition("=")
        if value.lstrip().startswith("{"):
            try:
                metadata |= json.loads(value, parse_constant=_reject_constant)
            except ValueError as exc:
                raise typer.BadParameter(f"{value} is not a JSON object: {exc}.", param_hint="--metadata") from exc
        elif separator and key:
            metadata[key] = text
        else:
            raise typer.BadParameter(f"{value} is neither a JSON object nor KEY=VALUE.", param_hint="--metadata")
    return metadata


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} does not exist in JSON")


async def _submit(files: list[Path], request: dict[str, Any], watch: bool, as_json: bool) -> Exit:
    from smelt.cli.view import follow, has_bars, upload_bars

    async with connect() as client:
        with upload_bars(OUT) if has_bars(OUT) and not as_json else nullcontext() as on_upload:
            created = await client.create(files=files, **request, submit=False, on_upload=on_upload)
        if as_json:
            print_json({"event": "created", **created.model_dump(mode="json")})
        else:
            OUT.print(f"Created smelt [bold]{created.id}[/]")
        if watch:
            names = {file.id: file.filename for file in created.files}
            # Join the channel before submitting, so that not even the first event of a waiting worker is missed.
            return await follow(client, created.id, names, as_json=as_json, submit=True)
        await client.submit(created.id)
        if not as_json:
            OUT.print(f"Watch it with: smelt watch {created.id}")
        return Exit.DONE
