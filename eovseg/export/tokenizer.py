"""A text encoder's tokenizer as `tokenizer.json`, which `tokenizers` loads in several programming languages."""

from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from eovseg.model.text import ClipTextEncoder, MiniLMTextEncoder

# English contractions, runs of letters, single digits, and runs of other characters except spaces.
_CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def write_tokenizer(encoder: ClipTextEncoder | MiniLMTextEncoder, path: Path) -> None:
    """Writes the tokenizer; it truncates long prompts and pads the shorter ones of a batch with 0."""
    made = encoder.tower.tokenizer if isinstance(encoder, MiniLMTextEncoder) else clip_tokenizer(encoder.tokenizer)
    made.save(str(path))


def clip_tokenizer(given: Any) -> Tokenizer:
    """open_clip's `SimpleTokenizer` for the library `tokenizers`; it does not repair wrongly decoded text."""
    start, end = (given.decoder[number] for number in given.all_special_ids)
    made = Tokenizer(models.BPE(given.encoder, list(given.bpe_ranks), end_of_word_suffix="</w>", unk_token=end))
    quotes = [normalizers.Replace(Regex("[‘’]"), "'"), normalizers.Replace(Regex("[“”]"), '"')]
    made.normalizer = normalizers.Sequence([normalizers.NFC(), *quotes, normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, given.sot_token_id), (end, given.eot_token_id)]
    )
    made.enable_truncation(given.context_length)
    made.enable_padding()
    return made
