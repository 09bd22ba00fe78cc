"""TFLite files of fused models: lowered, quantised, written, read and run, without TensorFlow."""
