"""Evaluation as the field's tools do it: panoptic quality, mIoU, mask AP, classification of true masks, calibration."""
