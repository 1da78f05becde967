"""Damaged copies of valid files, deterministic by seed."""

import random
from collections.abc import Sequence

_HEADER = 64  # bytes in which most formats store sizes
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(originals: Sequence[bytes], seed: int, tokens: Sequence[bytes] = ()) -> bytes:
    """One of `originals` after one to four mutations; one in fifty is unchanged, so that some inputs are valid."""
    rng = random.Random(seed)
    content = bytearray(rng.choice(originals))
    if rng.random() < 0.02:
        return bytes(content)
    for _ in range(rng.randint(1, 4)):
        _mutate(content, rng, originals, tokens)
    return bytes(content)


def _mutate(content: bytearray, rng: random.Random, originals: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    """Changes `content` once, in place."""
    place, end = sorted((rng.randint(0, len(content)), rng.randint(0, len(content))))
    kind = rng.randrange(9 if tokens else 7)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            _flip(content, rng.randint(0, len(content)), 1 << rng.randrange(8))
    elif kind == 1:
        _flip(content, rng.randint(0, min(_HEADER, len(content))), rng.randint(1, 255))
    elif kind == 2:
        start = rng.randint(0, min(_HEADER, len(content)) if rng.random() < 0.7 else len(content))
        size = rng.choice((1, 2, 4))
        number = rng.choice(_NUMBERS) % 256**size
        content[start : start + size] = number.to_bytes(size, rng.choice(("big", "little")))
    elif kind == 3:
        del content[place:]
    elif kind == 4:
        del content[place : min(end, place + 64)]
    elif kind == 5:
        content[place:place] = content[place : min(end, place + 256)] * rng.randint(1, 16)
    elif kind == 6:
        other = rng.choice(originals)
        start = rng.randint(0, len(other))
        content[place:end] = other[start : start + rng.randint(1, 256)]
    elif kind == 7:
        content[place:place] = rng.choice(tokens)
    else:
        content[place : min(end, place + 32)] = rng.choice(tokens)


def _flip(content: bytearray, place: int, bits: int) -> None:
    if place < len(content):
        content[place] ^= bits
