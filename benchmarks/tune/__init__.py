"""Searches the settings of methods: `python -m benchmarks.tune --methods all --tasks clip,peg --trials 12`.

The same care for every method: the same number of settings, the first of which are the profile's own; the same tasks,
numbers of demonstrations and seeds for each of them, on a split that no comparison uses; the same rule to stop early.
What is tried is what the method declares (see `benchmarks.planning.search`).

Settings are evaluated by trials of the suite, planned, run and recorded as those of a comparison. Their score is the
mean, over these trials and over sampled and deterministic actions, of the fraction of successful rollouts; a mode that
the policy does not have is left out, and a trial that failed counts as 0. Once a seed is done and others are left, a
choice is stopped if its score is below the median of what earlier ones had in the same cells, four or more of them
(the rule of Golovin et al., "Google Vizier", KDD 2017). The profile's own settings are never stopped.

`proposals` asks Optuna what to try next, `search` trains with it, `study` keeps what was found in a small JSON file
(see `benchmarks.records.studies`), and `report` prints it. A search is resumed from that file, also where its records
are not at hand.
"""
