"""This machine as a device: ONNX Runtime and LiteRT."""
