"""`python -m app`: load a model, compute the first result, serve the page."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence

import eovseg
from eovseg.errors import EovsegError


def parser() -> argparse.ArgumentParser:
    """The command line's options, with what they do."""
    options = argparse.ArgumentParser(prog="python -m app", description="EOV-Seg Explorer in the browser.")
    options.add_argument("--variant", default="xs", choices=("xs", "s", "m", "l"), help="the model (default: xs)")
    options.add_argument("--checkpoint", metavar="FILE", help="the weights of s, m or l")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    options.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for every one")
    options.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    options.add_argument("--root-path", help="path under which a proxy serves the page, such as /eovseg")
    options.add_argument("--auth", metavar="NAME:PASSWORD", help="ask visitors for this name and password")
    options.add_argument("--share", action="store_true", help="open a public link for a while")
    options.add_argument("--mcp", action="store_true", help="offer the endpoint to language models, too")
    options.add_argument(
        "--features", metavar="NAME=FILE", nargs="+", default=[], help="weights of dinov2, sam or clip for Clustering"
    )
    options.add_argument("--open", action="store_true", help="open the page in this computer's browser")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until interrupted; 2 and one sentence where that is not possible."""
    options = parser().parse_args(arguments)
    name, _, password = (options.auth or "").partition(":")
    if options.auth and not (name and password):
        print("--auth needs a name and a password, as NAME:PASSWORD.", file=sys.stderr)
        return 2
    if options.mcp and importlib.util.find_spec("mcp") is None:
        print('--mcp needs one more package: pip install "gradio[mcp]".', file=sys.stderr)
        return 2
    try:
        print(f"Loading variant {options.variant.upper()} ...", flush=True)
        predictor = eovseg.load(options.variant, checkpoint=options.checkpoint, device=options.device)
        # Gradio takes seconds to import; a wrong checkpoint should be told before that.
        from app.layout import build, launch_options
        from app.models import Models
        from app.page import MAX_QUEUE, Page
        from app.session import LARGE_MODEL_SESSIONS, MAX_SESSIONS
        from app.tabs.clustering import feature_files

        # What is kept of a photo and its words takes about 40 megabytes with XS and up to half a gigabyte with L.
        models = Models(predictor, options.variant, options.checkpoint, str(predictor.device))
        large = any(choice.key != "xs" and not choice.missing for choice in models.choices())
        page = Page(predictor, LARGE_MODEL_SESSIONS if large else MAX_SESSIONS, models)
        page.features = feature_files(options.features)
        demo = build(page)
        demo.queue(max_size=MAX_QUEUE).launch(
            server_name=options.host,
            server_port=options.port,
            root_path=options.root_path,
            auth=(name, password) if options.auth else None,
            share=options.share,
            inbrowser=options.open,
            mcp_server=options.mcp,
            **launch_options(),
        )
    except EovsegError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # Gradio's word for a port that is taken
        print(f"The page cannot be served: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
