"""GAIL: generative adversarial imitation learning; start reading at `algorithm.py`."""
