"""The database and `smelt.contract` agree on values, messages, ranges and the keys of every response."""

import re
from typing import Any, Literal, get_args

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES
from pydantic import BaseModel

from smelt.contract import events, state, vocabulary, work
from smelt.contract.batches import BatchStatus
from smelt.contract.options import SmeltOptions
from smelt.contract.schema_version import SCHEMA_VERSION, schema_issue
from tests.integration.database.db_calls import Caller, Database, claimed, results_for, submitted, upload
from tests.integration.database.db_server import MIGRATIONS

TRUST = state.Trust(
    silence_seconds=2.5,
    low_confidence_segments=(1,),
    repeated_segments=(),
    untranscribed_seconds=4.5,
    untranscribed=((3.0, 7.5),),
    retried=((0.0, 30.0),),
    languages=(state.LanguageShare(language="de", share=1.0, seconds=30.0),),
    damaged_seconds=0.5,
    damaged=((8.0, 8.5),),
    clock_jumps=1,
    track=2,
    track_count=3,
    channel=1,
    model="small",
)


def _parse_exactly(model: type[BaseModel], response: dict[str, Any]) -> Any:
    """Parse a response that has exactly the keys of its model."""
    assert response.keys() == set(model.model_fields)
    return model.model_validate(response)


def test_error_sentences_and_stage_messages_match_the_contract(template_database: Database) -> None:
    for code, sentence in vocabulary.ERROR_SENTENCES.items():
        assert template_database.value("select smelt.error_sentence(%s)", code) == sentence
    assert template_database.value("select smelt.error_sentence('nonsense')") is None
    for status, message in vocabulary.STAGE_MESSAGES.items():
        assert template_database.value("select smelt.stage_message(%s)", status) == message


def test_stages_match_the_contract_in_order_message_and_range(template_database: Database) -> None:
    rows = template_database.rows(
        "select status, message, min_percentage, max_percentage from smelt.stages order by position"
    )
    assert tuple(status for status, *_ in rows) == get_args(vocabulary.Status)
    assert {status: message for status, message, *_ in rows} == vocabulary.STAGE_MESSAGES
    ranges = {status: (low, high) for status, _, low, high in rows}
    assert ranges == {**vocabulary.PERCENT_RANGES, "failed": (0, 100)}


def test_check_of_percentages_matches_the_ranges_of_the_stages(template_database: Database) -> None:
    """The check has the ranges as literals: each end of a range passes, and the next tenth outside does not."""
    (check,) = re.findall(
        r"CHECK \((.*)\)",
        template_database.value(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'smelts_percentage_in_stage'"
        ),
        re.DOTALL,
    )
    rows = template_database.rows(
        f"""
        select s.status, p.percentage, p.is_in_range, (select {check})
        from smelt.stages as s
        cross join lateral (values
            (s.min_percentage, true), (s.max_percentage, true),
            (s.min_percentage - 0.1, false), (s.max_percentage + 0.1, false)
        ) as p (percentage, is_in_range)
        """
    )
    assert len(rows) == 4 * len(get_args(vocabulary.Status))
    assert [row for row in rows if row[2] != row[3]] == []


def test_error_codes_of_rejections_match_the_contract() -> None:
    migrations = "".join(path.read_text(encoding="utf-8") for path in MIGRATIONS.glob("*.sql"))
    assert set(re.findall(r"smelt\.raise_rejection\(\s*'(\w+)'", migrations)) == set(get_args(vocabulary.RejectionCode))


@pytest.mark.parametrize(
    ("constraint", "literal"),
    [
        ("smelts_status_known", vocabulary.Status),
        ("smelt_files_status_known", vocabulary.FileStatus),
        ("smelts_mode_known", vocabulary.Mode),
        ("smelt_files_input_type_known", vocabulary.InputType),
        ("smelts_outcome_known", vocabulary.Outcome),
        ("smelts_error_code_known", vocabulary.ErrorCode),
        ("smelt_files_error_code_known", vocabulary.ErrorCode),
        ("smelt_batches_status_known", BatchStatus),
        ("leases_risk_known", work.Risk),
        ("suspects_risk_known", Literal["decode", "model"]),
        ("attempts_risk_known", work.Risk),
        ("attempts_ended_as_known", work.AttemptEnd),
    ],
)
def test_check_constraints_accept_exactly_the_values_of_the_contract(
    template_database: Database, constraint: str, literal: Any
) -> None:
    check = template_database.value(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", constraint
    )
    assert tuple(re.findall(r"'(\w+)'::text", check)) == get_args(literal)


def test_enum_types_do_not_exist(template_database: Database) -> None:
    """A value that is added to an enum cannot be used in the transaction that adds it."""
    assert (
        template_database.rows(
            "select typname from pg_type where typtype = 'e' and typnamespace in (%s, %s)",
            *(template_database.value("select %s::regnamespace::oid", name) for name in ("public", "smelt")),
        )
        == []
    )


def test_schema_version_matches_the_version_of_this_installation(template_database: Database) -> None:
    [(version, compatible_from)] = template_database.rows("select version, compatible_from from smelt.schema_version")
    assert version == SCHEMA_VERSION
    assert schema_issue(version, compatible_from) is None


def test_languages_are_those_of_the_speech_library(template_database: Database) -> None:
    assert template_database.value("select smelt.known_languages()") == sorted(_LANGUAGE_CODES)


def test_every_option_of_the_contract_is_accepted_and_stored_unless_it_is_the_default(
    client: Caller, worker: Caller
) -> None:
    files = [{"filename": "a.mp3", "size_bytes": 1}]
    values: dict[str, Any] = {
        "language": "de",
        "task": "translate",
        "vocabulary": ["Kubernetes", "Zoë"],
        "word_times": False,
        "channels": "separate",
        "model": "large-v3",
        "keep_audio_h": 1.5,
    }
    # Separate channels are speakers already.
    speakers = {"speakers": True}
    assert {*values, *speakers} == SmeltOptions.model_fields.keys()
    for given, stored in [
        (values, values),
        (speakers, speakers),
        (SmeltOptions().model_dump(mode="json"), {}),
        *(({name: value}, {name: value}) for name, value in values.items()),
    ]:
        created = client("create_smelt", files=files, options=given)
        assert client("get_smelt", smelt_id=created["id"])["options"] == stored
        assert SmeltOptions.model_validate(stored) == SmeltOptions.model_validate(given)


def test_default_prompts_are_all_accepted(client: Caller) -> None:
    created = client(
        "create_smelt", text_input="notes", default_prompt_names=[*vocabulary.DEFAULT_PROMPTS, "summarize"]
    )
    assert tuple(created["default_prompt_names"]) == vocabulary.DEFAULT_PROMPTS


def test_contract_holds_for_every_response_of_a_completed_smelt(
    database: Database, client: Caller, worker: Caller
) -> None:
    files = [{"filename": "stand-up März.mp3", "size_bytes": 12}, {"filename": "second.ogg", "size_bytes": 7}]
    requested, metadata = {"language": "de", "model": "small"}, {"course": 17}
    created = client(
        "create_smelt",
        files=files,
        default_prompt_names=["summarize", "action_items"],
        options=requested,
        metadata=metadata,
    )
    parsed = _parse_exactly(state.Created, created)
    assert [_parse_exactly(state.CreatedFile, file).filename for file in created["files"]] == [
        f["filename"] for f in files
    ]
    assert parsed.subscription_channel == f"smelt:{parsed.id}"
    upload(database, created)
    waiting = _parse_exactly(state.Snapshot, client("submit_smelt", smelt_id=created["id"]))
    assert (waiting.queue_position, waiting.eta_seconds, waiting.results) == (1, None, None)
    assert (waiting.options, waiting.metadata) == (requested, metadata)
    missing = "No worker has the model small."
    assert waiting.progress == events.StageProgress(percentage=0, stage="pending", message=missing)
    unchanged = client("get_smelt", smelt_id=created["id"], after_seq=waiting.seq)
    assert _parse_exactly(state.Unchanged, unchanged).queue_position == 1

    claims = worker("claim_smelts", worker_id="w", models=["small"])
    assert _parse_exactly(work.ClaimBatch, claims).next_due_in_s > 29
    claim = _parse_exactly(work.Claim, claims["smelts"][0])
    assert claim.options == requested
    assert (claim.max_file_bytes, claim.max_duration_s) == (500 * 1024**2, 6 * 3600)
    _parse_exactly(work.ClaimedFile, claims["smelts"][0]["files"][0])

    report = worker(
        "report_smelt_progress",
        smelt_id=created["id"],
        attempt=claim.attempt,
        status="transcribing",
        percentage=33.333,
        eta_seconds=12.5,
        files=[
            {
                "id": str(claim.files[0].id),
                "stage": "transcribing",
                "progress": 50,
                "language": "de",
                "trust": TRUST.model_dump(mode="json"),
            }
        ],
        segments=[
            {
                "file_id": str(claim.files[0].id),
                "index": i,
                "start": i,
                "end": i + 1,
                "text": f"word {i}",
                "speaker": "Speaker 1",
                "words": [{"word": " word", "start": i, "end": i + 0.5, "probability": 0.9}],
            }
            for i in range(3)
        ],
    )
    _parse_exactly(work.Report, report)
    event = _parse_exactly(events.ProgressEvent, report["event"])
    assert event.progress == events.StageProgress(
        percentage=33.3, stage="transcribing", message="Transcribing audio..."
    )
    assert event.files[0].untranscribed_seconds == 4.5
    assert (event.eta_seconds, [file.status for file in event.files]) == (12.5, ["processing", "pending"])
    running = client("get_smelt", smelt_id=created["id"], with_words=True)
    assert _parse_exactly(state.Snapshot, running).seq == event.seq
    assert 11 < running["eta_seconds"] <= 12.5
    assert _parse_exactly(state.FileState, running["files"][0]).language == "de"
    assert _parse_exactly(state.Trust, running["files"][0]["trust"]) == TRUST
    assert [_parse_exactly(state.FileSegment, segment).index for segment in running["segments"]] == [0, 1, 2]
    assert running["segments"][0]["speaker"] == "Speaker 1"
    assert _parse_exactly(state.Word, running["segments"][2]["words"][0]).end == 2.5
    unchanged = client("get_smelt", smelt_id=created["id"], after_seq=event.seq)
    assert _parse_exactly(state.Unchanged, {"queue_position": None, "message": None, **unchanged}).seq == event.seq
    _parse_exactly(
        work.SavedSegment, worker("load_smelt_segments", smelt_id=created["id"], file_id=str(claim.files[0].id))[0]
    )

    known = worker("get_smelt_attempts", smelt_id=created["id"])
    assert _parse_exactly(work.SmeltAttempts, known).failure_count == 0
    assert _parse_exactly(work.AttemptRow, known["attempts"][0]).ended_as is None

    settled = worker(
        "complete_smelt", smelt_id=created["id"], attempt=claim.attempt, results=results_for(claims["smelts"][0])
    )
    assert _parse_exactly(work.Settled, settled).outcome == "complete"
    done = client("get_smelt", smelt_id=created["id"])
    assert [_parse_exactly(events.Result, result).filename for result in done["results"]] == [
        f["filename"] for f in files
    ]
    assert done["next_poll_s"] is None
    [completed] = [message for message in settled["outbox"] if message["event"] == "completed"]
    _parse_exactly(work.OutboxMessage, completed)
    assert _parse_exactly(events.CompletedEvent, completed["payload"]).seq == done["seq"]


def test_failed_event_of_an_unknown_code_matches_the_contract(
    database: Database, client: Caller, worker: Caller
) -> None:
    submitted(database, client)
    claim = claimed(worker)
    settled = worker("fail_smelt", smelt_id=claim["id"], attempt=claim["attempt"], error_code="an unknown code")
    [payload] = [message["payload"] for message in settled["outbox"] if message["event"] == "failed"]
    failed = _parse_exactly(events.FailedEvent, payload)
    assert failed.error_message == vocabulary.ERROR_SENTENCES["internal_error"]


def test_combine_mode_returns_one_result_under_the_smelt_id(database: Database, client: Caller, worker: Caller) -> None:
    created = submitted(database, client, 2, mode="combine")
    claim = claimed(worker)
    assert claim["mode"] == "combine"
    result = {"file_id": created["id"], "filename": "combined", "content": "# Both"}
    worker("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=[result])
    assert client("get_smelt", smelt_id=created["id"])["results"] == [result]
