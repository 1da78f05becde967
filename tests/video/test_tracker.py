"""Tracks of drawn shapes that move, cross, vanish and change their class, with segments in any order."""

from dataclasses import replace

import numpy as np
import pytest

from eovseg.colours import CLASS_DISTANCE, as_seen, class_colour, colour_distance
from eovseg.errors import ConfigError
from eovseg.video.tracker import TrackedSegment, Tracker
from tests.video.drawn import BALL, BOX, GROUND, SKY, Block, scene

WHOLE = (0, 0, 80, 120)


def at(frame: tuple[np.ndarray, tuple[TrackedSegment, ...]], row: int, column: int) -> TrackedSegment:
    """The segment drawn at a position."""
    (found,) = [segment for segment in frame[1] if segment.track == frame[0][row, column]]
    return found


def identity(segment: TrackedSegment) -> tuple[int, str, tuple[int, int, int]]:
    return segment.track, segment.name, segment.colour


def test_moving_shapes_keep_number_name_and_colour_for_any_order_of_segments() -> None:
    tracker = Tracker()
    seen: dict[str, set] = {"left": set(), "right": set(), "ground": set()}
    orders = set()
    for step in range(20):
        blocks = [Block(GROUND, *WHOLE), Block(BALL, 10, 5 + step, 30, 25 + step)]
        blocks += [Block(BALL, 50, 95 - step, 70, 115 - step)]
        result = scene(blocks, seed=step)
        orders.add(tuple(segment.class_id for segment in result.segments))
        frame = tracker.update(result)
        seen["left"].add(identity(at(frame, 20, 15 + step)))
        seen["right"].add(identity(at(frame, 60, 105 - step)))
        seen["ground"].add(identity(at(frame, 0, 0)))
        assert frame[0].shape == (80, 120) and frame[0].dtype == np.int32
    assert len(orders) > 1, "otherwise the test is meaningless"
    assert all(len(kept) == 1 for kept in seen.values()), seen
    assert {kept.pop()[1] for kept in seen.values()} == {"ball 1", "ball 2", "ground"}
    assert tracker.count == 3


def test_two_of_a_class_cross_and_keep_their_identity() -> None:
    tracker = Tracker()
    frames = []
    for step in range(45):
        back = Block(BALL, 20, 2 * step - 10, 50, 2 * step + 10)
        front = Block(BALL, 18, 100 - 2 * step, 52, 122 - 2 * step)
        frames.append(tracker.update(scene([Block(GROUND, *WHOLE), back, front], seed=step)))
    hidden = [step for step, frame in enumerate(frames) if len(frame[1]) == 2]
    assert 1 <= len(hidden) <= 8, "one is completely hidden for a while"
    start, end = frames[8], frames[-1]
    assert identity(at(start, 30, 8)) == identity(at(end, 30, 86)), "left to right"
    assert identity(at(start, 30, 95)) == identity(at(end, 30, 20)), "right to left, in front"
    assert tracker.count == 3


@pytest.mark.parametrize(("gap", "same"), [(1, True), (5, True), (6, False)])
def test_a_shape_that_reappears_within_the_memory_keeps_its_track(gap: int, same: bool) -> None:
    tracker = Tracker(memory=5)
    ground = Block(GROUND, *WHOLE)

    def ball(step: int) -> Block:
        return Block(BALL, 10, 5 + 3 * step, 30, 25 + 3 * step)

    for step in range(6):
        before = tracker.update(scene([ground, ball(step)]))
    for _ in range(gap):
        tracker.update(scene([ground]))
    after = tracker.update(scene([ground, ball(6 + gap)]))
    first, last = at(before, 20, 25), at(after, 20, 15 + 3 * (6 + gap))
    assert (first.track == last.track) == same
    assert first.colour == last.colour, "its own colour, or that of the class, which is free again"
    assert last.name == ("ball 1" if same else "ball 2")


def test_stuff_keeps_its_track_however_long_it_is_away() -> None:
    tracker = Tracker(memory=2)
    sky = identity(at(tracker.update(scene([Block(SKY, *WHOLE)])), 0, 0))
    for _ in range(30):
        tracker.update(scene([Block(GROUND, *WHOLE)]))
    both = tracker.update(scene([Block(GROUND, *WHOLE), Block(SKY, 0, 0, 5, 5)]))
    assert identity(at(both, 0, 0)) == sky and at(both, 50, 50).name == "ground"


def test_a_class_is_one_track_in_the_task_semantic() -> None:
    tracker = Tracker()
    for column in (0, 90):  # no overlap at all
        result = replace(scene([Block(GROUND, *WHOLE), Block(BALL, 0, column, 20, column + 20)]), task="semantic")
        ball = at(tracker.update(result), 5, column + 5)
        assert (ball.name, ball.track) == ("ball", 2) and ball.is_thing


def test_one_wrong_class_does_not_rename_a_track_and_a_lasting_one_does() -> None:
    tracker = Tracker()

    def name(class_id: int) -> str:
        found = at(tracker.update(scene([Block(GROUND, *WHOLE), Block(class_id, 10, 10, 40, 40)])), 20, 20)
        assert found.track == 2 and found.colour == tuple(class_colour("ball")), "number and colour stay"
        assert found.segment.class_id == class_id, "the class in this frame is available, too"
        return found.name

    assert [name(BALL) for _ in range(10)] == ["ball 1"] * 10
    assert [name(BOX), name(BALL), name(BOX), name(BALL)] == ["ball 1"] * 4
    assert [name(BALL) for _ in range(10)] == ["ball 1"] * 10
    names = [name(BOX) for _ in range(12)]
    assert names[:3] == ["ball 1"] * 3 and names[5:] == ["box 1"] * 7
    assert [name(BALL) for _ in range(12)][-1] == "ball 1", "the same number as before"


def test_a_part_that_breaks_off_is_a_new_track_and_the_rest_keeps_the_old_one() -> None:
    tracker = Tracker()
    for _ in range(12):
        whole = tracker.update(scene([Block(BOX, 10, 10, 60, 80)]))
    broken = tracker.update(scene([Block(BOX, 10, 10, 60, 60), Block(BOX, 10, 60, 60, 80)], seed=1))
    assert at(broken, 30, 30).track == at(whole, 30, 30).track != at(broken, 30, 70).track
    mended = tracker.update(scene([Block(BOX, 10, 10, 60, 80)]))
    assert at(mended, 30, 30).track == at(whole, 30, 30).track


def test_colours_of_simultaneous_tracks_differ_and_come_from_the_class() -> None:
    tracker = Tracker()
    blocks = [Block(GROUND, *WHOLE), Block(SKY, 0, 0, 10, 120)]
    blocks += [Block(BALL, 20 + 20 * row, 20 * k, 35 + 20 * row, 20 * k + 15) for row in range(2) for k in range(5)]
    _, segments = tracker.update(scene(blocks))
    colours = [np.array(segment.colour, dtype=np.uint8) for segment in segments]
    assert tuple(class_colour("ball")) in {segment.colour for segment in segments}
    for index, colour in enumerate(colours):
        for other in colours[:index]:
            assert colour_distance(as_seen(colour), as_seen(other)) >= CLASS_DISTANCE


def test_a_new_thing_does_not_take_a_colour_that_is_in_use() -> None:
    tracker = Tracker()
    first = at(tracker.update(scene([Block(BALL, 0, 0, 20, 20)])), 5, 5)
    frame = tracker.update(scene([Block(BALL, 60, 60, 80, 80)]))  # the first one is only temporarily missing
    second = at(frame, 70, 70)
    assert second.track != first.track and second.colour != first.colour


def test_large_frames_are_compared_on_a_grid_and_mapped_in_full() -> None:
    tracker = Tracker()
    size = (1300, 2100)
    for step in range(3):
        blocks = [Block(GROUND, 0, 0, *size), Block(BALL, 100, 100 + 40 * step, 500, 500 + 40 * step)]
        frame = tracker.update(scene(blocks, size, seed=step))
        assert frame[0].shape == size and (frame[0] == at(frame, 300, 400).track).sum() == 400 * 400
    assert tracker.count == 2


def test_an_empty_frame_and_a_frame_of_one_pixel() -> None:
    tracker = Tracker()
    for _ in range(2):
        track_map, segments = tracker.update(scene([]))
        assert not track_map.any() and segments == ()
    assert at(tracker.update(scene([Block(BALL, 0, 0, 1, 1)], (1, 1))), 0, 0).name == "ball 1"


def test_an_instance_hidden_by_others_is_omitted() -> None:
    covered = scene([Block(BALL, 10, 10, 30, 30), Block(BOX, 5, 5, 40, 40)])
    hidden = scene([Block(BALL, 10, 10, 30, 30)]).segments[0]
    result = replace(covered, segments=(replace(hidden, id=1), *covered.segments), task="instance")
    _, segments = Tracker().update(result)
    assert [segment.name for segment in segments] == ["box 1"]


def test_a_negative_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        Tracker(memory=-1)
