"""GPRIL: generative predecessor models for imitation learning; start reading at `algorithm.py`."""
