"""Parsing, limits, presets and the seen rule of `eovseg.vocabulary`."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eovseg.assets import asset_path
from eovseg.errors import VocabularyError
from eovseg.presets import preset_names, synonyms
from eovseg.vocabulary import Vocabulary, WordClass, coco_training_words
from eovseg.word_lists import MAX_WORD_CHARACTERS, MAX_WORDS

RECORDED = Path(__file__).parent / "fixtures" / "parity" / "vocabularies.json"


def names(vocabulary: Vocabulary) -> list[tuple[str, ...]]:
    return [entry.names for entry in vocabulary.classes]


def test_the_text_form() -> None:
    vocabulary = Vocabulary.parse("person, people: thing; sky: stuff; car")
    assert names(vocabulary) == [("person", "people"), ("sky",), ("car",)]
    assert vocabulary.labels == ("person", "sky", "car")
    assert vocabulary.words == ("person", "people", "sky", "car")
    assert vocabulary.is_thing.tolist() == [True, False, True]
    assert vocabulary.class_of_word.tolist() == [0, 0, 1, 2]
    assert vocabulary.class_of_word.dtype == np.int64
    assert len(vocabulary) == 3
    assert vocabulary.notes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\nc\rd", [("a",), ("b",), ("c",), ("d",)]),
        ("  traffic   light ,\tlamp : thing ", [("traffic light", "lamp")]),
        ("a;\nb;", [("a",), ("b",)]),
        ("a\n\n\nb\n", [("a",), ("b",)]),
        ("time: 12:30", [("time: 12:30",)]),
        ("note: thing: stuff", [("note: thing",)]),
        ("人, 天; naïve café; 👩‍🚀", [("人", "天"), ("naïve café",), ("👩‍🚀",)]),
        ("<b>bold</b>; a&b", [("<b>bold</b>",), ("a&b",)]),
        ("one\u037etwo", [("one",), ("two",)]),  # NFC turns the Greek question mark into a semicolon
    ],
)
def test_words_are_kept_and_normalised(text: str, expected: list[tuple[str, ...]]) -> None:
    vocabulary = Vocabulary.parse(text)
    assert names(vocabulary) == expected
    assert vocabulary.notes == ()


@pytest.mark.parametrize(
    ("text", "is_thing"),
    [
        ("sky: THING", True),
        ("car : Stuff ", False),
        ("Sky", False),  # COCO, case-insensitive
        ("PEOPLE", True),  # COCO, a synonym
        ("blimp, sky", False),  # any synonym
        ("window", False),  # COCO's stuff class takes precedence over ADE20K's thing
        ("hut", False),  # ADE20K, not in COCO
        ("terrain", False),  # Cityscapes only
        ("zeppelin", True),  # unknown
        ("skyline", True),  # only complete words are matched, not the "sky" in it
    ],
)
def test_thing_or_stuff(text: str, is_thing: bool) -> None:
    assert Vocabulary.parse(text).classes[0].is_thing is is_thing


@pytest.mark.parametrize(
    ("text", "expected", "note"),
    [
        ("a;;b", [("a",), ("b",)], "One blank entry was skipped."),
        ("a, , b: thing; : thing", [("a", "b")], "2 blank entries were skipped."),
        ("car, bus, Car: thing", [("car", "bus")], 'In the class "car", the duplicate "car" was removed.'),
        ("cafe\u0301, caf\u00e9", [("caf\u00e9",)], 'In the class "caf\u00e9", the duplicate "caf\u00e9" was removed.'),
        ("bag; sack, BAG", [("bag",), ("sack", "BAG")], '"bag" is in 2 classes ("bag", "sack"); all are kept.'),
        ("per\x00son\u202e", [("person",)], "Control characters were removed from the words."),
    ],
)
def test_nothing_is_dropped_silently(text: str, expected: list[tuple[str, ...]], note: str) -> None:
    vocabulary = Vocabulary.parse(text)
    assert names(vocabulary) == expected
    assert vocabulary.notes == (note,)


@pytest.mark.parametrize("text", ["", "  \n ", ";;", ", ,", ": stuff", "\x00"])
def test_a_list_without_words_is_refused(text: str) -> None:
    with pytest.raises(VocabularyError, match="vocabulary is empty"):
        Vocabulary.parse(text)


def test_limits() -> None:
    assert len(Vocabulary.parse(";".join(f"word {index}" for index in range(10_000)))) == 10_000
    assert len(Vocabulary.parse("x" * MAX_WORD_CHARACTERS)) == 1
    with pytest.raises(VocabularyError, match=r"20,001 words; at most 20,000"):
        Vocabulary.parse(",".join(str(index) for index in range(MAX_WORDS + 1)))
    with pytest.raises(VocabularyError, match=r"at most 200 characters, but .* has 2,000\.") as caught:
        Vocabulary.parse("x" * 2000)
    assert len(str(caught.value)) < 200
    half = Vocabulary.parse(",".join(str(index) for index in range(MAX_WORDS // 2 + 1)))
    with pytest.raises(VocabularyError, match="20,002 words"):
        half + half


@pytest.mark.parametrize("bad", ["", " a", "a,b", "a;b", "a\nb", "a\x00b", "a  b"])
def test_classes_made_directly_follow_the_same_rules(bad: str) -> None:
    with pytest.raises(VocabularyError):
        Vocabulary((WordClass((bad,), True),))


def test_seen_ignores_case() -> None:
    vocabulary = Vocabulary.parse("Person; sofa, COUCH; zeppelin; per")
    assert vocabulary.seen(coco_training_words()).tolist() == [True, True, False, False]
    assert vocabulary.seen([]).tolist() == [False] * 4
    assert vocabulary.seen({"ZEPPELIN"}).tolist() == [False, False, True, False]


def test_adding_notes_the_words_in_both() -> None:
    both = Vocabulary.preset("cityscapes-19") + "Car; lantern"
    assert len(both) == 21
    assert both.labels[-2:] == ("Car", "lantern")
    assert '"car" is in 2 classes ("car", "Car"); all are kept.' in both.notes


def test_a_note_names_a_few_classes_of_many() -> None:
    (note,) = Vocabulary.parse(";".join(["word"] * 5_000)).notes
    assert note.startswith('"word" is in 5,000 classes ("word", ') and len(note) < 200


def test_read_takes_files_presets_and_words(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("dog\ncat")
    assert Vocabulary.read(str(file)).labels == ("dog", "cat")
    assert Vocabulary.read("cityscapes-19") == Vocabulary.preset("cityscapes-19")
    assert Vocabulary.read("notes.txt; dog").labels == ("notes.txt", "dog")
    assert len(Vocabulary.read("; ".join(f"word {i}" for i in range(10_000)))) == 10_000
    with pytest.raises(VocabularyError, match="cannot be read"):
        Vocabulary.read(str(tmp_path / "mistyped.txt"))


def test_a_word_is_a_file_only_with_an_extension_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dog").write_text("")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "own.csv").write_text("id,name\n1,robot\n")
    (tmp_path / "words" / "own").write_text("robot")
    for read in (Vocabulary.read, Vocabulary.coerce):
        assert read("dog").labels == ("dog",)
        assert read("tv/monitor").labels == ("tv/monitor",)
        assert read("words/own.csv").labels == ("robot",)
        assert read("words.txt; dog").labels == ("words.txt", "dog")
        for missing in ("nofile.csv", "nofile.txt", "words/nofile.JSON", "nofile.names", "x" * 300 + ".txt"):
            with pytest.raises(VocabularyError, match=r"cannot be read|must end in \.txt, \.json or \.csv"):
                read(missing)
        for named in ("./dog", "words/own", str(tmp_path / "dog")):
            with pytest.raises(VocabularyError, match=r"must end in \.txt, \.json or \.csv"):
                read(named)


def test_coerce() -> None:
    preset = Vocabulary.preset("ade20k-150")
    assert Vocabulary.coerce(" ADE20K-150 ") is preset
    assert Vocabulary.coerce(preset) is preset
    assert names(Vocabulary.coerce("a; b")) == [("a",), ("b",)]
    mistyped = Vocabulary.coerce("ade20k-15")
    assert names(mistyped) == [("ade20k-15",)]
    assert '"ade20k-150"' in mistyped.notes[0]
    for word, presets in (("cocoo", '"coco-panoptic-133" or "coco-stuff-171"'), ("Cityscapes 19", '"cityscapes-19"')):
        assert Vocabulary.parse(word).notes == (f'"{word}" is used as a word; did you mean the preset {presets}?',)
    assert Vocabulary.parse("cocoo; dog").notes == Vocabulary.parse("coconut").notes == ()
    assert Vocabulary.coerce(["a", preset]) == Vocabulary.parse("a") + preset
    with pytest.raises(VocabularyError, match="not dict"):
        Vocabulary.coerce({"a": 1})  # type: ignore[arg-type]
    with pytest.raises(VocabularyError, match=r'no preset "ade"; choose from ade20k-150'):
        Vocabulary.preset("ade")


def test_typed_words_get_synonyms_that_no_other_class_has() -> None:
    assert names(Vocabulary.coerce("Water; sidewalk; car")) == [
        ("Water", "river", "sea", "wave"),
        ("sidewalk", "pavement"),
        ("car",),
    ]
    assert names(Vocabulary.coerce("water; sea")) == [("water", "river"), ("sea", "sea wave")], "wave: neither"
    assert names(Vocabulary.coerce("lamps; sofa, couch")) == [("lamps", "bulb"), ("sofa", "couch")]
    assert "car" not in Vocabulary.coerce(["vehicle", "Car"]).classes[0].names[1:], "compared without case"
    assert names(Vocabulary.coerce("water", apart_from="sea; lake")) == [("water", "river", "wave")]
    assert "sea" in Vocabulary.coerce("water", apart_from="everyday").words
    assert Vocabulary.coerce("water; sea", synonyms=False) == Vocabulary.parse("water; sea")
    for literal in (Vocabulary.parse("water"), Vocabulary.preset("everyday"), Vocabulary.preset("coco-panoptic-133")):
        assert Vocabulary.coerce(literal) is literal
    added = Vocabulary.preset("coco-panoptic-133") + "food; lawn"
    assert added.classes[:133] == Vocabulary.preset("coco-panoptic-133").classes
    assert names(added)[133:] == [("food",), ("lawn",)], "COCO's classes have all the names"
    full = "; ".join(["water", *(f"word {number}" for number in range(MAX_WORDS - 2))])
    assert Vocabulary.coerce(full).words[1] == "word 0", "no room for all"


def test_a_synonym_tells_the_kind_of_a_word_that_no_list_has() -> None:
    assert not Vocabulary.parse("lawn; meadow; footpath").is_thing.any()
    assert Vocabulary.parse("lorry; settee; gizmo").is_thing.all()


def test_synonyms_follow_the_rules_of_their_file() -> None:
    known = synonyms()
    assert all(name not in known.get(name, ()) for name in known)
    listed = [line.split(",")[0] for line in asset_path("vocabularies/synonyms.txt").read_text().splitlines()]
    assert len(listed) == len({*listed}) and {*listed} <= {*known}
    assert known["person"][0] == "child" and "clothes" not in known, "only labels and their plurals"


PRESETS = [
    ("coco-panoptic-133", 133, 254, 80, 133),
    ("coco-stuff-171", 171, 328, None, 135),
    ("ade20k-150", 150, 402, 100, 64),
    ("ade20k-847", 847, 1341, None, 101),
    ("cityscapes-19", 19, 60, 8, 17),
    ("everyday", 65, 95, 43, 64),
    ("mapillary-vistas-65", 65, 152, 37, 26),
    ("pascal-context-59", 59, 160, None, 51),
    ("pascal-context-459", 459, 559, None, 85),
    ("pascal-voc-20", 20, 79, None, 20),
    ("pascal-voc-21", 21, 151, None, 21),
]


def test_every_preset_is_listed() -> None:
    assert sorted(row[0] for row in PRESETS) == list(preset_names())


@pytest.mark.parametrize(("preset", "classes", "words", "things", "seen"), PRESETS)
def test_presets(preset: str, classes: int, words: int, things: int | None, seen: int) -> None:
    vocabulary = Vocabulary.preset(preset)
    assert (len(vocabulary), len(vocabulary.words)) == (classes, words)
    assert vocabulary.seen(coco_training_words()).sum() == seen
    if things is not None:
        assert vocabulary.is_thing.sum() == things
    assert Vocabulary.parse(vocabulary.to_text()) == vocabulary


def test_repeats_in_presets_are_noted() -> None:
    notes = Vocabulary.preset("ade20k-847").notes
    assert 'In the class "stove", the duplicate "kitchen range" was removed.' in notes
    assert '"bag" is in 3 classes ("bag", "bag", "bag"); all are kept.' in notes
    assert sum("all are kept" in note for note in notes) == 45


def test_seen_agrees_with_the_released_implementation() -> None:
    recorded = json.loads(RECORDED.read_text())
    for preset, source in {
        "ade20k-150": "openvocab_ade20k_panoptic_val",
        "ade20k-847": "openvocab_ade20k_full_sem_seg_val",
        "pascal-context-459": "openvocab_pascal_ctx459_sem_seg_val",
        "mapillary-vistas-65": "openvocab_mapillary_vistas_panoptic_val",
    }.items():
        expected = [digit == "1" for digit in recorded[source]["category_overlapping_mask"]]
        assert Vocabulary.preset(preset).seen(coco_training_words()).tolist() == expected


def test_from_file(tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("\ufeffperson: thing\nsky\n", encoding="utf-8")
    assert Vocabulary.from_file(text).to_text() == "person: thing; sky: stuff"
    document = tmp_path / "own.JSON"
    document.write_text(json.dumps({"classes": [{"names": ["sky", " "], "isthing": True}, {"names": ["sea"]}]}))
    loaded = Vocabulary.from_file(str(document))
    assert loaded.to_text() == "sky: thing; sea: stuff"
    assert loaded.notes == ("One blank entry was skipped.",)
    categories = [
        {"id": 7, "name": "road, street", "isthing": 0},
        {"id": 9, "name": "sky", "isthing": 1},
        {"name": "sea"},
    ]
    document.write_text(json.dumps({"images": [], "categories": categories}))
    assert Vocabulary.from_file(document).to_text() == "road, street: stuff; sky: thing; sea: thing"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.names", b"sky", r'"a.names" must end in .txt, .json or .csv'),
        ("a.csv", b"1,sky\n", r'"a.csv" has no header line'),
        ("a.csv", b"id,name\n1,sky,sea\n", "Line 2 of the class table has 3 cells, but its header has 2"),
        ("a.csv", b"id,name\nx,sky\n", 'Line 2 of the class table has "x" as id'),
        ("a.csv", b"name,isthing\nsky,perhaps\n", 'has "perhaps" as isthing; write 1 or 0'),
        ("a.txt", b"\xff\xfe\x00", r'"a.txt" is not UTF-8'),
        ("a.json", b"{", "it is not valid JSON"),
        ("a.json", b"[1]", "must contain"),
        ("a.json", b'{"classes": [{"names": "sky"}]}', "class number 0 has no list of names"),
        ("a.json", b'{"classes": [{"names": ["sky"], "isthing": 1}]}', "isthing of class number 0"),
        ("a.json", b'{"classes": [{"names": ["sky, sea"]}]}', "contains a comma"),
        ("a.json", b'{"categories": [{"name": 3}]}', "categories of a COCO file; class number 0 has no list of names"),
        ("a.json", b'{"classes": []}', "vocabulary is empty"),
        ("missing.txt", None, r'missing.txt" cannot be read \(No such file'),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VocabularyError, match=sentence) as caught:
        Vocabulary.from_file(tmp_path / name)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_and_round_trips(text: str) -> None:
    try:
        vocabulary = Vocabulary.parse(text)
    except VocabularyError:
        return
    assert Vocabulary.parse(vocabulary.to_text()) == vocabulary
    assert vocabulary.to_text().encode("utf-8")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.text("ab:éА天 thingsuf", min_size=1, max_size=12), min_size=1, max_size=4), st.booleans()
        ),
        min_size=1,
        max_size=6,
    )
)
def test_round_trip_of_words_that_look_like_the_grammar(entries: list[tuple[list[str], bool]]) -> None:
    text = "; ".join(f"{', '.join(words)}: {'thing' if kind else 'stuff'}" for words, kind in entries)
    try:
        vocabulary = Vocabulary.parse(text)
    except VocabularyError:
        assert not any(word.strip() for words, _ in entries for word in words)
        return
    kinds = [kind for words, kind in entries if any(word.strip() for word in words)]
    assert vocabulary.is_thing.tolist() == kinds
    assert Vocabulary.parse(vocabulary.to_text()) == vocabulary
