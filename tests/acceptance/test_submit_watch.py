"""`smelt submit` and `smelt watch` in subprocesses, against a complete stack."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.commands import (
    RANGES,
    STAGES,
    STANDUP,
    STANDUP_TEXT,
    Event,
    accuracy,
    smelt,
    submit,
    submitting,
    worker,
)
from tests.harness.endless_model import ENDLESS_MODEL
from tests.harness.stacks import Stack, running_project, sign_up
from tests.harness.waiting import wait_until

RECORDINGS = Path(__file__).parents[1] / "recordings"


@pytest.fixture(scope="module")
def working_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project with a running worker, shared by the tests that do not disturb it."""
    with running_project() as stack, worker(stack.env(), tmp_path_factory.mktemp("worker") / "log"):
        yield stack


def assert_journey(events: list[Event], results: int = 1) -> None:
    """Assert the events of a smelt that was watched from the start."""
    progress = [event for event in events if event["event"] == "progress"]
    kinds = [event["event"] for event in events]
    stages = list(dict.fromkeys(event["status"] for event in progress))
    percentages = [event["progress"]["percentage"] for event in progress]
    assert kinds[0] == "created"
    assert events[1]["status"] == "pending"
    assert stages == STAGES
    assert percentages == sorted(percentages)
    for event, percentage in zip(progress, percentages, strict=True):
        assert RANGES[event["status"]][0] <= percentage <= RANGES[event["status"]][1]
    assert "segments" in kinds[: kinds.index("completed")]
    assert kinds[-1] == "completed"
    assert kinds.count("completed") == 1
    assert len(events[-1]["results"]) == results


def transcript(events: list[Event]) -> str:
    """Return the text of all segments; assert that each index occurs once."""
    segments = [segment for event in events if event["event"] == "segments" for segment in event["segments"]]
    assert [segment["index"] for segment in segments] == list(range(len(segments)))
    return " ".join(segment["text"].strip() for segment in segments)


def test_submit_watch_reports_every_stage_from_pending_to_results(working_stack: Stack) -> None:
    """The worker is idle, so the command must join before it submits to get the first event."""
    code, events = submit(STANDUP, "--prompt", "summarize", "--prompt", "action_items", env=working_stack.env())
    assert code == 0
    assert_journey(events)
    assert accuracy(transcript(events), STANDUP_TEXT) >= 0.95
    content = events[-1]["results"][0]["content"]
    assert "Carla" in content
    assert "- [ ]" in content
    shown = smelt("show", events[-1]["smelt_id"], env=working_stack.env())
    assert content in shown.stdout
    assert "The demo model knows only" in shown.stderr


def test_watch_without_polling_gets_every_live_event(working_stack: Stack) -> None:
    """With polling disabled, the same events arrive."""
    env = {**working_stack.env(), "SMELT_POLLING": "false"}
    code, events = submit(STANDUP, env=env)
    assert code == 0
    assert_journey(events)


@pytest.mark.own_project("whose only workers are those of the test")
def test_resume_after_sigkill_gives_the_text_of_an_undisturbed_run(fresh_stack: Stack, tmp_path: Path) -> None:
    """SIGKILL during transcription: the next worker resumes, and the text equals that of an undisturbed run."""
    env = {**fresh_stack.env(), "SMELT_LEASE_S": "5"}
    (tmp_path / "sitecustomize.py").write_text(ENDLESS_MODEL)
    lines: list[str] = []
    with submitting(STANDUP, env=env) as (watching, printed):
        with worker({**env, "PYTHONPATH": str(tmp_path)}, tmp_path / "first.log") as first:
            for line in printed:
                lines.append(line)
                if '"event": "segments"' in line:
                    first.kill()
                    first.wait()
                    break
        with worker(env, tmp_path / "second.log"):
            lines += printed.readlines()
            assert watching.wait(60) == 0
            _, undisturbed = submit(STANDUP, env=env)
    events = [json.loads(line) for line in lines]
    assert_journey(events)
    assert any(event.get("attempt", 0) > 1 for event in events), "the first worker was killed too late"
    assert transcript(events) == transcript(undisturbed)
    assert events[-1]["results"][0]["content"] == undisturbed[-1]["results"][0]["content"]


def test_partial_outcome_has_results_of_the_undamaged_files(working_stack: Stack, tmp_path: Path) -> None:
    """One of three files is damaged: the others have results, and the outcome is `partial`."""
    env = {**working_stack.env(), "SMELT_ACCESS_TOKEN": sign_up(working_stack).access_token}
    damaged = tmp_path / "damaged.m4a"
    damaged.write_bytes((RECORDINGS / "action_item.m4a").read_bytes()[:2000])
    code, events = submit(RECORDINGS / "budget.ogg", damaged, RECORDINGS / "decision.ogg", env=env)
    assert code == 0
    assert_journey(events, results=2)
    assert events[-1]["outcome"] == "partial"
    ids = [file["id"] for file in events[0]["files"]]
    assert [result["file_id"] for result in events[-1]["results"]] == [ids[0], ids[2]]
    whole = [event for event in events if event["event"] == "progress"]
    assert all([file["id"] for file in event["files"]] == ids for event in whole)


def test_text_smelt_skips_the_audio_stages(working_stack: Stack) -> None:
    code, events = submit(
        "--text",
        "Action item Anna will send the report by Friday.",
        "--prompt",
        "action_items",
        env=working_stack.env(),
    )
    assert code == 0
    stages = [event["status"] for event in events[1:-1]]
    assert stages[0] == "pending"
    assert set(stages) <= {"pending", "validating", "synthesizing"}
    assert stages == sorted(stages, key=STAGES.index)
    assert "Anna" in events[-1]["results"][0]["content"]


@pytest.mark.parametrize("terminal", [True, False])
def test_submit_shows_a_bar_while_it_uploads_on_a_terminal_alone(working_stack: Stack, terminal: bool) -> None:
    env = {**working_stack.env(), **({"FORCE_COLOR": "1", "TERM": "xterm"} if terminal else {})}
    done = smelt("submit", STANDUP, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("Uploading standup.ogg" in done.stdout) == terminal
    assert "Created smelt" in done.stdout


BAD_FILES = {
    "damaged.m4a": ("corrupted_file", (RECORDINGS / "action_item.m4a").read_bytes()[:2000]),
    "empty.wav": ("corrupted_file", b""),
    "letter.mp3": ("invalid_format", b"Dear Anna,\nthis is no recording.\n" * 50),
}


def test_error_code_of_a_bad_file_is_in_row_event_and_cli_output(working_stack: Stack, tmp_path: Path) -> None:
    for name, (expected, content) in BAD_FILES.items():
        path = tmp_path / name
        path.write_bytes(content)
        code, events = submit(path, env=working_stack.env())
        assert code == 1
        assert (events[-1]["event"], events[-1]["error_code"]) == ("failed", expected)
        assert stored_error(working_stack, events[0]["id"]) == (expected, expected)


def test_submit_rejects_a_file_over_the_size_limit_before_upload(working_stack: Stack, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(26 * 1024 * 1024)
    rejected = smelt("submit", large, "--watch", "--json", env=working_stack.env())
    assert rejected.returncode == 2
    assert json.loads(rejected.stdout)["code"] == "file_too_large"


LIMITS = {"max_file_bytes": (1000, "file_too_large"), "max_duration_s": (1, "duration_exceeded")}


@pytest.mark.own_project("whose limits it changes")
@pytest.mark.parametrize("limit", LIMITS)
def test_limits_lowered_after_submit_fail_the_file_with_their_code(
    fresh_stack: Stack, tmp_path: Path, limit: str
) -> None:
    """The worker checks the limits again: they were lowered after the smelt was submitted."""
    value, expected = LIMITS[limit]
    with submitting(RECORDINGS / "budget.ogg", env=fresh_stack.env()) as (watching, printed):
        smelt_id = json.loads(printed.readline())["id"]
        wait_until(lambda: is_submitted(fresh_stack, smelt_id), "a submitted smelt")
        with psycopg.connect(fresh_stack.db_url) as connection:
            connection.execute(f"update smelt.limits set anonymous_{limit} = {value}")
        with worker(fresh_stack.env(), tmp_path / "worker.log"):
            events = [json.loads(line) for line in printed]
        assert watching.wait(10) == 1
    assert (events[-1]["event"], events[-1]["error_code"]) == ("failed", expected)
    assert stored_error(fresh_stack, smelt_id) == (expected, expected)


def is_submitted(stack: Stack, smelt_id: str) -> bool:
    """Return True if the smelt is submitted, so that a worker can claim it."""
    with psycopg.connect(stack.db_url) as connection:
        row = connection.execute("select submitted_at is not null from smelts where id = %s", (smelt_id,)).fetchone()
    return row is not None and bool(row[0])


def stored_error(stack: Stack, smelt_id: str) -> tuple[str, str]:
    """Return the error codes in the rows of a smelt and of its file."""
    with psycopg.connect(stack.db_url) as connection:
        row = connection.execute(
            "select s.error_code, f.error_code from smelts s join smelt_files f on f.smelt_id = s.id where s.id = %s",
            (smelt_id,),
        ).fetchone()
    assert row is not None
    return row


def test_cli_exits_3_without_a_backend_and_2_for_bad_settings(tmp_path: Path) -> None:
    gone = smelt(
        "submit", "--text", "x", env={"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_ANON_KEY": "x"}, cwd=tmp_path
    )
    assert gone.returncode == 3
    missing = smelt("worker", env={}, cwd=tmp_path)
    assert missing.returncode == 2
    assert "SUPABASE_URL" in missing.stderr
    wrong = smelt("worker", env={"SMELT_CONCURRENCY": "many"}, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "SMELT_CONCURRENCY" in wrong.stderr


@pytest.mark.own_project("whose only workers are those of the test")
def test_watch_interrupted_by_sigint_exits_with_130(fresh_stack: Stack) -> None:
    with submitting(STANDUP, env=fresh_stack.env()) as (watching, printed):
        printed.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
