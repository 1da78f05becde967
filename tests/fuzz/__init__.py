"""Fuzzing: every reader of a user's file gets damaged inputs and must answer, or refuse them in one sentence.

How to add a reader: put a file into `tests/fuzz/readers/`. It is found by itself, nothing is registered. It holds

    READERS = [Reader(name, make, read, suffix=".json")]

`name`: what the reader is called in tests and logs, unique.
`make(seed) -> bytes`: the input of a seed, always the same one. `mutated(originals, seed, tokens)` of
    `tests.fuzz.mutations` makes one from small valid files: flipped bits, numbers of the header, cuts, spans that are
    removed, repeated or taken from another original, and `tokens` (bytes that mean something in the format).
`read(path)`: calls the product with the input, which lies in the file `path` (name "input" + `suffix`). The folder is
    the reader's own and is kept between inputs, so what else the product needs may be written beside it.
    What it returns is ignored. It may call several functions; each of them keeps the contract.
`errors`: the exceptions that are a refusal, by default `EovsegError`.
`make` and `read` are functions of the module (no lambdas), as a child process imports them.

The contract: `read` returns, or raises one of `errors` with a message of one line of at most 1,000 characters. It is
broken by any other exception, by an end of the process, by more than `SECONDS` for one input and by more than `MEMORY`
bytes. Inputs are read in a child process, so that a crash or a hang is found and the run goes on.

`tests/fuzz/test_fuzz.py` reads `COUNT` inputs with each reader, in `make check` the first 300 of them, and needs at
least one answer and one refusal of each.
`python -m tests.fuzz --count 50000 --out LOG` is the longer run; `--reader NAME` and `--first SEED` choose.
To see what one seed does: `READERS[0].make(seed)` gives its input; the log names the seeds that broke the contract.
"""
