"""The masks that are kept while their logits live: found again, dropped with them, whatever other threads do."""

import gc
import sys
import threading
from typing import Any

import pytest

from eovseg import composer
from eovseg.composer import KeptMasks


class FakeLogits:
    """All that matters: it can be told from others, and it goes."""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptMasks:
    monkeypatch.setattr(composer, "_tiled_masks", lambda *_: object())
    return KeptMasks()


def of(kept: KeptMasks, logits: FakeLogits) -> Any:
    return kept.of(logits, None, (1, 1))  # type: ignore[arg-type]


def test_the_last_two_are_kept_while_their_logits_live(kept: KeptMasks) -> None:
    first, second, third = FakeLogits(), FakeLogits(), FakeLogits()
    masks = of(kept, first)
    assert of(kept, second) is not masks and of(kept, first) is masks
    of(kept, third)
    assert len(kept) == 2 and of(kept, first) is not masks
    del first, second, third
    assert len(kept) == 0


def test_logits_that_go_while_masks_are_made(kept: KeptMasks, monkeypatch: pytest.MonkeyPatch) -> None:
    going = [FakeLogits()]
    of(kept, going[0])

    def made(*_: object) -> object:
        going.clear()  # as the garbage collector may at any time, in the thread that holds the lock
        return object()

    monkeypatch.setattr(composer, "_tiled_masks", made)
    done = threading.Thread(target=of, args=(kept, FakeLogits()), daemon=True)
    done.start()
    done.join(timeout=20)
    assert not done.is_alive() and len(kept) == 0


def test_no_thread_undoes_what_another_has_kept(kept: KeptMasks) -> None:
    # One thread makes and drops logits all the time; the masks of those that live must never be lost by that.
    kept._count = 50
    ended, lost = threading.Event(), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def drop() -> None:
        while not ended.is_set():
            for logits in [FakeLogits() for _ in range(3)]:
                of(kept, logits)
                del logits

    droppers = [threading.Thread(target=drop, daemon=True) for _ in range(2)]
    try:
        for thread in droppers:
            thread.start()
        for _ in range(20_000):
            logits = FakeLogits()
            lost += [logits] if of(kept, logits) is not of(kept, logits) else []
    finally:
        ended.set()
        for thread in droppers:
            thread.join()
        sys.setswitchinterval(interval)
    assert not lost
    del logits, lost
    gc.collect()
    assert len(kept) == 0, "nothing of logits that are gone"
