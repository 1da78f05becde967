"""The sentences that `python -m tests.sentences` draws from."""

from pathlib import Path

from tests.sentences import sentences

PYTHON = '''"""Reads a photo. It must be a file."""
raise ValueError(f"The photo {1} cannot be read.")  # nothing else is raised here
parser.add_argument("--out", help="folder for all the results")
name = "a string is not drawn here"
'''
SCRIPT = '// A comment of the page\ntell("Choose a photo or press Segment", `${count} files are too many here`);\n'


def test_every_kind_of_text_is_found(tmp_path: Path) -> None:
    (tmp_path / "eovseg").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "eovseg" / "one.py").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "app" / "two.js").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "app" / "two.py").write_text('LEAD = "Look for words in photos."', encoding="utf-8")
    assert sorted(sentences(tmp_path)) == [
        ("app/two.js:1", "A comment of the page"),
        ("app/two.js:2", "Choose a photo or press Segment"),
        ("app/two.js:2", "… files are too many here"),
        ("app/two.py:1", "Look for words in photos."),
        ("eovseg/one.py:1", "It must be a file."),
        ("eovseg/one.py:2", "The photo … cannot be read."),
        ("eovseg/one.py:2", "nothing else is raised here"),
        ("eovseg/one.py:3", "folder for all the results"),
    ]
