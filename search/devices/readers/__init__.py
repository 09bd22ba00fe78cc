"""Models as graphs: torch modules, ``.pt2`` and ONNX files; TFLite files are read by ``tflite``."""
