"""Fuzzing: every reader of user files gets damaged inputs and must either accept them or raise a one-line error.

To add a reader, add a file to `tests/fuzz/readers/`, which is found automatically. It contains

    READERS = [Reader(name, make, read, suffix=".json")]

`name`: unique name of the reader in tests and logs.
`make(seed) -> bytes`: the input for a seed, deterministic. `mutated(originals, seed, tokens)` of
    `tests.fuzz.mutations` builds one from small valid files: flipped bits, changed header numbers, truncation, spans
    removed, repeated or taken from another original, and `tokens` (bytes with a meaning in the format).
`read(path)`: calls the code under test with the input in the file `path` (name "input" + `suffix`). The folder belongs
    to the reader and is kept between inputs, so other required files may be written to it.
    The return value is ignored. It may call several functions, each of which must satisfy the contract.
`errors`: the exceptions that count as a refusal, by default `EovsegError`.
`make` and `read` must be module-level functions, not lambdas, because a child process imports them.

The contract: `read` returns, or raises one of `errors` with a one-line message of at most 1,000 characters. Any other
exception, an exit of the process, more than `SECONDS` for one input and more than `MEMORY` bytes are faults. Inputs are
read in a child process, so that the run continues after a crash or a hang.

`tests/fuzz/test_fuzz.py` reads `COUNT` inputs with each reader, in `make check` only the first 300; each reader must
accept at least one and refuse at least one.
`python -m tests.fuzz --count 50000 --out LOG` is the longer run; `--reader NAME` and `--first SEED` select inputs.
To reproduce a fault, get the input with `READERS[0].make(seed)`; the log lists the seeds.
"""
