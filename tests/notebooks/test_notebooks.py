"""Every notebook runs from top to bottom without a network, and its widgets and results do what the text says.

The assertions are cells that only these tests append; the reader does not see them.
"""

import os
import time
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 300

CHECKS = {
    "01": """
        controls.children[0].value = "bus: thing; sky: stuff"
        assert controls.result.vocabulary.labels == ("bus", "sky")
        controls.children[1].value = 1.0
        assert controls.result.segments == ()
        assert predictor.image_halves == 1
        assert len(many) == 135 and result.segment_map.shape == result.image.shape[:2]
    """,
    "02": """
        kernel_slider.children[0].value = 7
        path = kernel_slider.result
        assert path.query == 7 and path.masks.shape[0] == 1 + config.decoder_layers
        assert tuple(rows.shape) == (len(vocabulary) + 1, config.embed_dim)
        assert all(abs(alike[i, i] - 1) < 1e-4 for i in range(len(vocabulary)))
    """,
    "03": """
        before = word_box.result
        word_box.children[1].value = "cosine"
        assert word_box.result.measure == "cosine" and before.measure == "scaled dot product"
        assert -1.001 <= word_box.result.limits[0] and word_box.result.limits[1] <= 1.001
        word_box.children[0].value = "zebra"
        assert word_box.result.words == ("zebra",)
        pixel_picker.children[0].value, pixel_picker.children[1].value = 10, 5
        assert abs(sum(score.share for score in pixel_picker.result) - 1) < 1e-4  # 7 words and void
        assert maps.before.shape == maps.after.shape == (3, height, width) and (weight != 0).any()
    """,
    "04": """
        import torch
        assert torch.equal(decoded.logits.mask_logits[-1], decoded_off.logits.mask_logits[-1])
        assert float(moved.max()) > 0
        score_slider.children[0].value = 0.0
        kinds = {change.change for change in score_slider.result}
        assert kinds <= {"same", "renamed", "reshaped", "gone", "new"}
        assert all(0 < row.spatial_share < 1 for row in rows)
        assert [model.config.fusion for model in pair] == ["none", "TDEE"]
        assert len({(row["fusion"], row["VAS"]) for row in measured}) == 4
        assert trained_without.image.shape == trained_with.image.shape
    """,
    "05": """
        import numpy as np
        first = k_slider.result
        assert list(first) == [layer.title for layer in layers] and len(layers) == 5
        k_slider.children[0].value = 3
        for labels in k_slider.result.values():
            assert len(np.unique(np.concatenate([one.ravel() for one in labels]))) == 3
        again = cluster_columns(images, layers, 3)
        assert all(np.array_equal(a, b) for title in again for a, b in zip(again[title], k_slider.result[title]))
        assert len(table) == 5 and (np.diff(times.milliseconds) > 0).all()
    """,
    "06": """
        losses = [record["loss"] for record in log]
        assert len(log) == STEPS and log[-1]["step"] == STEPS
        assert sum(losses[-5:]) < sum(losses[:5])
        assert reports["after"].panoptic.all.pq > 0
        first, now = (p.network.feature_extractor.tower.state_dict() for p in (predictor, after))
        assert all(value.equal(first[name]) for name, value in now.items())
    """,
    "07": """
        assert abs(counted.all.pq - sum(by_hand.values()) / 3) < 1e-9
        assert len(found) == 14 and all(0 <= value <= 100 for value in found.values())
        assert predictor.word_halves == runs_before
        assert found[0.0, 0.0, "geometric"] == found[0.0, 0.0, "arithmetic"]
        mixer.children[0].value = mixer.children[1].value = 1.0
        by_tower = [vote.out_of_vocabulary for vote in mixer.result]
        assert by_tower == sorted(by_tower, reverse=True)
        mixer.children[2].value = "arithmetic"
        assert len(mixer.result) == 5
    """,
    "08": """
        assert cost.frames_per_second > 0 and cost.multiply_adds > 0
        assert totals == sorted(totals) and totals[0] < 15
        assert all(abs(ours / theirs - 1) < 0.1 for ours, theirs in zip(totals[1:], paper[1:]))
        assert again.text_seconds < first.text_seconds
    """,
}


class PatientClient(NotebookClient):
    """nbclient that looks for a reply every second.

    When it sends a widget's state on the socket that it waits on, the socket's one wake-up is lost, and a reply that
    is already there would be seen only when the cell's time is over (nbclient issue 312).
    """

    async def async_start_new_kernel_client(self) -> Any:
        kernel = await super().async_start_new_kernel_client()
        receive = kernel.shell_channel.get_msg

        async def get_message(timeout: float | None = None) -> dict[str, Any]:
            end = float("inf") if timeout is None else time.monotonic() + timeout
            while True:
                try:
                    return await receive(timeout=max(0.0, min(1.0, end - time.monotonic())))
                except Empty:
                    if time.monotonic() >= end:
                        raise

        kernel.shell_channel.get_msg = get_message
        return kernel


def test_every_notebook_is_checked() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == sorted(CHECKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean_and_teaches(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), (
        "clear the outputs before committing"
    )
    top = book.cells[0].source
    assert top.startswith(f"# {path.name[:2]} · ") and "What you learn" in top and "Which model" in top
    assert any("## Questions to try" in cell.source for cell in book.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_resolve(path: Path) -> None:
    last = nbformat.read(path, as_version=4).cells[-1].source
    for target in last.split("](")[1:]:
        assert (path.parent / target.partition(")")[0]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
