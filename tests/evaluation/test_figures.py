"""Figures from counts: weights are repetitions of photos, weight 1 gives the report, and intervals are correct."""

from dataclasses import replace

import numpy as np
import pytest

from eovseg.evaluation.average_precision import ClassMatches
from eovseg.evaluation.bootstrap import draws_of, interval
from eovseg.evaluation.counts import (
    ClassPixels,
    ClassSegments,
    Counts,
    NamedRegion,
    PhotoCounts,
    RegionMasks,
    ScoredSegment,
)
from eovseg.evaluation.figures import average_precision, differences, figures, intervals, point_estimates
from eovseg.evaluation.mask_recall import GROUPS, SHARES, share_name
from eovseg.evaluation.report import Report
from tests.evaluation.test_average_precision import accumulate, generated_case

IS_THING = np.array([True, True, False, False, True])
SEEN = np.array([True, False, True, False, True])
HEADER = {"data": "drawn", "variant": "xs", "vocabulary": "own words", "labels": tuple("abcde"), "settings": {}}


def photo(name: str, random: np.random.Generator) -> PhotoCounts:
    """Random counts of a photo; some classes are missing."""
    present = np.flatnonzero(random.random(5) < 0.6).tolist()
    whole = random.integers(1, 90, (5, 3))
    return PhotoCounts(
        name,
        panoptic=[
            ClassSegments(c, float(hits * random.uniform(0.5, 1)), int(hits), *random.integers(0, 3, 2).tolist())
            for c, hits in zip(present, random.integers(0, 3, len(present)), strict=True)
        ],
        segments=[ScoredSegment(float(random.random()), bool(random.random() < 0.5)) for _ in present],
        semantic=[ClassPixels(c, int(whole[c].min()), *map(int, whole[c, :2])) for c in present],
        instance=[
            ClassMatches(c, int(random.integers(0, 3)), [0.5, 0.25], [int(random.integers(0, 1024)), 3], [0, 1020])
            for c in present
            if IS_THING[c]
        ],
        regions=[NamedRegion(c, *random.integers(1, 6, 3).tolist()) for c in present],
        masks=[RegionMasks(c % len(GROUPS), *(random.random(4) < 0.5).tolist()) for c in present],
    )


@pytest.fixture
def counts() -> Counts:
    random = np.random.default_rng(0)
    return Counts(tuple(photo(f"{number}.jpg", random) for number in range(6)), IS_THING, SEEN)


def test_weight_one_gives_the_report(counts: Counts) -> None:
    """The figures and the parts of a report are computed in two different ways."""
    report = Report.of(counts, **HEADER)
    expected: dict[str, float] = {}
    assert report.panoptic is not None and report.semantic is not None and report.reliability is not None
    for name in ("all", "things", "stuff"):
        score, suffix = getattr(report.panoptic, name), "" if name == "all" else f" {name}"
        expected |= {f"PQ{suffix}": score.pq, f"SQ{suffix}": score.sq, f"RQ{suffix}": score.rq}
    for name in ("seen", "unseen"):
        expected[f"PQ {name}"] = getattr(report.panoptic, name).pq
        expected[f"mIoU {name}"] = getattr(report.semantic, f"{name}_miou")
        for classifier, accuracy in report.classification.items():
            part = getattr(accuracy, name)
            expected |= {f"{classifier} top-1 {name}": part.top1, f"{classifier} top-5 {name}": part.top5}
    expected |= {"mIoU": report.semantic.miou, "pixel accuracy": report.semantic.pixel_accuracy}
    expected["calibration error"] = report.reliability.expected_calibration_error
    for group, recall in report.masks.items():
        expected |= {share_name(share, group): getattr(recall, share) for share in SHARES}
    found = report.summary()
    assert found.keys() == expected.keys() | {"AP", "AP50", "AP75"}  # these are compared with pycocotools below
    assert len(expected) == 11 + 4 + 12 + 1 + 20  # panoptic, semantic, names, calibration, masks
    for name, value in expected.items():
        assert found[name] == pytest.approx(100 * value, nan_ok=True), name


def test_a_weight_is_a_repeated_photo(counts: Counts) -> None:
    weights = np.array([[0, 2, 1, 0, 3, 0], [1, 1, 1, 1, 1, 1], [6, 0, 0, 0, 0, 0]])
    found = figures(counts, weights)
    for row, weight in enumerate(weights):
        repeated = tuple(photo for photo, times in zip(counts.photos, weight, strict=True) for _ in range(times))
        alone = figures(replace(counts, photos=repeated), np.ones((1, 6), dtype=int))
        assert found.keys() == alone.keys()
        for name, values in alone.items():
            assert found[name][row] == pytest.approx(values[0], nan_ok=True), name


def test_average_precision_is_that_of_pycocotools() -> None:
    random = np.random.default_rng(3)
    for _ in range(60):
        case = [photo for _ in range(3) for photo in generated_case(random)]
        precision = accumulate(case)
        drawn = random.multinomial(len(case), np.full(len(case), 1 / len(case)))
        repeated = accumulate([photo for photo, times in zip(case, drawn, strict=True) for _ in range(times)])
        found = average_precision(precision.matches(), np.stack([np.ones(len(case), dtype=int), drawn]))
        for row, report in enumerate((precision.compute(), repeated.compute())):
            expected = {"AP": report.ap, "AP50": report.ap50, "AP75": report.ap75}
            assert {name: values[row] for name, values in found.items()} == pytest.approx(expected, nan_ok=True)


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    hits = [True] * 30 + [False] * 70
    photos = tuple(PhotoCounts(f"{i}.jpg", masks=[RegionMasks(0, hit, hit, hit, hit)]) for i, hit in enumerate(hits))
    low, high = intervals(Counts(photos, IS_THING, SEEN))["masks found"]
    spread = 1.96 * 100 * np.sqrt(0.3 * 0.7 / 100)
    assert (low, high) == pytest.approx((30 - spread, 30 + spread), abs=1.1)


def test_every_figure_has_an_interval_around_it(counts: Counts) -> None:
    found, figure = intervals(counts), point_estimates(counts)
    assert found.keys() == {name for name, value in figure.items() if np.isfinite(value)}
    assert interval(np.array([1.0, 2.0, 3.0, np.nan]), 12.0) == pytest.approx((11.05, 12.95))
    assert intervals(replace(counts, photos=counts.photos[:1])) == {}


def test_intervals_have_their_coverage() -> None:
    """Many data sets of 60 photos are drawn from a distribution whose figures are known."""
    random, sets, size = np.random.default_rng(7), 200, 60
    # Photos differ: the probability that their 12 segments are right, and the size of these, vary between photos.
    rate, pixels = random.beta(2, 3, (sets, size, 2)), random.integers(50, 150, (sets, size))
    matched, right = random.binomial(12, rate), random.binomial(pixels, rate[..., 0])
    truth = {"RQ": 40.0, "pixel accuracy": 40.0}  # the mean of the beta distribution; class 2 and 3 are one rate each
    held = dict.fromkeys(truth, 0)
    for hits, true, whole in zip(matched, right, pixels, strict=True):
        photos = tuple(
            PhotoCounts(
                f"{number}.jpg",
                panoptic=[ClassSegments(c, 0.8 * int(hit), int(hit), 12 - int(hit), 12 - int(hit)) for c, hit in pairs],
                semantic=[ClassPixels(0, int(part), int(all_), int(all_))],
            )
            for number, (pairs, part, all_) in enumerate(zip(map(enumerate, hits), true, whole, strict=True))
        )
        found = intervals(Counts(photos, IS_THING, SEEN))
        for name, value in truth.items():
            held[name] += found[name][0] <= value <= found[name][1]
    assert all(0.90 <= count / sets <= 0.99 for count in held.values()), held


def test_draws_are_the_same_every_time_and_keep_the_number_of_photos() -> None:
    draws = draws_of(5, resamples=40)
    assert draws.shape == (41, 5)
    assert (draws[0] == 1).all()
    assert (draws.sum(axis=1) == 5).all()
    assert (draws == draws_of(5, resamples=40)).all()
    assert (draws[1:] != draws_of(5, resamples=40, seed=1)[1:]).any()


def test_a_paired_difference_uses_the_same_photos(counts: Counts) -> None:
    """In every photo, one more pixel in a hundred is right: the figures are uncertain, but their difference is not."""
    random = np.random.default_rng(1)
    right = random.integers(10, 90, 30).tolist()
    worse, better = (
        Counts(
            tuple(PhotoCounts(f"{i}.jpg", semantic=[ClassPixels(0, r + more, 100, 100)]) for i, r in enumerate(right)),
            IS_THING,
            SEEN,
        )
        for more in (0, 1)
    )
    here, there, difference, low, high = differences(better, worse)["pixel accuracy"]
    assert here - there == pytest.approx(difference) == pytest.approx(1.0)
    assert (low, high) == pytest.approx((1.0, 1.0))
    alone = intervals(better)["pixel accuracy"]
    assert alone[1] - alone[0] > 5
    assert all(row[2:] == (0, 0, 0) for row in differences(counts, counts).values() if np.isfinite(row[0]))
