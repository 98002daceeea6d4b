"""Off-policy imitation: one actor-critic (`learner.py`) and the methods on it, `dac.py`, `sqil.py`, `iq_learn.py`."""
