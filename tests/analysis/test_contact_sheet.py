import numpy as np

import eovseg
from analysis.contact_sheet import GAP, contact_sheet
from eovseg.vocabulary import Vocabulary


def _result(height: int, width: int) -> eovseg.Result:
    image = np.full((height, width, 3), 40, np.uint8)
    segment_map = np.ones((height, width), np.int32)
    segment = eovseg.Segment(1, 0, "sky", False, 0.9, 0.9, 0.9, height * width, (0, 0, width, height))
    return eovseg.Result(image, segment_map, (segment,), Vocabulary.parse("sky"))


def test_every_photo_stands_beside_its_overlay() -> None:
    sheet = np.asarray(contact_sheet([_result(50, 100), _result(100, 100), _result(50, 100)], columns=2, width=80))
    assert sheet.shape == (80 + 40 + 3 * GAP, 2 * 160 + 3 * GAP, 3)  # the taller of a row sets its height
    assert (sheet[GAP + 2 : GAP + 38, GAP + 2 : GAP + 78] == 40).all()  # the photo as it is
    overlay = sheet[GAP : GAP + 40, GAP + 80 : GAP + 160]
    assert (overlay != 40).any(axis=-1).mean() > 0.9
    assert (sheet[:GAP] == 255).all()
