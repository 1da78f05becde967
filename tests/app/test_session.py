"""Sessions: what they keep, and which steps a change runs."""

import gc
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import session as session_module
from app.session import LONGEST_SIDE, Request, Session, SessionStore, adjust, run
from app.worker_pool import RequestTimeout, WorkerPool
from eovseg.errors import ImageError
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary
from tests.app.fake_predictor import FakePredictor

PhotoWriter = Callable[..., str]


def request_of(words: str, **more: Any) -> Request:
    return Request(Vocabulary.parse(words), **more)


WORDS = request_of("sky: stuff; car: thing")


def ran(predictor: FakePredictor) -> tuple[int, int, int]:
    return predictor.images_encoded, predictor.vocabularies_decoded, predictor.composed


def test_only_what_changed_runs(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    session = run(Session(), predictor, photo_file(), WORDS)
    assert ran(predictor) == (1, 1, 1) and set(session.seconds) == {"photo", "words", "result"}
    run(session, predictor, photo_file(), request_of("sky: stuff; car: thing; dog"))
    assert ran(predictor) == (1, 2, 2) and set(session.seconds) == {"words", "result"}
    run(session, predictor, photo_file(), request_of("sky: stuff; car: thing; dog"))
    assert ran(predictor) == (1, 2, 3) and set(session.seconds) == {"result"}
    run(session, predictor, photo_file(name="copy.png"), WORDS)
    assert ran(predictor) == (1, 3, 4), "the same photo under another name"
    run(session, predictor, photo_file(61, name="other.png"), WORDS)
    assert ran(predictor) == (2, 4, 5)


def test_settings_only_compose(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    session = run(Session(), predictor, photo_file(), WORDS)
    session.chosen, revision, decoding = 1, session.revision, session.decoding
    adjust(session, Settings(alpha=0.1, task="semantic"))
    assert ran(predictor) == (1, 1, 2) and set(session.seconds) == {"result"}
    assert predictor.settings == Settings(alpha=0.1, task="semantic")
    assert (session.revision, session.decoding, session.chosen) == (revision + 1, decoding, None)
    assert session.result is not None and session.result.name == "photo.png"


def test_another_model_runs_everything(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    session = run(Session(), predictor, photo_file(), WORDS)
    other = FakePredictor()
    run(session, other, photo_file(), WORDS)
    assert ran(predictor) == ran(other) == (1, 1, 1) and session.predictor is other


def test_a_background_competes_and_is_shown_as_one_segment(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    session = run(
        Session(), predictor, photo_file(), request_of("car: thing", background=Vocabulary.parse("sea; Car; sky"))
    )
    assert session.vocabulary is not None and session.vocabulary.labels == ("car", "sea", "sky")
    assert session.result is not None
    assert [segment.label for segment in session.result.segments] == ["car", "car", "other"]
    run(session, predictor, photo_file(), request_of("car: thing"))
    assert ran(predictor) == (1, 2, 2)


def test_a_failed_run_changes_nothing(predictor: FakePredictor, photo_file: PhotoWriter, tmp_path: Path) -> None:
    session = run(Session(), predictor, photo_file(), WORDS)
    before = dict(vars(session))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(ImageError):
        run(session, predictor, str(broken), WORDS)
    predictor.failure = RuntimeError("out of memory")
    with pytest.raises(RuntimeError):
        run(session, predictor, photo_file(61, name="other.png"), request_of("dog"))
    assert vars(session) == before


class SlowToCompose(FakePredictor):
    """Reaches no checkpoint in `compose`; if `late`, it takes longer than the time limit."""

    late = False

    def compose(self, *given: Any, **settings: Any) -> Any:
        if self.late:
            time.sleep(0.3)
        return super().compose(*given, **settings)


@pytest.mark.parametrize("new", [request_of("dog", settings=Settings(alpha=0.1)), Settings(alpha=0.1)])
def test_a_request_over_the_time_limit_changes_nothing(photo_file: PhotoWriter, new: Request | Settings) -> None:
    """Neither with another photo and words nor with other settings."""
    predictor = SlowToCompose()
    session = run(Session(), predictor, photo_file(), WORDS)
    before = dict(vars(session))
    predictor.late = True

    def work() -> Session:
        if isinstance(new, Settings):
            return adjust(session, new)
        return run(session, predictor, photo_file(61, name="other.png"), new)

    with pytest.raises(RequestTimeout, match="longer than"):
        WorkerPool("test", seconds=0.1, grace=60).run(work)
    assert vars(session) == before


def test_an_archive_contains_the_photo_of_its_name(
    predictor: FakePredictor, photo_file: PhotoWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the session gets another photo before the archive is written."""
    session = run(Session(), predictor, photo_file(name="first.png"), WORDS)
    pack = session_module.archive

    def overtaken(result: Any, kind: str) -> bytes:
        run(session, predictor, photo_file(61, name="second.png"), WORDS)
        session.save()
        return pack(result, kind)

    monkeypatch.setattr(session_module, "archive", overtaken)
    path = session.packed("cvat", tmp_path)
    assert path == tmp_path / "first-cvat.zip"
    with zipfile.ZipFile(path) as packed:
        assert sorted(packed.namelist()) == ["first-cvat.xml", "first.jpg"]


@pytest.mark.parametrize("lock", ["saving", "running"])
def test_waiting_for_files_has_a_time_limit(
    predictor: FakePredictor, photo_file: PhotoWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(session_module, "BUSY_SECONDS", 0.1)
    session = run(Session(), predictor, photo_file(), WORDS)
    with ThreadPoolExecutor(1) as other:
        other.submit(getattr(session, lock).acquire).result()
        with pytest.raises(RequestTimeout, match="still running"):
            session.save() if lock == "saving" else session.packed("cvat", tmp_path)


def test_a_large_photo_is_scaled_down_and_noted(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    session = run(Session(), predictor, photo_file(3000, 30 * 40), WORDS)
    assert session.shrunk_from == (3000, 1200)
    assert session.result is not None
    assert session.result.segment_map.shape == (round(1200 * LONGEST_SIDE / 3000), LONGEST_SIDE)
    run(session, predictor, photo_file(LONGEST_SIDE, 50, "fits.png"), WORDS)
    assert session.shrunk_from is None


def test_files_follow_result_and_opacity(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    session = run(Session(), predictor, photo_file(name="my photo.png"), WORDS)
    first = session.save()
    assert [path.suffix for path in first] == [".png", ".png", ".json", ".json", ".csv"]
    assert session.save() is first, "the files are cached"
    assert first[0].name.startswith("my photo")
    plain = first[0].read_bytes()
    session.opacity = 0.9
    second = session.save()
    assert second[0].read_bytes() != plain
    assert not first[0].exists(), "the previous files are deleted"
    session.close()
    assert not second[0].parent.exists()


def test_the_store_is_bounded_and_drops_the_oldest(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    store = SessionStore(limit=2)
    start = run(Session(), predictor, photo_file(), WORDS)
    first, second = store.open(None, start), store.open(None, start)
    folder = first.save()[0].parent
    assert store.open(second.key) is second
    store.open(first.key)
    third = store.open(None, start)
    assert len(store) == 2 and store.open(first.key) is first and store.open(third.key) is third
    assert store.open(second.key) is not second, "the least recently used session was dropped"
    assert not folder.exists(), "its files were deleted"


def test_the_files_of_the_store_are_deleted_with_it(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    store = SessionStore()
    folder = store.open(None, run(Session(), predictor, photo_file(), WORDS)).save()[0].parent
    assert folder.exists()
    del store
    gc.collect()
    assert not folder.exists()


def test_dropping_twice_or_nothing_is_a_no_op() -> None:
    store = SessionStore()
    key = store.open(None).key
    for gone in (key, key, None, "unknown"):
        store.drop(gone)
    assert len(store) == 0


def test_sessions_do_not_share_state(predictor: FakePredictor, photo_file: PhotoWriter) -> None:
    store = SessionStore()
    start = run(Session(), predictor, photo_file(), WORDS)
    one, other = store.open(None, start), store.open(None, start)
    run(one, predictor, photo_file(61, name="other.png"), request_of("dog"))
    assert other.vocabulary == WORDS.vocabulary == start.vocabulary
    assert other.result is start.result and one.result is not start.result


def test_many_threads_can_open_sessions_simultaneously() -> None:
    store = SessionStore(limit=5)
    threads = [threading.Thread(target=lambda: [store.open(None) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 5


def test_the_fake_predictor_draws_the_listed_segments(photo_file: PhotoWriter) -> None:
    result = run(Session(), FakePredictor(), photo_file(), WORDS).result
    assert result is not None
    assert [segment.label for segment in result.segments] == ["sky", "car", "car"]
    assert set(np.unique(result.segment_map)) == {segment.id for segment in result.segments}
