"""Numbers that the paper reports (AAAI 2025), to stand beside measurements of one's own; nothing here is ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperVariant:
    """A row of Table 1: panoptic scores on ADE20K in percent, and cost.

    Frames a second are those of the authors' GPU; parameters in millions without the text tower; FLOPs in giga.
    """

    pq: float
    sq: float
    rq: float
    frames_per_second: float
    parameters: float
    flops: float


TABLE_1 = {
    "s": PaperVariant(15.1, 57.0, 18.9, 23.8, 71, 133),
    "m": PaperVariant(18.7, 63.5, 23.2, 18.4, 127, 176),
    "l": PaperVariant(24.5, 70.2, 30.1, 11.6, 225, 377),
}
# Table 3: spatial extractor -> block (from 0) -> PQ, mIoU, frames a second of variant L.
TABLE_3 = {
    "DINOv2": {0: (21.9, 29.5, 11.7), 5: (22.4, 30.1, 8.9), 11: (23.1, 31.2, 5.8)},
    "SAM": {0: (22.4, 30.8, 11.6), 5: (23.7, 31.6, 8.7), 11: (24.9, 32.5, 5.2)},
    "CLIP ViT": {0: (24.5, 32.1, 11.6), 5: (23.8, 32.0, 9.1), 11: (23.7, 31.8, 5.9)},
}
# Table 4: fusion -> PQ of variant L without and with VAS; every entry is a network trained that way.
TABLE_4_PQ = {"none": (22.1, 22.7), "EAF": (23.0, 22.3), "SDI": (22.5, 22.9), "TDEE": (23.6, 24.5)}
# Table 10: (alpha, beta) -> PQ of the arithmetic and of the geometric ensemble, variant L.
TABLE_10_PQ = {
    (0.0, 0.0): (15.4, 15.4),
    (0.2, 0.8): (22.4, 22.7),
    (0.4, 0.6): (22.8, 23.1),
    (0.4, 0.8): (23.4, 24.5),
    (0.5, 0.5): (22.6, 22.8),
    (0.8, 0.4): (21.8, 21.9),
    (1.0, 1.0): (20.2, 20.2),
}
