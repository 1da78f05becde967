"""Class lists in other notations: converted if unambiguous, else reported."""

import contextlib
import json
import time
from pathlib import Path

import pytest

from eovseg.command_options import read_words
from eovseg.errors import VocabularyError
from eovseg.notation import Line, plain_lines, unquoted, without_prefixes
from eovseg.vocabulary import Vocabulary

QUOTES = "Quotation marks around words were removed."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("狗；猫，小猫、貓", "狗: thing; 猫, 小猫, 貓: thing"),
        ("dog：thing；grass：stuff", "dog: thing; grass: stuff"),
        ("سماء؛ كلب، جرو", "سماء: thing; كلب, جرو: thing"),
        ("['dog', 'cat']", "dog: thing; cat: thing"),
        (
            '["person, child", "traffic light: thing",\n "sky"]',
            "person, child: thing; traffic light: thing; sky: stuff",
        ),
        ("(dog, traffic light)", "dog: thing; traffic light: thing"),
        ("{0: 'person', 1: 'bicycle'}", "person: thing; bicycle: thing"),
        ('{"0": "person", "1": "bicycle"}', "person: thing; bicycle: thing"),
        ("[[dog, puppy], [cat, kitten]]", "dog, puppy: thing; cat, kitten: thing"),
        ("1:person,child\n2:bicycle", "person, child: thing; bicycle: thing"),
        ("1. dog\n2. sky: stuff", "dog: thing; sky: stuff"),
        ("1) dog; 2) cat", "dog: thing; cat: thing"),
        ("- dog\n- cat", "dog: thing; cat: thing"),
        ("• dog\n\n• cat", "dog: thing; cat: thing"),
        ("id,name\n1,person\n2,cat", "person: thing; cat: thing"),
        ('id;name\n1;"person, child"\n2;car\n', "person, child: thing; car: thing"),
        ("name\tid\tisthing\nperson\t1\t1\nwindow\t2\t0", "person: thing; window: stuff"),
        ("Idx\tStuff\tName\n1\t1\twall\n2\t0\tbuilding;edifice", "wall: stuff; building, edifice: thing"),
    ],
)
def test_unambiguous_lists_are_read(text: str, expected: str) -> None:
    vocabulary = Vocabulary.parse(text)
    assert vocabulary.to_text() == expected
    assert vocabulary.notes == ()
    assert Vocabulary.parse(vocabulary.to_text()) == vocabulary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"dog"; "traffic light"', "dog: thing; traffic light: thing"),
        ("“dog”; «cat»; 'sky'; `sea`", "dog: thing; cat: thing; sky: stuff; sea: stuff"),
        ('"person, people: thing"', "person, people: thing"),
        ("rock 'n' roll; dog's bed: thing; \"bed\"", "rock 'n' roll: thing; dog's bed: thing; bed: thing"),
    ],
)
def test_quotation_marks_are_removed(text: str, expected: str) -> None:
    vocabulary = Vocabulary.parse(text)
    assert vocabulary.to_text() == expected
    assert vocabulary.notes == (QUOTES,)


@pytest.mark.parametrize(
    ("text", "labels", "told", "write"),
    [
        ("dog, cat, person, sky", ("dog",), "were read as one class", '"dog; cat; person; sky"'),
        ("dog: thing, grass: stuff", ("dog: thing",), '"dog: thing" was read as a name', '"dog: thing; grass: stuff"'),
        ("1 person", ("1 person",), 'Numbers were read as part of the words ("1 person")', 'write "person"'),
        ("1 person\n2 dog, puppy", ("1 person", "2 dog"), "Numbers were read", 'write "person; dog, puppy"'),
        ("1,person\n2,cat", ("1", "2"), "Numbers were read", 'write "person; cat"'),
        ("dog . cat .", ("dog . cat .",), "was read as one word", '"dog; cat"'),
        ("dog. cat.", ("dog. cat.",), "was read as one word", '"dog; cat"'),
        ("dog | cat", ("dog | cat",), "was read as one word", '"dog; cat"'),
        ("bus: vehicle", ("bus: vehicle",), '"bus: vehicle" was read as a name', '": thing"'),
        ("['dog'; 'cat']", ("['dog'", "'cat']"), "The bracket in", '"dog; cat"'),
    ],
)
def test_ambiguous_lists_are_noted(text: str, labels: tuple[str, ...], told: str, write: str) -> None:
    vocabulary = Vocabulary.parse(text)
    assert vocabulary.labels == labels
    (note,) = vocabulary.notes
    assert told in note and write in note and note.endswith(".")


@pytest.mark.parametrize(
    "text",
    ["dog", "person, people: thing", "dog; cat, kitten", "time: 12:30", "12:30", "2 doors; sky", "St. Bernard", "7; 8",
     "person (adult)", "a-b", "4:3; 16:9"],
)  # fmt: skip
def test_plain_lists_get_no_note(text: str) -> None:
    assert Vocabulary.parse(text).notes == ()


def test_an_empty_class_is_dropped_with_a_note() -> None:
    vocabulary = Vocabulary.parse("0:invalid_class_id\n1:person,child\n2:sky")
    assert vocabulary.labels == ("person", "sky")
    assert vocabulary.notes == ('The class "invalid_class_id" means unlabelled pixels and was skipped.',)


def test_the_numbers_of_a_list_are_kept_with_the_classes() -> None:
    assert without_prefixes(["3: dog", "7. cat"]) == [Line("dog", 3), Line("cat", 7)]
    assert plain_lines("id,name\n3,dog") == [Line("dog", 3)]
    assert plain_lines("{1: 'pallet', 2: forklift}") == [Line("pallet", 1), Line("forklift", 2)]
    assert plain_lines('{"7": "pallet"}') == [Line("pallet", 7)]
    assert plain_lines("['dog', cat]") == [Line("dog"), Line("cat")]
    for unread in ("{1: 'dog', 'cat'}", "{12345678901: 'dog'}"):
        assert plain_lines(unread) == [Line(unread)]
    for others in (["3: dog", "3: cat"], ["3: dog", "cat"], ["3: dog", "4:"], ["3: dog"], ["3:30", "4:30"], []):
        assert without_prefixes(others) is None


@pytest.mark.parametrize(
    "text", ["1:a, b; 2:", "1:'a, b; 2", "'1: a', b; '2: c', d", "1: 2: a; 2: 3: b", '- a; ": thing; - b']
)
def test_lists_round_trip(text: str) -> None:
    vocabulary = Vocabulary.parse(text)
    assert Vocabulary.parse(vocabulary.to_text()) == vocabulary


@pytest.mark.parametrize(
    ("word", "bare"),
    [
        ('"', ""),
        ('so-called "dog"', 'so-called "dog"'),
        ("'", "'"),
        ("''", ""),
        ("\"'a'\"", "a"),
        ("'a' b 'c'", "'a' b 'c'"),
    ],
)
def test_unquoted(word: str, bare: str) -> None:
    assert unquoted(word) == bare == unquoted(bare)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,name\n1,person\n2,", "Line 3 of the class table has no name"),
        ("name,isthing\n\n,1\nsky,0", "Line 3 of the class table has no name"),
        ('id,class\n1," , "', "Line 2 of the class table has no class"),
        (f"id,name\n{'1' * 5_000},person", "as id; write a number of at most 9 digits"),
        ("id,name\n-1,person", 'Line 2 of the class table has "-1" as id; write a number'),
        ("name,isthing\nsky,maybe", 'has "maybe" as isthing; write 1 or 0'),
    ],
)
def test_a_broken_row_of_a_table_is_named(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table)
    for read, given in ((Vocabulary.parse, table), (Vocabulary.read, str(tmp_path / "a.csv"))):
        with pytest.raises(VocabularyError) as caught:
            read(given)
        assert message in str(caught.value) and len(str(caught.value)) < 200
    assert Vocabulary.parse("id,name\n1,person\n,\n , \n").labels == ("person",)


def many(piece: str) -> str:
    """`piece` repeated to 400,000 characters."""
    return piece * (400_000 // len(piece))


HOSTILE = {
    "brackets": "[" + many("("), "pairs": many("[]"), "items": "[" + many("'a',") + "]",
    "spaces": "[a" + many(" ") + "(]",
    "numbers": "[1" + many("1") + "(]", "numbers apart": "[" + many("1 ") + "(]", "quoted": "['" + many("a ") + ";']",
    "single quotes": many("'"), "double quotes": many('"') + "\nb", "digits": many("9"), "commas": many(","),
    "semicolons": many(";"), "classes": many("a;"), "numbered": many("1:a;"), "points": many("a. ") + "a",
    "points apart": many(" .") + "a", "kinds": many(": thing") + "s",
    "numbers before": "1:" + many("1:") + "a\n2:" + many("2:") + "b",
    "numbers spaced": f"{many('1. ')}a\n2. {many('3. ')}b",
    "bullets before": many("- ") + "a\n" + many("- ") + "b", "open cell": "name,id\n" + many('"'),
    "cells": "name,id\n" + many("a,"), "tables": many("id,name\n1,a\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_takes_quadratic_time(kind: str) -> None:
    began = time.process_time()
    with contextlib.suppress(VocabularyError):
        Vocabulary.read(HOSTILE[kind])
    # The slowest takes about 4 s on an old core; quadratic time would take minutes.
    assert time.process_time() - began < 20


def test_files_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffid,name\r\n1,person\r\n2,sky\r\n", encoding="utf-8")
    (tmp_path / "one.csv").write_text("name\nperson\nsky\n")
    (tmp_path / "a.txt").write_text("1:person,child\n2:sky\n")
    assert Vocabulary.read(str(tmp_path / "a.csv")).labels == ("person", "sky")
    assert Vocabulary.read(str(tmp_path / "one.csv")).labels == ("person", "sky")
    assert Vocabulary.read(str(tmp_path / "a.txt")).words == ("person", "child", "sky")
    (tmp_path / "list.json").write_text(json.dumps(["person", "sky"]))
    with pytest.raises(VocabularyError, match=r"list\.json"):
        Vocabulary.read(str(tmp_path / "list.json"))


def test_the_command_line_prints_the_notes(capsys: pytest.CaptureFixture[str]) -> None:
    read_words("dog, cat")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("eovseg: Commas separate the names of one class") and 'write "dog; cat"' in line
    read_words("dog, cat", tell=False)
    assert capsys.readouterr().err == ""
