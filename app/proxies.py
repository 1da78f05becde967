"""Proxies of the environment: the server never calls itself through one, and one that can't be used is left out."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import getproxies

_LOG = logging.getLogger(__name__)
_NAMES = ("no_proxy", "NO_PROXY")  # both spellings are read, the lower-case one first


def drop_unusable() -> None:
    """Use no proxy in this process where httpx, Gradio's HTTP client, can't use the one of the environment.

    That is the case for a SOCKS proxy without the package `socksio`, and for text that is not an address of a proxy;
    `import gradio` would fail with either.
    """
    if not any(getproxies().get(kind) for kind in ("http", "https", "all")):
        return
    import httpx  # only here: the import is slow, and most environments have no proxy

    try:
        httpx.Client().close()
    except Exception as error:
        _LOG.warning("The environment's proxy cannot be used and is left out: %s", error)
        os.environ.update(dict.fromkeys(_NAMES, "*"))


@contextmanager
def asked_directly(host: str | None) -> Iterator[None]:
    """Connect to this computer's own addresses, among them `host`, without a proxy while the block lasts."""
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
