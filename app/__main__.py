"""`eovseg page`, also `python -m app`: load a model, compute the first result and serve the page."""

import argparse
import contextlib
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.limits import LARGE_MODEL_SESSIONS, MAX_SESSIONS, REQUEST_SECONDS, described
from eovseg.command_options import add_model_options, chosen_model
from eovseg.errors import ConfigError, EovsegError, any_encoding, parse_options
from eovseg.waiting import use_passive_waiting

AUTH_VARIABLE = "EOVSEG_AUTH"


def parser() -> argparse.ArgumentParser:
    """The command-line options with their help texts."""
    options = argparse.ArgumentParser(
        prog="eovseg page", description="EOV-Seg Explorer in the browser.", epilog=described()
    )
    add_model_options(options)
    options.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all interfaces")
    options.add_argument("--port", type=int, help="port to listen on (default: the first free port from 7860)")
    options.add_argument("--root-path", help="path under which a reverse proxy serves the page, such as /eovseg")
    access = options.add_mutually_exclusive_group()
    access.add_argument(
        "--auth", metavar="NAME:PASSWORD",
        help=f"ask visitors for this name and password; other users of this computer can read them in the list of "
        f"processes, unlike those of --auth-file or the environment variable {AUTH_VARIABLE}",
    )  # fmt: skip
    access.add_argument("--auth-file", metavar="FILE", help="like --auth, read from the first line of a file")
    options.add_argument("--share", action="store_true", help="also open a temporary public link")
    options.add_argument("--mcp", action="store_true", help="also offer the endpoints to language models")
    options.add_argument(
        "--features", metavar="NAME=FILE", nargs="+", default=[], help="weights of dinov2, sam or clip for Clustering"
    )
    options.add_argument(
        "--time-limit", metavar="SECONDS", type=float, default=REQUEST_SECONDS,
        help=f"stop a request after this time (default: {REQUEST_SECONDS:g})",
    )  # fmt: skip
    options.add_argument("--open", action="store_true", help="open the page in the default browser")
    return options


def credentials(options: argparse.Namespace) -> tuple[str, str] | None:
    """Name and password from --auth, --auth-file or the environment; None if none of them is given.

    Called only once, because the file may be a pipe. Raises `ConfigError`, whose text contains neither name nor
    password.
    """
    given, source = options.auth, "--auth"
    if options.auth_file is not None:
        source = f'The first line of the file "{options.auth_file}"'
        try:
            text = Path(options.auth_file).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise ConfigError(f'--auth-file "{options.auth_file}" cannot be read: {_reason(error)}.') from error
        given = text.partition("\n")[0].rstrip("\r")
    elif given is None:
        given, source = os.environ.get(AUTH_VARIABLE), f"The environment variable {AUTH_VARIABLE}"
    if given is None:
        return None
    name, _, password = given.partition(":")
    if not (name and password):
        raise ConfigError(f"{source} needs a name and a password, as NAME:PASSWORD.")
    return name, password


def _reason(error: Exception) -> str:
    return error.strerror or "the system gives no reason" if isinstance(error, OSError) else "it is not UTF-8 text"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until SIGINT or SIGTERM; if that fails, prints one sentence and returns 2."""
    any_encoding()
    use_passive_waiting()
    options = parse_options(parser(), arguments)
    stop = threading.Event()
    try:
        auth = credentials(options)
        _check(options)
        with _ended_by_signals(stop):
            _serve(options, auth, stop)
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
        return 130
    except EovsegError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # Gradio raises it if the port is taken
        print(f"The page cannot be served: {error}", file=sys.stderr)
        return 2
    print("Stopped.", flush=True)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for a wrong option before the model is loaded."""
    if options.mcp and importlib.util.find_spec("mcp") is None:
        raise ConfigError('--mcp needs another package: pip install "gradio[mcp]".')
    if options.port is not None and not 1 <= options.port <= 65_535:
        raise ConfigError(f"--port {options.port} is outside 1 to 65535.")
    if not 0 < options.time_limit < 1e6:
        raise ConfigError(f"--time-limit {options.time_limit:g} is not a number of seconds above 0.")
    if options.root_path and not re.fullmatch(r"(https?://[^\s?#]+|/[^\s?#]*)", options.root_path):
        raise ConfigError(
            f'--root-path "{options.root_path}" must be a path that begins with /, such as /eovseg, or a full URL.'
        )
    if options.port is not None:
        with contextlib.suppress(socket.gaierror), socket.socket() as listener:
            # As servers do, so that a port counts as free while its last connections are closing.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((options.host, options.port))
            except socket.gaierror:
                raise
            except OSError as error:
                raise ConfigError(
                    f"The page cannot be served on {options.host}:{options.port}: {error.strerror or error}."
                ) from error


@contextlib.contextmanager
def _ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM set `stop`; before the page is served, they also interrupt it."""

    def end(number: int, frame: object) -> None:
        first = not stop.is_set()
        stop.set()
        if first and not _serving.is_set():
            raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_serving = threading.Event()


def _serve(options: argparse.Namespace, auth: tuple[str, str] | None, stop: threading.Event) -> None:
    print(f"Loading {options.checkpoint or 'variant ' + (options.variant or 'xs').upper()} ...", flush=True)
    predictor = chosen_model(options)
    # Imported late, because Gradio takes seconds to import and a wrong checkpoint should be reported before that.
    from app.models import Models
    from app.page import Page
    from app.server import served
    from app.tabs.clustering import feature_files

    # The cached state of a photo and its words takes about 40 MB with XS and up to 500 MB with L.
    models = Models(predictor, options.checkpoint, options.dtype, options.backend)
    large = any(models.parts(choice.key)[0] != "xs" and not choice.missing for choice in models.choices())
    page = Page(predictor, LARGE_MODEL_SESSIONS if large else MAX_SESSIONS, models, options.time_limit)
    page.features = feature_files(options.features)
    with served(
        page,
        server_name=options.host,
        server_port=options.port,
        root_path=options.root_path,
        auth=auth,
        share=options.share,
        inbrowser=options.open,
        mcp_server=options.mcp,
        quiet=True,  # Gradio would advertise its own options
    ) as demo:
        print(f"The page is at {demo.local_url} (Ctrl-C stops it).", flush=True)
        _serving.set()
        # Short waits, because Windows delivers a signal only between them.
        while not stop.wait(0.5):
            pass


if __name__ == "__main__":
    sys.exit(main())
