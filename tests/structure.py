"""`python -m tests.structure BEFORE [AFTER] > docs/structure.md`: compares the code of two revisions.

Start and test times are those of assets/benchmarks/start.csv and tests.csv; both wheels are built.
"""

import ast
import csv
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parent.parent
MEANING = """– means that something was not
measured or does not exist. The times are those of [start.csv](../assets/benchmarks/start.csv), which also has the
much shorter CPU times, and [tests.csv](../assets/benchmarks/tests.csv)."""
WHEEL = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")


def in_circles(trees: dict[str, ast.Module], types: bool) -> int:
    """Number of modules in circular imports, without those inside functions; `types` adds those for type checkers."""
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in trees}
    places = {name: place for place, name in enumerate(names)}
    imports = np.zeros((len(names), len(names)), dtype=bool)
    for name, path in names.items():
        body = trees[path].body
        for node in body + [node for outer in body if types and isinstance(outer, ast.If) for node in outer.body]:
            for alias in node.names if isinstance(node, ast.ImportFrom) and node.module else ():
                found = one if (one := f"{node.module}.{alias.name}") in places else node.module
                if found in places and found != name:
                    imports[places[name], places[found]] = True
    circle = connected_components(imports, directed=True, connection="strong")[1]
    return int((np.bincount(circle)[circle] > 1).sum())


def described(revision: str, folder: Path) -> Iterator[tuple[str, str]]:
    """The name and the value of every row."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    texts = {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines: Counter[str] = Counter()
    for path, text in texts.items():
        lines["/".join(Path(path).parent.parts[: 2 if path.startswith("eovseg/") else 1])] += text.count("\n")
    yield from ((f"lines of `{place}/`", f"{count:,}") for place, count in sorted(lines.items()))
    yield "lines outside tests", f"{lines.total() - lines['tests']:,}"
    functions = [(path, n) for path, tree in trees.items() for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    long = [((n.end_lineno or 0) - n.lineno + 1, n.name) for p, n in functions if p.startswith("eovseg/model/")]
    yield "longest function of `eovseg/model/`", "{} lines, `{}`".format(*max(long))
    counted = [(len(n.args.args) + len(n.args.kwonlyargs), n.name) for p, n in functions if p[:6] != "tests/"]
    yield "longest signature", "{} parameters, `{}`".format(*max(counted))
    own = {path: tree for path, tree in trees.items() if path.startswith("eovseg/")}
    yield "modules in import circles", f"{in_circles(own, False)}, with imports for types {in_circles(own, True)}"
    for file, key in (("start.csv", "start"), ("tests.csv", "tests")):
        if (path := folder / "assets" / "benchmarks" / file).exists():
            rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
            yield from ((f"{row[key]}, wall-clock seconds", row["seconds"]) for row in rows)
    subprocess.run([*WHEEL, str(folder / "wheel"), str(folder)], check=True)
    (wheel,) = (folder / "wheel").glob("*.whl")
    top = sorted({name.split("/")[0] for name in ZipFile(wheel).namelist() if ".dist-info/" not in name})
    yield "wheel", f"{wheel.stat().st_size / 1e6:.1f} MB with {', '.join(f'`{name}`' for name in top)}"


def main(before: str, after: str = "HEAD") -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        old, new = dict(described(before, Path(one))), dict(described(after, Path(two)))
    print(f"# Structure\n\n`python -m tests.structure {before} {after}` compares two commits; {MEANING}\n")
    print(f"| | {before} | {after} |\n| --- | --- | --- |")
    for name in new | old:
        print(f"| {name} | {old.get(name, '–')} | {new.get(name, '–')} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
