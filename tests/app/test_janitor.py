"""The janitor: sessions and files expire, and memory and disk use stay bounded."""

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import janitor as janitor_module
from app.janitor import Janitor, delete_files
from app.limits import FILE_SECONDS, SESSION_SECONDS
from app.session import SessionStore


def test_sessions_expire() -> None:
    store = SessionStore()
    old, young = store.open(None), store.open(None)
    now = time.time()
    old.used = now - SESSION_SECONDS - 1
    store.expire(SESSION_SECONDS, now)
    assert store.get(old.key) is None and store.get(young.key) is young


def test_old_files_are_deleted_and_the_oldest_of_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(name: str) -> Path:
        path = tmp_path / name / "photo.png"
        path.parent.mkdir()
        path.write_bytes(b"x" * 1000)
        time.sleep(0.02)
        return path

    first, second = file("a"), file("b")
    now = time.time() + FILE_SECONDS - 600  # moves the clock, because a file's ctime cannot be set
    delete_files(tmp_path, now)
    assert first.exists() and second.exists()
    monkeypatch.setattr(janitor_module, "FILES_BYTES", 1500)
    delete_files(tmp_path, now)
    assert [first.exists(), second.exists()] == [False, True] and not first.parent.exists()
    delete_files(tmp_path, now + 700)
    assert list(tmp_path.iterdir()) == []
    delete_files(tmp_path / "nowhere", now)


def test_a_failed_round_does_not_stop_the_janitor(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = threading.Semaphore(0)

    def fail(*_: object) -> None:
        rounds.release()
        raise OSError("the disk is gone")

    monkeypatch.setattr(janitor_module, "delete_files", fail)
    with Janitor(SimpleNamespace(), SessionStore(), seconds=0.01):
        assert all(rounds.acquire(timeout=10) for _ in range(3))


def test_gradios_state_of_callers_is_dropped() -> None:
    past = datetime.now() - timedelta(seconds=SESSION_SECONDS + 5)
    holder = SimpleNamespace(session_data={"old": 1, "new": 2}, time_last_used={"old": past, "new": datetime.now()})
    line = SimpleNamespace(
        pending_event_ids_session={"read": set(), "unread": {"e1"}, "served": {"e2"}},
        pending_messages_per_session={"read": 1, "unread": 1, "served": 1},
        event_ids_to_events={"e2": object()},
    )
    janitor = Janitor(SimpleNamespace(state_holder=holder, _queue=line), SessionStore())
    now = time.time()
    janitor.tidy(now)
    assert set(holder.session_data) == set(holder.time_last_used) == {"new"}
    assert set(line.pending_messages_per_session) == {"unread", "served"}
    janitor.tidy(now + FILE_SECONDS)
    assert set(line.pending_event_ids_session) == set(line.pending_messages_per_session) == {"served"}
