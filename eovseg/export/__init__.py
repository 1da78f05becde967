"""The network as ONNX files for other runtimes."""
