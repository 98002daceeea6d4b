"""Searches the settings of methods: `python -m benchmarks.tune --methods all --tasks clip,peg --trials 12`.

Every method is tuned with equal care: with the same number of settings, of which the first is the profile's own; on the
same tasks, numbers of demonstrations and seeds, from a split that no comparison uses; and with the same rule for early
stopping. The method declares the search space (see `benchmarks.planning.search`).

Settings are evaluated by ordinary trials, planned, run and recorded as those of a comparison. Their score is the mean
fraction of successful rollouts, over these trials and over sampled and deterministic actions; a mode that the policy
does not have is left out, and a trial that failed counts as 0. If seeds are left after the first, a choice is stopped
if it could no longer become the best, whatever the others score, or if its score is below the median of at least four
earlier ones in the same cells (the rule of Golovin et al., "Google Vizier", KDD 2017). The profile's own settings are
never stopped.

`proposals` asks Optuna what to try next, `search` trains it, `study` keeps the results in a small JSON file (see
`benchmarks.records.studies`), and `report` prints them. A search can be resumed from that file even without its
records.
"""
