"""Proxies of the environment: a server never asks itself through one, and one that can't be used is not fatal."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import getproxies

_LOG = logging.getLogger(__name__)
_NAMES = ("no_proxy", "NO_PROXY")  # both spellings are read, the small one first


def drop_unusable() -> None:
    """Use no proxy in this process where httpx, with which Gradio asks, can't use the one of the environment.

    Such are SOCKS proxies without the package `socksio`, and addresses that are none: `import gradio` would fail.
    """
    if not any(getproxies().get(kind) for kind in ("http", "https", "all")):
        return
    import httpx  # only here: it takes a while, and most have no proxy

    try:
        httpx.Client().close()
    except Exception as error:
        _LOG.warning("The environment's proxy cannot be used and is left out: %s", error)
        os.environ.update(dict.fromkeys(_NAMES, "*"))


@contextmanager
def asked_directly(host: str | None) -> Iterator[None]:
    """Addresses of this computer, `host` one of them, are asked without a proxy while the block lasts."""
    before = {name: os.environ.get(name) for name in _NAMES}
    given = next((value for value in before.values() if value is not None), "")
    direct = ",".join(filter(None, (given, "127.0.0.1", "localhost", "::1", host)))
    os.environ.update(dict.fromkeys(_NAMES, direct))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
