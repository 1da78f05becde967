"""The origin of a report's numbers: the weight file, the commit of the code, and the command."""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import eovseg
from eovseg.checkpoints import file_digest

UNCOMMITTED = "with uncommitted changes"
UNKNOWN = "unknown"
_REPORTS = "assets/evaluation"  # files written by the commands are not changes of the code


@dataclass(frozen=True)
class Origin:
    """`weights` is the file's name and `sha256` its digest, both None without a file.

    `commit` is a hash, followed by "with uncommitted changes" if tracked files differ from it, or by "and unknown
    changes" if git fails to report them. It is "unknown" if git reports no commit, and None outside a checkout.
    """

    weights: str | None
    sha256: str | None
    commit: str | None
    command: str

    @classmethod
    def of(cls, weights: Path | None) -> "Origin":
        """The origin of numbers from this process; call it first, because weights and code may change during a run."""
        digest = None if weights is None else file_digest(weights)
        return cls(None if weights is None else weights.name, digest, commit(), command_line())

    def lines(self) -> list[str]:
        """The origin as lines of text."""
        weights = "none" if self.weights is None else f"{self.weights}, SHA-256 {self.sha256}"
        return [f"Weights: {weights}", f"Commit: {self.commit or 'not a checkout'}", f"Command: {self.command}"]


def command_line() -> str:
    """The command that started this process, with shell quoting; the program is given without its folder."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = [Path(sys.argv[0]).name] if spec is None else ["python", "-m", spec.name.removesuffix(".__main__")]
    return shlex.join([*program, *sys.argv[1:]])


def commit(folder: Path | None = None) -> str | None:
    """The commit of the checkout that contains the package (or of `folder`), as described in `Origin`."""
    folder = folder or Path(eovseg.__file__).parent.parent
    if not (folder / ".git").exists():
        return None
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return UNKNOWN
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", f":(exclude){_REPORTS}")
    if changes is None:
        return f"{head} and {UNKNOWN} changes"
    return f"{head} {UNCOMMITTED}" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
