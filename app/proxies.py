"""Proxy settings of the environment: the server never calls itself through a proxy, and unusable ones are ignored."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import getproxies

_LOG = logging.getLogger(__name__)
_NAMES = ("no_proxy", "NO_PROXY")  # both spellings are read, lower case first


def drop_unusable() -> None:
    """Disables proxies in this process if httpx, Gradio's HTTP client, cannot use the one set in the environment.

    Examples are a SOCKS proxy without the package `socksio`, and text that is not a proxy URL; `import gradio` would
    fail with either.
    """
    if not any(getproxies().get(kind) for kind in ("http", "https", "all")):
        return
    import httpx  # imported here because it is slow and most environments have no proxy

    try:
        httpx.Client().close()
    except Exception as error:
        _LOG.warning("The proxy set in the environment cannot be used and is ignored: %s", error)
        os.environ.update(dict.fromkeys(_NAMES, "*"))


@contextmanager
def direct_connections(host: str | None) -> Iterator[None]:
    """Within the block, connections to this computer, including `host`, use no proxy."""
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
