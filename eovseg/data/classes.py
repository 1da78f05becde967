"""The label space of training: COCO's 133 classes with synonyms, extended by the classes of the sources."""

from collections.abc import Sequence

from eovseg.data.class_table import Category, ClassTable
from eovseg.data.labelled_folder import LabelledFolder
from eovseg.vocabulary import Vocabulary, WordClass

# COCO's category names that differ from the first name in the vocabulary file.
_SPELLINGS = {
    "orange": "orange fruit",
    "remote": "tv remote",
    "scissors": "scissor",
    "light": "lamp",
    "net": "tennis net",
    "playing field": "playingfield",
}
# COCO-Stuff classes that COCO panoptic merges into another class ("sky-other-merged", "table-merged", ...).
_MERGED = {
    "clouds": "sky",
    "fog": "sky",
    "tile floor": "floor",
    "carpet": "rug",
    "desk": "table",
    "concrete wall": "wall",
    "salad": "food",
}


class TrainingClasses:
    """An ordered list of classes that grows as sources are added; the first `base_size` are the base vocabulary."""

    def __init__(self, base: Sequence[WordClass]) -> None:
        self.classes: list[WordClass] = list(base)
        self.base_size = len(self.classes)
        self._index = {(word_class.names[0].lower(), word_class.is_thing): i for i, word_class in enumerate(base)}

    @classmethod
    def coco(cls) -> "TrainingClasses":
        """Starts from COCO panoptic's 133 classes."""
        return cls(Vocabulary.preset("coco-panoptic-133").classes)

    @classmethod
    def of_folders(cls, folders: Sequence[LabelledFolder]) -> "TrainingClasses":
        """Starts from the class list shared by all `folders`, or from COCO's if they differ."""
        tables = {folder.table for folder in folders}
        table = tables.pop() if len(tables) == 1 else None
        return cls(table.vocabulary.classes) if table else cls.coco()

    def __len__(self) -> int:
        return len(self.classes)

    def starts_with(self, table: ClassTable) -> bool:
        """Whether the base vocabulary is this class list."""
        return list(table.vocabulary.classes) == self.classes[: self.base_size]

    def of_folder(self, folder: LabelledFolder) -> dict[int, int]:
        """The class of each category, by position if the folder's class list is the base vocabulary, else by name."""
        if folder.table and self.starts_with(folder.table):
            return {i: folder.table.class_index[i] for i in folder.categories}
        return {i: self.index(category) for i, category in folder.categories.items()}

    def index(self, category: Category) -> int:
        """The class of a source's category: the COCO class of this name (or respelled, or merged), else a new one.

        Thing or stuff must match as well: COCO-Stuff's "clothes" is stuff, not a synonym of "person".
        """
        first, *others = (name.lower() for name in category.names)
        name = _SPELLINGS.get(first, _MERGED.get(first, first))
        key = (name, category.is_thing)
        if key not in self._index:
            self._index[key] = len(self.classes)
            self.classes.append(WordClass((name, *others), category.is_thing))
        return self._index[key]
