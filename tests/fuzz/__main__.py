"""`python -m tests.fuzz --count N --out LOG`: a longer run over all readers; exit code 1 if there are faults."""

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
import PIL

from tests.fuzz.harness import COUNT, all_readers, fuzz


def main() -> int:
    """Entry point of the command."""
    readers = all_readers()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help=f"inputs of each reader ({COUNT})")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--reader", action="append", choices=sorted(readers), help="only this reader; may be repeated")
    parser.add_argument("--out", type=Path, help="file of the log")
    options = parser.parse_args()
    versions = f"Python {platform.python_version()}, Pillow {PIL.__version__}, NumPy {np.__version__}"
    lines = [f"Seeds {options.first} to {options.first + options.count - 1} with {versions} on {platform.system()}"]
    failed = False
    for name in options.reader or sorted(readers):
        report = fuzz(readers[name], range(options.first, options.first + options.count))
        failed = failed or bool(report.faults)
        lines.append(report.line())
        lines += [f"  seed {seed}: {text}" for seed, text in report.faults.items()]
        print(lines[-1 - len(report.faults)], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
