"""The blocking client has the behavior of the asynchronous one."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

import smelt
from smelt import blocking
from smelt.backend.project import Project
from tests.harness.processes import run, started
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"

FOLLOWER = """
import sys
from smelt import blocking
with blocking.connect(*sys.argv[1:4]) as client:
    next(client.watch(sys.argv[4]))
    print("joined", flush=True)
    {following}
"""
FOLLOWINGS = {
    "watch": "list(client.watch(sys.argv[4]))",
    "wait": "client.wait(sys.argv[4])",
    "batch": "list(client.watch_batch(client.create_batch().id))",
    "feed": "with client.feed() as feed: list(feed)",
    "notifications": "with client.notifications() as notifications: next(notifications)",
}
CLOSER = """
import sys, threading
from smelt import blocking
def close(_):
    client.close()
    print("closed", flush=True)
    closed.set()
closed = threading.Event()
client = blocking.connect(*sys.argv[1:4])
subscription = client.subscribe(sys.argv[4], on_progress=close)
{waiting}
"""
COLLECTOR = """
import gc, sys
from smelt import blocking
gc.disable()
with blocking.connect(*sys.argv[1:4]) as client:
    cycle = [client.watch(sys.argv[4])]
    cycle.append(cycle)
    next(cycle[0])
    del cycle
    client._thread.ask(gc.collect)
    while client.diagnostics().watches:
        pass
print("closed")
"""
CLOSERS = {
    "a callback": CLOSER.format(waiting="closed.wait()"),
    "a callback and the main thread": CLOSER.format(waiting="subscription.wait_closed(); client.close()"),
    "the garbage collector": COLLECTOR,
}


@pytest.fixture
def app(shared_stack: Stack, user: User) -> Iterator[blocking.Client]:
    with blocking.connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as client:
        yield client


def work_on(stack: Stack, smelt_id: UUID) -> None:
    async def work() -> None:
        async with Project(stack.api_url, stack.service_role_key) as project:
            job = await ScriptedWorker(project).claim(smelt_id)
            await job.report("transcribing", 40, words=["one"])
            await job.complete()

    asyncio.run(work())


def test_blocking_client_creates_watches_and_waits(shared_stack: Stack, app: blocking.Client) -> None:
    created = app.create(files=[GREETING], submit=False)
    updates = app.watch(created.id)
    assert isinstance(next(updates), smelt.Progress)
    app.submit(created.id)
    with ThreadPoolExecutor() as pool:
        working = pool.submit(work_on, shared_stack, created.id)
        last = list(updates)[-1]
        working.result()
    assert isinstance(last, smelt.Completed)
    assert app.wait(created.id, timeout_s=10).results == last.results
    assert app.get(created.id).status == "completed"
    assert app.diagnostics().watches == ()


def test_blocking_create_uploads_file_objects_and_calls_on_upload(app: blocking.Client) -> None:
    """The callback runs in another thread, and may use the client."""
    seen: list[tuple[smelt.UploadProgress, int]] = []

    def record(progress: smelt.UploadProgress) -> None:
        seen.append((progress, threading.get_ident()))
        app.diagnostics()

    with GREETING.open("rb") as recording:
        created = app.create(files=[("greeting.ogg", recording)], on_upload=record)
        assert not recording.closed
    size_bytes = GREETING.stat().st_size
    assert [progress for progress, _ in seen] == [smelt.UploadProgress(0, "greeting.ogg", size_bytes, size_bytes)]
    assert threading.get_ident() not in {thread for _, thread in seen}
    assert app.get(created.id).submitted_at is not None


def test_blocking_create_sends_options_metadata_prompts_and_user(
    shared_stack: Stack, user: User, app: blocking.Client
) -> None:
    requested = smelt.SmeltOptions(language="de", vocabulary=("Anna Schmidt",), keep_audio_h=2)
    with blocking.connect(shared_stack.api_url, shared_stack.service_role_key) as service:
        created = service.create(
            files=[GREETING], prompts=(), options=requested, metadata={"course": 17}, user_id=user.id, submit=False
        )
    state = app.get(created.id)
    assert smelt.SmeltOptions.model_validate(state.options) == requested
    assert (state.metadata, state.default_prompt_names) == ({"course": 17}, ())


def test_blocking_watch_yields_connection_events_on_request(app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    updates = app.watch(created.id, connection_events=True)
    assert {type(next(updates)), type(next(updates))} == {smelt.Connected, smelt.Progress}
    app.cancel(created.id)
    assert isinstance(list(updates)[-1], smelt.Failed)


def test_blocking_refresh_waits_until_the_state_was_read(app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    subscription = app.subscribe(created.id)
    subscription.refresh()
    assert app.diagnostics().watches[0].status == "pending"
    subscription.close()
    subscription.refresh()


def test_blocking_callbacks_run_in_order_and_may_use_the_client(app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    calls: list[object] = []

    def cancel(update: smelt.Progress) -> None:
        calls.append(update.status)
        app.cancel(created.id)

    def fail(update: smelt.Failed) -> None:
        calls.append(update.error_code)
        raise RuntimeError("raised by a callback")

    subscription = app.subscribe(
        created.id,
        on_progress=cancel,
        on_failed=fail,
        on_error=lambda error: calls.append(str(error)),
    )
    subscription.refresh()
    subscription.wait_closed()
    assert subscription.closed
    assert calls == ["pending", "cancelled", "raised by a callback"]


@pytest.mark.parametrize("closer", CLOSERS)
def test_blocking_close_in_another_thread_returns_and_the_process_ends(
    closer: str, shared_stack: Stack, user: User, app: blocking.Client
) -> None:
    """A callback closes the client, or the garbage collector a watch, in the thread of the loop."""
    created = app.create(text="Ship it on Monday.")
    arguments = (shared_stack.api_url, shared_stack.anon_key, user.access_token, str(created.id))
    done = run([sys.executable, "-W", "error", "-c", CLOSERS[closer], *arguments], timeout_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


def test_blocking_callbacks_of_many_subscriptions_run_at_the_same_time_and_may_use_the_client(
    app: blocking.Client,
) -> None:
    """They are more than the threads of the loop's executor, which opens files."""
    count = min(32, (os.cpu_count() or 1) + 4) + 1
    meeting = threading.Barrier(count)
    created: list[UUID] = []

    def create(_: smelt.Failed) -> None:
        meeting.wait(30)
        created.append(app.create(files=[GREETING], submit=False).id)

    texts = [app.create(text=f"Text {number}") for number in range(count)]
    subscriptions = [app.subscribe(one.id, on_failed=create) for one in texts]
    for one in texts:
        app.cancel(one.id)
    for subscription in subscriptions:
        subscription.wait_closed()
    assert len(created) == count


def test_blocking_token_function_runs_outside_the_loop_thread(shared_stack: Stack, user: User) -> None:
    called_in: list[str] = []

    def fresh() -> str:
        called_in.append(threading.current_thread().name)
        return user.access_token

    with blocking.connect(shared_stack.api_url, shared_stack.anon_key, fresh) as client:
        assert client.create_batch().total == 0
    assert called_in
    assert "smelt" not in called_in


def test_blocking_subscription_closed_early_calls_no_callback(app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    calls: list[object] = []
    subscription = app.subscribe(created.id, on_failed=calls.append)
    subscription.close()
    app.cancel(created.id)
    assert isinstance(list(app.watch(created.id))[-1], smelt.Failed)
    assert calls == []


def get_unknown_smelt(url: str, anon_key: str) -> None:
    with blocking.connect(url, anon_key) as client:
        client.get(UUID(int=0))


def test_pool_returns_a_rejected_call_as_its_class(shared_stack: Stack) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(get_unknown_smelt, (shared_stack.api_url, shared_stack.anon_key))
        with pytest.raises(smelt.NotFound, match="does not exist") as raised:
            result.get(timeout=60)
    assert raised.value.code == "not_found"
    assert "get_unknown_smelt" in str(raised.value.__cause__)  # The traceback of the child.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_blocking_client_used_after_a_fork_is_rejected(app: blocking.Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # The warning about forks of a process with threads.
        child = os.fork()
    if child == 0:
        try:
            app.get(uuid4())
        except smelt.PermanentError as error:
            os._exit(0 if "process" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_blocking_client_cancels_retries_and_deletes(app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    assert app.cancel(created.id).error_code == "cancelled"
    assert app.retry(created.id).run == 2
    app.delete(created.id)
    with pytest.raises(smelt.NotFound):
        app.get(created.id)


def test_blocking_watch_closed_early_ends(app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    updates = app.watch(created.id)
    next(updates)
    updates.close()
    assert app.diagnostics().watches == ()


def test_blocking_client_is_shared_by_threads(app: blocking.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: app.create(text=f"Text {number}"), range(16)))
        states = list(pool.map(lambda one: app.get(one.id), created))
    assert [state.id for state in states] == [one.id for one in created]


def test_blocking_client_close_ends_its_thread_and_rejects_calls(shared_stack: Stack) -> None:
    before = threading.active_count()
    client = blocking.connect(shared_stack.api_url, shared_stack.anon_key)
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(smelt.PermanentError):
        client.diagnostics()


def test_blocking_watches_run_in_several_threads(app: blocking.Client) -> None:
    created = [app.create(text=f"Text {number}") for number in range(8)]
    watches = [app.watch(one.id) for one in created]
    with ThreadPoolExecutor(len(watches)) as pool:
        assert all(pool.map(next, watches))
        endings = [pool.submit(list, watch) for watch in watches]
        for one in created:
            app.cancel(one.id)
        assert all(isinstance(ending.result()[-1], smelt.Failed) for ending in endings)
    assert app.diagnostics().watches == ()


def test_blocking_calls_are_interrupted_by_ctrl_c(shared_stack: Stack, user: User, app: blocking.Client) -> None:
    created = app.create(text="Ship it on Monday.")
    arguments = (shared_stack.api_url, shared_stack.anon_key, user.access_token, str(created.id))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with ExitStack() as ending:
        followers = {}
        for name, following in FOLLOWINGS.items():
            command = [sys.executable, "-W", "error", "-c", FOLLOWER.format(following=following), *arguments]
            followers[name] = ending.enter_context(started(command, **pipes))
        for name, follower in followers.items():
            assert follower.stdout is not None
            assert follower.stdout.readline() == "joined\n"
            follower.send_signal(signal.SIGINT)
            _, errors = follower.communicate(timeout=60)
            assert follower.returncode in (-signal.SIGINT, 130), (name, errors)
            assert errors.endswith("KeyboardInterrupt\n"), (name, errors)


def test_blocking_feed_and_notifications_deliver_changes(shared_stack: Stack, app: blocking.Client) -> None:
    invalidated: list[frozenset[smelt.CacheKey]] = []
    created = app.create(text="Ship it on Monday.")
    with app.feed(lambda keys: invalidated.append(keys) if app.get(created.id) else None) as feed:
        changes = {change.row.id: change for change in (next(feed), next(feed))}
        assert changes.keys() == {created.id, created.files[0].id}
        assert feed.smelts[created.id].status == "pending"
        assert feed.files.keys() == {created.files[0].id}
        work_on(shared_stack, created.id)
        assert next(feed).kind == "update"
        assert {family.family for family in feed.report()} == {"smelt", "smelts", "counts"}
    assert invalidated
    with app.notifications() as notifications:
        calls = next(notifications)
        assert calls.smelt_id == created.id
        assert notifications.mark_seen(calls.id) == notifications.mark_read(calls.id) == 1
    assert app.diagnostics().connection.channel_count == 0
    with pytest.raises(smelt.PermanentError):
        next(feed)
