"""Evaluation with the field's metrics: panoptic quality, mIoU, mask AP, classification of true masks, calibration."""
