"""Models from ONNX files, as policies and as sources of propensities (the extra ``onnx``)."""
