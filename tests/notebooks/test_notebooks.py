"""Every notebook runs from top to bottom without network access, and its widgets and results do what the text says.

The assertions are in cells that only these tests append; the reader does not see them.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest

from docs import notebook_pages
from docs.notebook_pages import PatientClient

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 300

CHECKS = {
    "01": """
        import numpy as np
        from eovseg.composer import shown_score
        text, score, opacity = controls.children[:3]
        usual = controls.result
        halves = predictor.word_halves
        opacity.value = 0.0
        clear = controls.result
        assert (clear[0].segment_map == usual[0].segment_map).all() and clear[0].names == usual[0].names
        opacity.value = 1.0
        pictures = [np.asarray(shown[1], float) for shown in (clear, usual, controls.result)]
        tints = [abs(picture - usual[0].image).mean() for picture in pictures]
        assert tints[0] < tints[1] < tints[2], "a higher opacity takes the picture further from the photo"
        score.value = 0.9
        few = controls.result[0].segments
        lowest = shown_score(0.9, predictor.config.calibration) - 1e-6
        assert 0 < len(few) < len(usual[0].segments) and all(segment.score >= lowest for segment in few)
        assert controls.result[1].tobytes() != usual[1].tobytes()
        score.value = 1.0
        large = 0.1 * usual[0].segment_map.size  # half of the score is enough for them
        assert {one.label for one in controls.result[0].segments} == {"sky", "road", "tree"}
        assert all(segment.area > large for segment in controls.result[0].segments)
        assert predictor.word_halves == halves, "a slider does not run the word half"
        text.value = "bus: thing; sky: stuff"
        assert controls.result[0].vocabulary.labels == ("bus", "sky")
        score.value = 0.0
        assert {segment.label for segment in controls.result[0].segments} <= {"bus", "sky"}
        assert predictor.image_halves == 1
        assert predictor.seen(vocabulary).tolist() == [True] * 7 + [False]
        assert len(many) == 135 and result.segment_map.shape == result.image.shape[:2]
    """,
    "02": """
        first, halves = kernel_slider.result, (predictor.image_halves, predictor.word_halves)
        assert first.query == start
        kernel_slider.children[0].value = 7 if start != 7 else 8
        path = kernel_slider.result
        assert path.query == kernel_slider.children[0].value and path.masks.shape[0] == 1 + config.decoder_layers
        assert (path.masks != first.masks).any() and path.classes != first.classes
        assert (predictor.image_halves, predictor.word_halves) == halves == (1, 1)
        assert tuple(rows.shape) == (len(vocabulary) + 1, config.embed_dim)
        assert all(abs(alike[i, i] - 1) < 1e-4 for i in range(len(vocabulary)))
        from eovseg.composer import shown_score
        shown = shown_score(votes[0].score, config.calibration)
        assert votes[0].label == unsure.label and abs(shown - unsure.score) < 1e-3
        assert list(maps) == [*(f"frozen image encoder\\nstage {i}" for i in (1, 2, 3, 4)), "F_agg", "S"]
        assert limits[0] < limits[1] and list(result.timings) == list(parts)
    """,
    "03": """
        centre, (x, y) = pixel_picker.result, pixel_picker.children[:2]
        assert centre[0].word == "bus" and centre[0].share > 0.5
        x.value = 200
        left = pixel_picker.result
        assert left != centre
        y.value = 20
        assert pixel_picker.result not in (left, centre) and pixel_picker.result[0].word == "sky"
        for scores in (centre, left, pixel_picker.result):
            assert len(scores) == 8 and abs(sum(score.share for score in scores) - 1) < 1e-4  # 7 words and void
        vehicle, (word, measure) = word_box.result, word_box.children[:2]
        measure.value = "cosine"
        turned = word_box.result
        assert turned.words == vehicle.words and (turned.measure, vehicle.measure) == ("cosine", "scaled dot product")
        assert -1.001 <= turned.limits[0] and turned.limits[1] <= 1.001 < vehicle.limits[1]
        word.value = "zebra"
        zebra = word_box.result
        assert zebra.words == ("zebra",) and zebra.measure == "cosine" and (zebra.before != turned.before).any()
        word.value = " "
        assert word_box.result is None
        assert maps.before.shape == maps.after.shape == (3, height, width)
        half = float(vas.scale.mean()) / 2  # with a single word, the larger of two shares is at least 1/2
        assert all(weights[f"{one} alone"].min() >= half - 1e-6 for one in ("bus", "dog", "sky"))
        assert abs(weight.min() - maps.weight_limits[0]) < 1e-6 and 0 < weight.min() < weight.max()
        assert all(one.area < min(one.before, one.after) for one in focus)
        assert sum(one.after - one.before for one in focus) > 0, "VAS concentrates the words on their segments"
    """,
    "04": """
        import torch
        assert torch.equal(decoded.logits.mask_logits[-1], decoded_off.logits.mask_logits[-1])
        assert float(moved.max()) > 0
        photo, text, score = switch.children[:3]
        off, on, changes = switch.result
        assert {change.change for change in changes} <= {"same", "renamed", "reshaped", "gone", "new"}
        halves = predictor.image_halves, predictor.word_halves
        score.value = 0.9
        strict = switch.result
        from eovseg.composer import shown_score
        lowest = shown_score(0.9, predictor.config.calibration) - 1e-6
        assert len(strict[1].segments) < len(on.segments) and all(s.score >= lowest for s in strict[1].segments)
        assert (predictor.image_halves, predictor.word_halves) == halves
        score.value = predictor.config.score_threshold
        assert switch.result[1].segments == on.segments
        text.value = "bus: thing; sky: stuff"
        assert all(result.vocabulary.labels == ("bus", "sky") for result in switch.result[:2])
        text.value = ""
        assert switch.result is None
        text.value = words.to_text()
        photo.value = "savanna"
        assert all(result.image.shape != off.image.shape for result in switch.result[:2])
        assert switch.result[1].vocabulary == on.vocabulary
        assert len({row.photo for row in rows}) >= 8 and all(0 < row.spatial_share < 1 for row in rows)
        assert [model.config.fusion for model in pair] == ["none", "TDEE"]
        assert len({row[:2] for row in ablation_rows()}) == 6
        assert trained_without.image.shape == trained_with.image.shape
    """,
    "05": """
        import numpy as np
        layer_box, tap_box, k_box, joint_box = explorer.children[:4]
        columns, numbers = explorer.result
        assert list(columns) == [layer.title for layer in every] and len(every) == 5
        assert all(number.milliseconds > 0 for number in numbers.values()) and "thread" in machine
        layer_box.value = (every[4],)
        (block,), (at_end,) = (found.values() for found in explorer.result)
        assert list(explorer.result[0]) == ["XS spatial ViT\\nblock 1"]
        among_all = columns[every[4].title][0]
        assert np.array_equal(block[0] == block[0][0, 0], among_all == among_all[0, 0]), "only the labels may change"
        reached = [at_end.milliseconds]
        for tap in ("after attention", "before attention"):
            tap_box.value = tap
            (inside,), (number,) = (found.values() for found in explorer.result)
            assert list(explorer.result[0]) == [f"XS spatial ViT\\nblock 1\\n{tap}"]
            assert inside[0].shape == block[0].shape and (inside[0] != block[0]).any()
            reached.append(number.milliseconds)
        assert min(reached) > 0  # on a busy machine, a part can take longer than the whole
        k_box.value = 3
        (joint,) = explorer.result[0].values()
        assert len(np.unique(np.concatenate([one.ravel() for one in joint]))) == 3
        joint_box.value = False
        (alone,) = explorer.result[0].values()
        assert [len(np.unique(one)) for one in alone] == [3, 3] and any((a != b).any() for a, b in zip(alone, joint))
        (again,) = cluster_columns(images, at_tap(every[4:], "before attention"), 3, joint=False).values()
        assert all(np.array_equal(a, b) for a, b in zip(again, alone)), "the same seed gives the same labels"
        layer_box.value = tuple(every[2:])
        assert [title.count("attention") for title in explorer.result[0]] == [0, 0, 1]
        layer_box.value = ()
        assert explorer.result == ({}, {})
        assert len(shown) == 7 and set(own) == set(drawn) == {layer.title for layer in shown}
        assert all(np.isfinite((one.mutual_information, one.milliseconds)).all() for one in drawn.values())
    """,
    "06": """
        losses = [record["loss"] for record in log]
        assert len(log) == STEPS and log[-1]["step"] == STEPS
        assert sum(losses[-5:]) < sum(losses[:5])
        assert reports["after"].panoptic.all.pq > reports["before"].panoptic.all.pq + 0.1
        first, now = (p.network.feature_extractor.tower.state_dict() for p in (predictor, after))
        assert all(value.equal(first[name]) for name, value in now.items())
        assert len(names) == len(segments) and sum(name.startswith("triangle") for name in names.values()) == 3
    """,
    "07": """
        assert abs(counted.all.pq - sum(by_hand.values()) / 3) < 1e-9
        assert len(found) == 14 and all(0 <= value <= 100 for value in found.values())
        assert found.keys() == many.keys()
        for values in (found, many):
            assert values[0.0, 0.0, "geometric"] == values[0.0, 0.0, "arithmetic"]
            assert values[0.4, 0.6, "geometric"] == values[0.4, 0.8, "geometric"]  # every class is seen
        quality_of = {name: [row.panoptic.all.pq for row in rows] for name, rows in tried.items()}
        assert all(values[chosen[f"best on {name}"]] == max(values) for name, values in quality_of.items())

        assert predictor.word_halves == runs_before + 1  # for the first words of the mixer; no sweep ran the network
        more, alpha, beta, kind = mixer.children[:4]
        images, texts = predictor.image_halves, predictor.word_halves
        def scores():
            return {vote.label: vote.score for vote in mixer.result}
        first, own_alpha, own_beta = scores(), alpha.value, beta.value
        assert {"bus", "trolley"} <= first.keys()
        beta.value = 0.0  # the frozen image encoder favours trolley, but now counts for seen words only
        assert scores().get("trolley", 0) < first["trolley"] and scores()["bus"] > first["bus"]
        beta.value = own_beta
        assert scores() == first
        alpha.value = 1.0  # the frozen image encoder is less sure of the bus
        assert scores()["bus"] < first["bus"]
        beta.value = 1.0
        by_encoder = [vote.out_of_vocabulary for vote in mixer.result]
        assert by_encoder == sorted(by_encoder, reverse=True)
        alpha.value, beta.value = own_alpha, own_beta
        kind.value = "arithmetic"
        assert scores()["trolley"] > first["trolley"]
        kind.value = "geometric"
        assert scores() == first and (predictor.image_halves, predictor.word_halves) == (images, texts)
        more.value = ""
        seen_only = scores()
        assert "trolley" not in seen_only and all(vote.seen for vote in mixer.result)
        beta.value = 0.0
        assert scores() == seen_only  # beta has no effect if every word is seen
        more.value = "x" * 5000
        assert mixer.result is None
        assert (predictor.image_halves, predictor.word_halves) == (images, texts + 1)
    """,
    "08": """
        assert list(costs) == ["xs", "s", "m", "l"]
        assert all(cost.times.size == (640, 853) and cost.times.runs == 1 for cost in costs.values())
        work = [cost.multiply_adds for cost in costs.values()]
        assert work == sorted(work) and 0 < cost.multiply_adds < work[0], "XS as shipped uses a smaller photo"
        assert costs["xs"].photos_per_second > costs["l"].photos_per_second and cost.photos_per_second > 0
        assert all(counts[variant] == costs[variant].parameters for variant in ("s", "m", "l"))
        assert totals == sorted(totals) and totals[0] < 15
        assert all(abs(ours / theirs - 1) < 0.1 for ours, theirs in zip(totals[1:], paper[1:]))
        quoted = {row[0] for row in rows if "paper" in row[0]}
        assert len(rows) == 7 and quoted == {"S, the paper's", "M, the paper's", "L, the paper's"}
        assert all((row[-1] == "-") == row[0].endswith("here") for row in rows), "no PQ is measured with random weights"
        halves = predictor.image_halves
        lists.children[0].value = "ade20k-847"
        wide = lists.result
        assert len(wide.vocabulary) == 847 and wide.logits.class_logits[-1].shape[-1] == 848
        lists.children[0].value = "coco-panoptic-133"
        assert len(lists.result.vocabulary) == 133
        lists.children[0].value = "ade20k-847"
        assert lists.result.text_seconds < wide.text_seconds and predictor.image_halves == halves
    """,
}


def test_every_notebook_is_checked() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == sorted(CHECKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_no_outputs_and_answers_its_questions(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), (
        "clear the outputs before committing"
    )
    top = book.cells[0].source
    assert top.startswith(f"# {path.name[:2]} · ") and "What you learn" in top and "Which model" in top
    questions = next(cell.source for cell in book.cells if "## Questions to try" in cell.source)
    _, *asked = re.split(r"^\d\. ", questions.partition("## Questions to try")[2], flags=re.MULTILINE)
    assert asked and all(one.count("<details><summary>Answer</summary>\n\n") == 1 for one in asked)
    assert all(one.rstrip().endswith("\n\n   </details>") for one in asked), "every question has a folded answer"


def test_link_to_colab_is_left_out_until_the_project_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in NOTEBOOKS:
        book = nbformat.read(path, as_version=4)
        assert "/OWNER/" not in "".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    monkeypatch.setattr(notebook_pages, "REPOSITORY", "someone/eov")
    title, _, badge = notebook_pages.stamped(book, path.name).cells[0].source.splitlines()[:3]
    assert title.startswith("# 08") and badge.endswith(f"/github/someone/eov/blob/main/notebooks/{path.name})")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_resolve(path: Path) -> None:
    last = nbformat.read(path, as_version=4).cells[-1].source
    for target in last.split("](")[1:]:
        assert (path.parent / target.partition(")")[0].partition("#")[0]).is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_footer_contains_both_routes(path: Path) -> None:
    last = nbformat.read(path, as_version=4).cells[-1].source.splitlines()[-1]
    assert last.startswith("lecture route, 20 minutes: ") and " · lab route, 2 hours: " in last
    assert last.endswith("(../docs/notebooks.md)")


def test_make_lab_lets_notebooks_import_the_analysis() -> None:
    """Installing a checkout puts only `eovseg` on the path, and a kernel starts in the folder of its notebook."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlab:")[2].partition("\n\n")[0]
    assert '\tPYTHONPATH="$(CURDIR)" $(BIN)/jupyter lab notebooks' in recipe


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as in `make lab`, and for worktrees without their own installation
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(path, as_version=4)
    source = "\n".join(line.removeprefix("        ") for line in CHECKS[path.name[:2]].strip("\n").splitlines())
    book.cells.append(nbformat.v4.new_code_cell(source))
    client = PatientClient(
        book, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises CellExecutionError with the cell's traceback
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown), "no picture was shown"
