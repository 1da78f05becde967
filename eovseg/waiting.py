"""How OpenMP threads wait for each other; OpenMP reads these settings only once, when torch is imported."""

import os


def use_passive_waiting() -> None:
    """Makes waiting threads sleep, not spin, unless the environment says otherwise; call it before importing torch.

    If another process is busy, a spinning thread can occupy the core that the thread it waits for needs.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # GNU's OpenMP, as in torch's wheels for Linux
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM's and Intel's
