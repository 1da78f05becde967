"""How the threads of a processor wait for each other; torch's OpenMP reads it once, when torch is loaded."""

import os


def wait_asleep() -> None:
    """Let threads that wait sleep instead of spin, unless the environment says otherwise; call it before torch loads.

    Beside another busy process, a thread that spins keeps the core from the very thread that it waits for.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # GNU's OpenMP, as in torch's wheels for Linux
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM's and Intel's
