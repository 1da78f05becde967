"""Labelled and unlabelled photos: folders, splits, augmentation and training batches."""
