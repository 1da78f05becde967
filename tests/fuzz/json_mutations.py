"""Valid JSON with wrong content: values of other types and ranges, missing, duplicate and swapped entries."""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 0.5, 5.0, -0.0, 1e9, float("nan"), float("inf"), 2**24, 2**31, 2**63, 10**400,
    "", " ", "x", "7", "-1", "a,b", "tv; monitor", "\x00", "..\\a.jpg", "../a.jpg", "x" * 3000, "人", "\ud800", [], {},
    [[]], [0], [None], ["x"], {"size": [16, 24], "counts": [384]}, {"size": [16, 24], "counts": "0`"}, [1, 2, 3, 4],
    [[1, 1, 9, 1, 9, 9]], [[1, 1, 1e12, 1, 9, 9]], [1, 1, 9, 1, 9, 9],
)  # fmt: skip


def mutated_json(documents: Sequence[Any], seed: int) -> Any:
    """One of `documents` with one to three changed values; one in fifty is unchanged."""
    rng = random.Random(seed)
    document = copy.deepcopy(rng.choice(documents))
    if rng.random() < 0.02:
        return document
    for _ in range(rng.randint(1, 3)):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.randrange(10)
        if kind < 6:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind < 8:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
        elif kind == 8:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[f"{key}x"] = holder[key]
    return document


def dumped(document: Any, seed: int) -> bytes:
    """`document` as the bytes of a file, sometimes with a byte order mark."""
    text = json.dumps(document, ensure_ascii=bool(seed % 3))
    return text.encode("utf-8-sig" if seed % 7 == 0 else "utf-8", "surrogatepass")


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document as (container, key)."""
    keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    for key in keys:
        yield node, key
        yield from _places(node[key])
