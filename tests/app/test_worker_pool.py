"""`WorkerPool`: time limits, visitors who leave, and workers that die."""

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

import eovseg
from app import worker_pool as pool_module
from app.limits import MAX_CALLERS
from app.page import Page
from app.worker_pool import Job, RequestTimeout, VisitorLeft, WorkerDied, WorkerPool, checkpoint
from eovseg.assets import asset_path
from eovseg.errors import VocabularyError
from eovseg.images import load_image
from tests.app.conftest import serving
from tests.app.fake_predictor import FakePredictor
from tests.app.gradio_calls import Caller


def test_a_pool_returns_and_raises_what_its_work_does() -> None:
    pool = WorkerPool("test")
    assert pool.run(lambda: threading.current_thread().name) == "test"
    assert pool.run(lambda: pool.run(lambda: 3)) == 3, "a nested call does not wait for its own request"

    def fail() -> None:
        raise VocabularyError("no words")

    with pytest.raises(VocabularyError, match="no words"):
        pool.run(fail)


def test_a_slow_network_is_cancelled_between_its_parts() -> None:
    class Slow(torch.nn.Module):
        ran = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Slow.ran += 1
            time.sleep(0.05)
            return x + 1

    network = torch.nn.Sequential(*(Slow() for _ in range(100)))
    pool = WorkerPool("test", seconds=0.3)
    with pytest.raises(RequestTimeout, match=r"longer than the limit of 0\.3 seconds"):
        pool.run(lambda: network(torch.zeros(1)))
    assert 1 < Slow.ran < 20 and pool.hung == 0
    assert pool.run(lambda: 4) == 4


def test_other_threads_are_not_affected_by_requests() -> None:
    """Torch still works in other threads, also in one that a cancelled request started."""
    computed: list[float] = []

    def late() -> None:
        time.sleep(0.2)  # past the limit
        other = threading.Thread(target=lambda: computed.append(torch.ones(2).sum().item()))
        other.start()
        other.join()
        torch.ones(2).sum()

    with pytest.raises(RequestTimeout):
        WorkerPool("test", seconds=0.1, grace=30).run(late)
    assert computed == [2.0] and float(torch.ones(2).sum()) == 2


@pytest.mark.parametrize("half", ["image", "words"])
def test_both_halves_of_the_model_can_be_cancelled(half: str) -> None:
    """Also in the text encoder, which is loaded lazily and is not a submodule of the network."""
    predictor = eovseg.load("xs", device="cpu")
    photo = load_image(asset_path("photos/bear.jpg"))

    def late() -> None:
        time.sleep(0.2)
        if half == "image":
            predictor.encode_image(photo, keep=False)
        else:
            predictor.words.embed(["a word", "that nobody", "has asked for"])

    with pytest.raises(RequestTimeout):
        WorkerPool("test", seconds=0.1, grace=60).run(late)
    assert predictor.image_halves == 0 and predictor.words.encoded_words == 0


def test_work_that_ends_while_it_is_abandoned_does_not_block_the_pool() -> None:
    """A race: the grace period and the work end at the same moment, so worker and caller must agree on the outcome.

    When they decided independently, one pool in nine hung here.
    """
    chance = random.Random(0)
    stuck: list[int] = []

    def ask(pool: WorkerPool, seconds: float) -> None:
        with contextlib.suppress(RequestTimeout):  # on a busy machine the next request may also be late
            pool.run(lambda: time.sleep(seconds))

    def provoke(number: int, jitter: float) -> None:
        pool = WorkerPool("test", seconds=0.02, grace=0.02)
        ask(pool, 0.04 + jitter)
        next_one = threading.Thread(target=ask, args=(pool, 0), daemon=True)
        next_one.start()
        next_one.join(20)
        if next_one.is_alive() or len([t for t in pool._workers if t.is_alive()]) != 1:
            stuck.append(number)

    for begin in range(0, 100, 20):  # with the old fault, the chance that none of 100 hangs is 1 in 100,000
        threads = [threading.Thread(target=provoke, args=(begin + i, chance.uniform(-0.001, 0.001))) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stuck == []


def test_only_the_first_to_settle_sets_the_outcome() -> None:
    """The first to settle sets the outcome; the other only reads it."""
    job = Job(lambda: 1, 1, lambda: True)
    assert job.settle(1, None) and not job.settle(None, RequestTimeout("late"))
    assert (job.value, job.error) == (1, None)


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_is_replaced(end: type[BaseException]) -> None:
    pool = WorkerPool("test", seconds=60)

    def die() -> None:
        raise end

    with pytest.raises(WorkerDied, match="stopped before this request was done"):
        pool.run(die)
    assert pool.run(lambda: 8) == 8 and pool.hung == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_between_two_requests_is_replaced() -> None:
    """Two workers die while they take a request; it stays in the queue, and its caller starts a third worker."""

    class Deadly(deque[Job]):
        deaths = 2

        def popleft(self) -> Job:
            if self.deaths:
                self.deaths -= 1
                raise MemoryError
            return super().popleft()

    pool = WorkerPool("test", threads=2, seconds=60)
    pool._waiting = Deadly()
    assert pool.run(lambda: 9) == 9 and pool._waiting.deaths == 0
    assert pool.run(lambda: 10) == 10 and len(pool._workers) == 2


def test_a_request_that_is_never_started_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerPool, "_start_workers", lambda pool: None)  # as if the system were out of threads
    begin = time.monotonic()
    with pytest.raises(RequestTimeout, match="too busy"):
        WorkerPool("test", seconds=0.1, grace=0.1).run(lambda: 1)
    assert time.monotonic() - begin < 20


def test_a_pool_recovers_when_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    fail = [True, True]

    def sometimes(thread: threading.Thread) -> None:
        if thread.name == "scarce" and fail:
            fail.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    assert WorkerPool("scarce", seconds=30).run(lambda: 2) == 2 and not fail


def test_a_visitor_who_leaves_the_queue_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gone, go_on = threading.Event(), threading.Event(), threading.Event()
    pool = WorkerPool("test", seconds=60)
    first = threading.Thread(target=pool.run, args=(lambda: (begun.set(), go_on.wait(30)),))
    first.start()
    assert begun.wait(30)
    monkeypatch.setattr(pool_module, "visitor_waits", lambda: lambda: not gone.is_set())
    gone.set()
    with pytest.raises(VisitorLeft):
        pool.run(lambda: pytest.fail("nothing is begun for someone who has gone"))
    assert first.is_alive(), "it does not wait for the running request"
    go_on.set()
    first.join()


def test_a_hung_request_does_not_block_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, end = WorkerPool("test", seconds=30, grace=0.1), threading.Event()
    with pytest.raises(RequestTimeout, match="was stopped"):
        pool.run(end.wait, seconds=0.1)
    assert pool.hung == 1 and pool.run(lambda: 5) == 5
    monkeypatch.setattr(pool_module, "MAX_HUNG", 1)
    with pytest.raises(RequestTimeout, match="no longer responds"):
        pool.run(lambda: 6)
    end.set()
    for _ in range(100):
        if pool.hung == 0:
            break
        time.sleep(0.02)
    assert pool.run(lambda: 7) == 7, "the hung request ended"


def test_a_visitor_who_leaves_stops_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    monkeypatch.setattr(pool_module, "visitor_waits", lambda: lambda: not gone.is_set())
    pool = WorkerPool("test", seconds=60)

    def work() -> None:
        gone.set()
        checkpoint()

    with pytest.raises(VisitorLeft):
        pool.run(work)
    with pytest.raises(VisitorLeft):
        pool.run(lambda: pytest.fail("nothing is begun for someone who has gone"))


# With a server


class SlowPredictor(FakePredictor):
    """Encodes in small steps, like a network, until `go_on` is set or the request is cancelled."""

    steps = 0
    go_on: threading.Event

    def encode_image(self, image: Any) -> Any:
        while image.shape[0] == 13 and not self.go_on.is_set():  # the photo of a slow request is 13 pixels high
            SlowPredictor.steps += 1
            time.sleep(0.02)
            checkpoint()
        return super().encode_image(image)


@pytest.fixture(scope="module")
def slow() -> Iterator[tuple[str, Page, Any]]:
    SlowPredictor.go_on = threading.Event()
    page = Page(SlowPredictor(), seconds=3)
    with serving(page) as demo:
        yield demo.local_url, page, demo


def test_a_slow_request_ends_with_a_sentence(slow: tuple[str, Page, Any]) -> None:
    caller = Caller(slow[0])
    begin = time.monotonic()
    said = caller.segment(caller.photo(40, 13), "sky")
    assert "longer than the limit of 3 seconds" in said.error and time.monotonic() - begin < 30
    assert caller.segment(caller.photo(40, 20), "sky: stuff").labels == {"sky"}


def test_the_model_is_free_after_a_visitor_leaves(slow: tuple[str, Page, Any]) -> None:
    address, page, _ = slow
    page.pool.seconds = 120
    try:
        leaver, other = Caller(address), Caller(address)
        before = SlowPredictor.steps
        leaver.ask_and_leave(leaver.photo(41, 13), "sky", after=lambda: SlowPredictor.steps > before + 5)
        begin = time.monotonic()
        assert other.segment(other.photo(40, 20), "road: stuff").labels == {"road"}
        assert time.monotonic() - begin < 30, "it does not wait for the two minutes of the cancelled request"
        steps = SlowPredictor.steps
        time.sleep(0.3)
        assert SlowPredictor.steps == steps, "the work of the visitor who left has stopped"
    finally:
        page.pool.seconds = 3


def test_a_full_queue_gets_a_sentence(slow: tuple[str, Page, Any]) -> None:
    address, page, demo = slow
    page.pool.seconds = 120
    callers = [Caller(address) for _ in range(4)]
    slow_photo = callers[0].photo(42, 13)
    demo._queue.max_size = 2
    try:
        joined = [callers[0].join_segment(slow_photo, "sky")]
        for _ in range(200):  # the first one is being served, so it is not in the queue
            if len(demo._queue) == 0:
                break
            time.sleep(0.02)
        joined += [callers[i].join_segment(slow_photo, "sky") for i in (1, 2, 3)]
        assert [answer.status_code for answer in joined] == [200, 200, 200, 503]
        assert "Queue is full" in joined[-1].json()["detail"]
    finally:
        SlowPredictor.go_on.set()
        page.pool.seconds, demo._queue.max_size = 3, 32
    for caller, answer in zip(callers[:3], joined, strict=False):
        assert caller.read_segment(answer).labels == {"sky"}
    SlowPredictor.go_on.clear()


def test_pressing_again_skips_queued_requests(slow: tuple[str, Page, Any]) -> None:
    address, page, _ = slow
    visitor, blocker = Caller(address), Caller(address)
    visitor.open_page()
    SlowPredictor.go_on.clear()
    page.pool.seconds = 120
    try:
        blocking = blocker.join_segment(blocker.photo(43, 13), "sky")
        decoded = page.models.get(None).vocabularies_decoded  # type: ignore[attr-defined]
        photo = visitor.photo(50, 30)
        pressed = [visitor.press(photo, f"word{i}: stuff") for i in range(4)]
    finally:
        SlowPredictor.go_on.set()
        page.pool.seconds = 3
    stages = visitor.read_pressed(pressed)
    assert blocker.read_segment(blocking).labels == {"sky"}
    assert [None if stage is None else [e["label"] for e in stage["segments"]] for stage in stages] == [
        None, None, None, ["word3"],
    ]  # fmt: skip
    assert page.models.get(None).vocabularies_decoded == decoded + 2  # type: ignore[attr-defined]
    SlowPredictor.go_on.clear()


def test_the_state_of_many_callers_is_bounded(slow: tuple[str, Page, Any]) -> None:
    address, _, demo = slow
    with httpx.Client(base_url=address) as client:
        caller = Caller(address, client)
        photo = caller.photo(44, 20)
        for i in range(MAX_CALLERS + 10):
            caller.session = f"visitor{i}"
            assert caller.read_segment(caller.join_segment(photo, "sky: stuff")).labels == {"sky"}
    assert len(demo.state_holder.session_data) <= MAX_CALLERS
    assert len(demo._queue.event_analytics) <= 100
