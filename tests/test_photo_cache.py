"""The predictor's photo cache is limited in number and bytes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

import eovseg
from eovseg.photo_cache import PhotoCache, bytes_of


@dataclass(eq=False)
class State:
    pixels: np.ndarray
    features: tuple[torch.Tensor, ...] = ()


def state(size: int) -> State:
    return State(np.zeros(size, np.uint8))


def test_shared_bytes_are_counted_once_and_views_completely() -> None:
    whole = torch.zeros(10, 25)  # 1,000 bytes
    assert bytes_of(State(np.zeros(7, np.uint8), (whole, whole[:2], whole.view(250)))) == 1_007
    assert bytes_of((state(3), None, "text", state(4))) == 7


def test_the_oldest_is_evicted_by_number_and_by_bytes() -> None:
    kept: PhotoCache[State] = PhotoCache(count=3, size=100)
    for key in (b"a", b"b", b"c"):
        kept.put(key, state(20))
    assert kept.get(b"a") is not None, "it is now the latest"
    kept.put(b"d", state(20))
    assert kept.get(b"b") is None and len(kept) == 3
    kept.put(b"e", state(70))
    assert [kept.get(key) is not None for key in (b"c", b"a", b"d", b"e")] == [False, False, True, True]
    assert kept.total_bytes == 90


def test_the_latest_is_kept_however_large_it_is() -> None:
    kept: PhotoCache[State] = PhotoCache(count=4, size=100)
    kept.put(b"a", state(10))
    kept.put(b"b", state(1_000))
    assert kept.get(b"a") is None and kept.get(b"b") is not None
    kept.put(b"c", state(10))
    assert kept.get(b"b") is None and len(kept) == 1
    kept.clear()
    assert not len(kept)


def test_a_predictor_evicts_by_bytes(monkeypatch: pytest.MonkeyPatch, xs: eovseg.Predictor) -> None:
    photos = [np.asarray(Image.new("RGB", (96, 64), (shade, 0, 0))) for shade in range(3)]
    one = bytes_of(xs.encode_image(photos[0], resize=False))
    assert one > photos[0].nbytes + 4 * 24 * 16
    monkeypatch.setattr("eovseg.segmenter.CACHED_BYTES", int(2.5 * one))
    predictor = eovseg.Predictor(xs.network, xs.training_words, device=xs.device, text_weights="none")
    for number in (0, 1, 2, 2, 1):
        predictor.encode_image(photos[number], resize=False)
    assert predictor.image_halves == 3, "the last two are cached"
    predictor.encode_image(photos[0], resize=False)
    assert predictor.image_halves == 4, "the first was evicted"
