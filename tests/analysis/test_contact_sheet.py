import numpy as np

import eovseg
from analysis.contact_sheet import GAP, contact_sheet
from eovseg.vocabulary import Vocabulary


def _result(height: int, width: int) -> eovseg.Result:
    image = np.full((height, width, 3), 40, np.uint8)
    segment_map = np.ones((height, width), np.int32)
    segment = eovseg.Segment(1, 0, "sky", False, 0.9, 0.9, 0.9, height * width, (0, 0, width, height))
    return eovseg.Result(image, segment_map, (segment,), Vocabulary.parse("sky"))


def test_every_photo_is_beside_its_overlay() -> None:
    sheet = np.asarray(contact_sheet([_result(50, 100), _result(100, 100), _result(50, 100)], columns=2, width=90))
    assert sheet.shape == (60 + 45 + 3 * GAP, 2 * 180 + 3 * GAP, 3)
    first, second, third = (GAP, GAP, 120), (GAP, 2 * GAP + 240, 60), (2 * GAP + 60, GAP, 90)
    for (top, left, width), height in zip((first, second, third), (60, 60, 45), strict=True):
        photo = sheet[top : top + height, left : left + width]
        overlay = sheet[top : top + height, left + width : left + 2 * width]
        assert (photo[2:-2, 2:-2] == 40).all()  # the photo is unchanged
        assert (overlay != 40).any(axis=-1).mean() > 0.9
    assert (sheet[:GAP] == 255).all() and (sheet[:, -GAP:] == 255).all()
    assert (sheet[2 * GAP + 60 :, 2 * GAP + 180 :] == 255).all(), "a row that is not full keeps its pictures' size"
