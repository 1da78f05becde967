"""The network as ONNX files that other runtimes read."""
