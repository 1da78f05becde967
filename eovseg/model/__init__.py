"""The EOV-Seg network, one file per part of the paper's Fig. 4; nothing here reads photos or files of words."""

from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.values import ImageFeatures, Intermediates, Logits, TextEmbeddings

__all__ = ["EOVSeg", "ImageFeatures", "Intermediates", "Logits", "ModelConfig", "TextEmbeddings", "variant_config"]
