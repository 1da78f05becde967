"""`python -m eovseg.training.word_odds WEIGHTS DATA --output FILE`: turns VAS's word similarity into log-odds.

VAS's softmax over words does not change if all similarities of a pixel change by the same amount <E, b>, where b is the
bias of its word projection. So b has no effect on the segmentation, no training determines it, and the zero of the maps
of Fig. 5 is arbitrary. This command sets b by logistic regression, so that a word's similarity is positive where
the pixel probably shows the word. The fit uses pixels before and after VAS (F_agg and F_vs).
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eovseg.errors import ConfigError, run_command

if TYPE_CHECKING:
    from torch import Tensor

    from eovseg.predictor import Predictor
    from eovseg.vocabulary import Vocabulary

PIXELS = 300  # pixels drawn from each photo
_RAREST = 20  # a class with fewer pixels has less weight than the others
_PENALTY = 1e-3  # of b squared
_STEPS = 60  # of L-BFGS


def fit_word_odds(embeddings: "Tensor", words: "Tensor", labels: "Tensor") -> "Tensor":
    """The shift s (D,) with which <E, word + s> is the log-odds that a pixel shows the word; E (P, D), words (K, D).

    `labels` (P,) long are the pixels' classes. All classes have the same weight, and so have all words of a pixel.
    """
    import torch
    import torch.nn.functional as F

    similarity = embeddings @ words.T  # (P, K)
    truth = F.one_hot(labels, len(words)).to(similarity.dtype)
    weights = 1 / labels.bincount(minlength=len(words)).clamp(min=_RAREST).to(similarity.dtype)[labels]
    weights = weights / weights.mean()
    shift = torch.zeros_like(words[0], requires_grad=True)
    optimizer = torch.optim.LBFGS([shift], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> "Tensor":
        optimizer.zero_grad()
        logits = similarity + (embeddings @ shift)[:, None]
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
        total = (cross_entropy * weights).mean() + _PENALTY * shift.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return shift.detach()


def pixels(
    predictor: "Predictor", vocabulary: "Vocabulary", photos: Iterable[tuple[np.ndarray, np.ndarray]], seed: int = 0
) -> "tuple[Tensor, Tensor]":
    """E before and after VAS (P, D) and classes (P,) of random labelled pixels of photos.

    `photos`: the photo (H, W, 3) and the class of each of its pixels (H, W), an index of the vocabulary or -1.
    """
    import torch
    import torch.nn.functional as F

    network = predictor.network
    vas = network.vas
    if vas is None:
        raise ConfigError("This model was built without VAS, so it has no word similarity.")
    text, _ = network.text_rows(predictor.text_embeddings(vocabulary))
    generator = torch.Generator().manual_seed(seed)
    rows, labels = [], []
    for photo, classes in photos:
        features = predictor.encode_image(photo, keep=False).features
        grid = [-(-side // 4) for side in features.image_size]
        with torch.no_grad():
            selected = network.select(features.aggregated, text).selected
            both = [vas.embed(one)[0, :, : grid[0], : grid[1]].flatten(1) for one in (features.aggregated, selected)]
        given = torch.from_numpy(classes.astype(np.float32))[None, None]
        cells = F.interpolate(given, grid, mode="nearest").long().flatten()
        known = (cells >= 0).nonzero().flatten()
        chosen = known[torch.randperm(len(known), generator=generator)[:PIXELS]]
        rows += [one[:, chosen].T.clone() for one in both]
        labels += [cells[chosen]] * 2
    return torch.cat(rows), torch.cat(labels)


def set_word_odds(
    predictor: "Predictor", vocabulary: "Vocabulary", photos: Iterable[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Sets the bias of VAS's word projection, see the module; each class is represented by its first word."""
    import torch

    embeddings, labels = pixels(predictor, vocabulary, photos)
    vas = predictor.network.vas
    assert vas is not None
    text = predictor.text_embeddings(vocabulary)
    first = np.unique(text.class_index.numpy(), return_index=True)[1]
    with torch.no_grad():
        scale = 1 / math.sqrt(vas.guide.out_features // vas.heads) / vas.heads
        words = scale * vas.guide(text.embeddings[first])
    shift = fit_word_odds(embeddings.clone(), words.clone(), labels)
    with torch.no_grad():
        vas.guide.bias.add_(shift / scale)


def _run(options: argparse.Namespace) -> None:
    import eovseg
    from eovseg.checkpoints import read_checkpoint, save_checkpoint
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.data.sources import xs_sources
    from eovseg.data.split import photo_identity
    from eovseg.evaluation.evaluate import Evaluator
    from eovseg.presets import TRAINING_PRESET
    from eovseg.vocabulary import Vocabulary

    checkpoint = read_checkpoint(options.weights)
    predictor, vocabulary = eovseg.load(checkpoint=options.weights), Vocabulary.preset(TRAINING_PRESET)
    sources = [source for source in xs_sources(options.data) if source.labels == "panoptic"]
    kept_apart = frozenset().union(*(source.leave_out for source in sources))

    def labelled() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for source in sources:
            folder = PanopticFolder(source.root)
            evaluator = Evaluator(folder, vocabulary, predictor.seen(vocabulary), ignore_unmapped=True)
            for photo in folder.photos:
                if photo_identity(folder, photo) not in kept_apart:
                    yield folder.load_image(photo), evaluator.truth(photo).class_map()

    set_word_odds(predictor, vocabulary, labelled())
    bias = predictor.network.state_dict()["vas.guide.bias"]
    save_checkpoint(
        options.output,
        checkpoint.config,
        {**checkpoint.tensors, "vas.guide.bias": bias.to(checkpoint.tensors["vas.guide.bias"].dtype)},
        complete=checkpoint.complete,
        training_words=checkpoint.training_words,
    )
    print(options.output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training.word_odds", description=__doc__)
    parser.add_argument("weights", type=Path, help="weight file written by `eovseg export`")
    parser.add_argument("data", type=Path, help="folder of XS's sources; the fully labelled photos are used")
    parser.add_argument("--output", type=Path, required=True, help=".safetensors file to write")
    return run_command(parser, _run, arguments)


if __name__ == "__main__":
    sys.exit(main())
