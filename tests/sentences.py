"""`python -m tests.sentences --seed 1 --count 50`: prints sentences that were drawn at random from the code's English.

They come from comments, docstrings, help texts, error messages and page texts, each with its file and line.
"""

import argparse
import ast
import io
import random
import re
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("eovseg", "app", "analysis")
HELP = {"help", "description", "epilog"}  # keyword arguments of argparse
JS_TEXT = re.compile(r'(?m)^\s*// (.*)$|"((?:[^"\\\n]|\\.)*)"|`([^`]*)`')


def text_of(node: ast.AST) -> str:
    """The text of a string literal, with "…" for what an f-string inserts; empty for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return "".join(text_of(part) or "…" for part in node.values) if isinstance(node, ast.JoinedStr) else ""


def python_texts(source: str, page: bool) -> Iterator[tuple[int, str]]:
    """Line and text of comments, docstrings, help texts and error messages; with `page`, of every string."""
    lines, comments = source.splitlines(), list[tuple[int, str]]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(noqa|type:|fmt:|pragma)", token.string):
            line, text = token.start[0], token.string.lstrip("# ")
            if comments and lines[line - 1].lstrip()[0] == lines[line - 2].lstrip()[:1] == "#":
                line, text = comments[-1][0], f"{comments.pop()[1]} {text}"  # a comment of several lines
            comments.append((line, text))
    yield from comments
    tree = list(ast.walk(ast.parse(source)))
    parts = {id(part) for node in tree if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in tree:
        found: Sequence[ast.AST] = ()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            found = [node.body[0].value]  # type: ignore[attr-defined]
        elif isinstance(node, ast.Call):
            found = [keyword.value for keyword in node.keywords if keyword.arg in HELP]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found = node.exc.args
        elif page and isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in parts:
            found = [node]
        yield from ((part.lineno, text_of(part)) for part in found)  # type: ignore[attr-defined]


def js_texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of the comments and the string literals of a script."""
    for match in JS_TEXT.finditer(source):
        text = next((group for group in match.groups() if group), "")
        yield source.count("\n", 0, match.start()) + 1, re.sub(r"\$\{[^}]*\}", "…", text)


def sentences(root: Path = ROOT) -> list[tuple[str, str]]:
    """Every sentence of at least four words, each once, with the place where its text begins, "file:line"."""
    places: dict[str, str] = {}
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.[pj][ys]")):
        source, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        for line, text in js_texts(source) if path.suffix == ".js" else python_texts(source, name.startswith("app/")):
            for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n|\n- ", text):
                clean = " ".join(sentence.split())
                if sum(word[0].isalpha() for word in clean.split()) >= 4 and "</" not in clean:
                    places.setdefault(clean, f"{name}:{line}")
    return [(place, sentence) for sentence, place in places.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.sentences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    options = parser.parse_args()
    for place, sentence in random.Random(options.seed).sample(sentences(), options.count):
        print(f"{place}: {sentence}")
