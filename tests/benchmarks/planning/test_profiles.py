"""Profiles are complete and valid, and `paper` is appendix B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import InputError
from benchmarks.planning import profiles
from benchmarks.planning.experiments import EXPERIMENTS
from benchmarks.planning.trials import METHODS, Request, plan
from benchmarks.records.schema import BudgetChoice
from methods import registry
from methods.interface import make_settings
from methods.policy import HIDDEN, SIGMA_BOUNDS

# Appendix B of the paper, tables a to e. "total iterations" of GPRIL are steps of models and policy; `?` is left out.
GPRIL: dict[str, Any] = {
    "batch_size": 256,
    "gamma": 0.9,
    "model_layers": 2,
    "model_hidden": (500, 500),
    "model_l2": 1e-2,
    "sigma_floor": 0.1,
    "gradient_clip": 100.0,
    "policy_learning_rate": 1e-4,
    "cross_episodes": True,
    "warm_start": 0,
    "beta_pi": 1.0,
    "beta_d": 1.0,
}
GPRIL_CLIP = {
    "replay_size": 50_000,
    "model_updates": 15_000,
    "policy_updates": 5_000,
    "model_learning_rate": 2e-5,
    "burn_in": 50_000,
}
GPRIL_PEG = {
    "replay_size": 10_000,
    "model_updates": 10_000,
    "policy_updates": 1_000,
    "model_learning_rate": 1e-5,
    "burn_in": 0,
}
GPRIL_ROBOT = {
    "gamma": 0.7,
    "replay_size": 50_000,
    "model_updates": 10_000,
    "policy_updates": 5_000,
    "model_learning_rate": 3e-5,
    "model_l2": 1e-3,
    "sigma_floor": 0.01,
    "burn_in": 0,
}
GAIL = {
    "processes": 16,
    "batch_size": 256,
    "actor_steps": 3,
    "discriminator_steps": 1,
    "gamma": 0.995,
    "kl": 0.01,
    "discriminator_hidden": (150, 100),
    "discriminator_learning_rate": 1e-4,
    "entropy": 1.0,
    "critic_hidden": (300, 200),
    "critic_learning_rate": 5e-3,
    "terminal": "always",
    "warm_start": 0,
}
BC = {"batch_size": 256, "learning_rate": 1e-4, "l2": 1e-4}
APPENDIX_B: dict[tuple[str, str], dict[str, Any]] = {
    ("gpril", "clip"): GPRIL | GPRIL_CLIP,
    ("gpril", "peg"): GPRIL | GPRIL_PEG,
    ("gpril", "physical-fixed"): GPRIL | GPRIL_ROBOT,
    ("gpril", "physical-varying"): GPRIL | GPRIL_ROBOT,
    ("gail", "clip"): GAIL,
    ("gail", "peg"): GAIL,
    ("bc", "clip"): BC,
}
TOTAL_ITERATIONS = {"clip": 2e6, "peg": 1e6}


@pytest.mark.parametrize(("method", "task"), APPENDIX_B)
def test_the_paper_profile_is_appendix_b(method: str, task: str) -> None:
    profile = profiles.load("paper")
    settings = make_settings(registry.resolve(method), profile.settings_of(method, task))
    wanted = APPENDIX_B[method, task]
    assert {name: getattr(settings, name) for name in wanted} == wanted


@pytest.mark.parametrize("task", TOTAL_ITERATIONS)
def test_the_paper_profile_has_the_papers_iterations(task: str) -> None:
    profile = profiles.load("paper")
    budgets = {method: profile.budget_of(method, task, {}) for method in METHODS}
    settings = APPENDIX_B["gpril", task]
    share = settings["policy_updates"] / (settings["model_updates"] + settings["policy_updates"])
    assert budgets["gpril"].policy_updates == int(TOTAL_ITERATIONS[task] * share)
    iterations = budgets["gpril"].policy_updates / settings["policy_updates"]
    assert budgets["gpril"].environment_steps >= iterations * 20 * 500, "20 full episodes an iteration"
    assert budgets["gail"].environment_steps == 10**4 * 16 * 256
    assert budgets["bc"].policy_updates == 5 * 10**6


@pytest.mark.parametrize("task", ["physical-fixed", "physical-varying"])
def test_the_paper_profile_has_the_real_robots_roll_outs(task: str) -> None:
    profile = profiles.load("paper")
    settings = make_settings(registry.resolve("gpril"), profile.settings_of("gpril", task))
    budget = profile.budget_of("gpril", task, {})
    iterations = budget.policy_updates // settings.policy_updates
    assert settings.initial_episodes + (iterations - 1) * settings.episodes_per_iteration == 2000
    assert budget.environment_steps >= 2000 * 500


def test_the_policy_is_the_papers() -> None:
    assert HIDDEN == (300, 200) and SIGMA_BOUNDS == (0.01, 0.1)
    profile = profiles.load("paper")
    assert (profile.suite.seeds, profile.evaluation.rollouts) == (8, 100)


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_can_be_planned_for_every_experiment(name: str) -> None:
    profile = profiles.load(name)
    planned = plan(Request(profile, tuple(EXPERIMENTS.values()))).trials
    compared = [item for item in planned if item.row.experiment == "compare"]
    assert len(compared) == 2 * 3 * profile.suite.seeds * len(profile.suite.demonstrations)
    assert set(profile.settings) | set(profile.seconds) <= set(registry.BUILT_IN)
    assert set(profile.budget) <= {"default", *registry.BUILT_IN}


def test_tuning_is_quick_on_demonstrations_and_seeds_of_its_own() -> None:
    quick, tuning = profiles.load("quick"), profiles.load("tuning")
    assert (tuning.settings, tuning.budget, tuning.seconds) == (quick.settings, quick.budget, quick.seconds)
    seen: dict[str, set[tuple[str, int]]] = {}
    for profile in (quick, tuning):
        seen[profile.name] = {
            place
            for trial in (item.trial for item in plan(Request(profile, (EXPERIMENTS["compare"],))).trials)
            for place in (
                ("seed", trial.seed),
                *(("demonstration", trial.demonstrations.start + i) for i in range(trial.demonstrations.episodes)),
                *(("roll-out", trial.evaluation.first_seed + i) for i in range(trial.evaluation.rollouts)),
            )
        }
    assert not seen["quick"] & seen["tuning"]


def test_a_profile_extends_another_table_by_table(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('summary = "mine"\nextends = "quick"\n[suite]\nseeds = 2\n[settings.gpril]\ngamma = 0.5\n')
    quick, own = profiles.load("quick"), profiles.load(str(path))
    assert own.name == "own" and own.suite == quick.suite.model_copy(update={"seeds": 2})
    assert own.settings == quick.settings | {"gpril": quick.settings["gpril"] | {"gamma": 0.5}}
    path.write_text('summary = "mine"\nextends = "qick"\n')
    with pytest.raises(InputError, match="unknown profile 'qick'"):
        profiles.load(str(path))


def test_a_profile_extends_one_that_extends_another_but_not_itself(tmp_path: Path) -> None:
    path, other = tmp_path / "own.toml", tmp_path / "other.toml"
    path.write_text('summary = "mine"\nextends = "standard"\n[suite]\nseeds = 2\n')
    standard, own = profiles.load("standard"), profiles.load(str(path))
    assert (own.settings, own.budget) == (standard.settings, standard.budget)
    assert own.suite == standard.suite.model_copy(update={"seeds": 2})
    for one, next_one in ((path, other), (other, path)):
        one.write_text(f'summary = "mine"\nextends = "{next_one}"\n')
    with pytest.raises(InputError, match=r"own\.toml extends itself \(.*own\.toml -> .*other\.toml -> .*own\.toml\)"):
        profiles.load(str(path))


def test_a_profile_of_ones_own_may_lie_beside_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("paper", "mine", "smoke"):
        (tmp_path / f"{name}.toml").write_text("[suite")
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    assert profiles.names() == ["smoke", "paper", "mine"]
    with pytest.raises(InputError, match=r"mine\.toml: cannot be read"):
        profiles.load("mine")


BAD_PROFILES = {
    "unknown table": ("[suit]\nseeds = 1", "unknown key in the profile"),
    "unknown key": ("[evaluation]\nrollouts = 5\nrollout = 3", "did you mean 'evaluation.rollouts'"),
    "missing table": ("", "suite is missing"),
    "wrong type": ("[suite]\nseeds = 'two'\ndemonstrations = [1]", "suite.seeds = 'two'"),
    "out of range": ("[suite]\nseeds = 0\ndemonstrations = [1]", "suite.seeds = 0"),
    "no TOML": ("[suite", "cannot be read"),
    "a table in a value's place": ('extends = "quick"\n[suite.seeds]\na = 1', "suite.seeds"),
}


@pytest.mark.parametrize("case", BAD_PROFILES)
def test_a_wrong_profile_is_refused_by_name(tmp_path: Path, case: str) -> None:
    text, said = BAD_PROFILES[case]
    path = tmp_path / "own.toml"
    path.write_text(f'summary = "mine"\n{text}')
    with pytest.raises(InputError) as refused:
        profiles.load(str(path))
    assert said in str(refused.value) and "own.toml" in str(refused.value)


def test_tasks_override_methods_override_defaults(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'summary = "mine"\n[suite]\nseeds = 1\ndemonstrations = [1]\n[evaluation]\nrollouts = 1\n'
        "[budget.default]\nenvironment_steps = 1\npolicy_updates = 2\n[budget.bc]\npolicy_updates = 3\n"
        "[budget.bc.peg]\npolicy_updates = 4\n[settings.bc]\nl2 = 0.1\nbatch_size = 8\n[settings.bc.peg]\nl2 = 0.2\n"
    )
    profile = profiles.load(str(path))
    updates = [profile.budget_of(*place, {}).policy_updates for place in (("x", "peg"), ("bc", "clip"), ("bc", "peg"))]
    assert updates == [2, 3, 4]
    assert profile.budget_of("bc", "peg", {"policy_updates": 5}) == BudgetChoice(environment_steps=1, policy_updates=5)
    assert profile.settings_of("bc", "clip") == {"l2": 0.1, "batch_size": 8}
    assert profile.settings_of("bc", "peg") == {"l2": 0.2, "batch_size": 8}


OWN = profiles.load("smoke").model_copy(update={"name": "own", "settings": {}, "seconds": {}})


@pytest.mark.parametrize("task", ["clip", "ClipInsertion-v0", "envs:ClipInsertion-v0"])
@pytest.mark.parametrize("table", ["clip", "ClipInsertion-v0"])
def test_a_tasks_table_may_have_any_of_its_names(table: str, task: str) -> None:
    profile = OWN.model_copy(
        update={"settings": {"bc": {table: {"l2": 0.2}}}, "budget": OWN.budget | {"bc": {table: {"policy_updates": 7}}}}
    )
    assert profile.settings_of("bc", task) == {"l2": 0.2}
    assert profile.budget_of("bc", task, {}).policy_updates == 7
    assert profile.settings_of("bc", "peg") == {}


def test_a_setting_may_have_the_name_of_a_task() -> None:
    profile = OWN.model_copy(update={"settings": {"mine": {"clip": 0.5, "peg": {"clip": 0.1}}}})
    assert profile.settings_of("mine", "clip") == {"clip": 0.5}
    assert profile.settings_of("mine", "peg") == {"clip": 0.1}


STRAY = {
    "task": (
        {"budget": {"gpril": {"clp": {}}}},
        "unknown task in budget.gpril of profile own 'clp'; did you mean 'clip'",
    ),
    "task by default": ({"budget": {"default": {"pge": {}}}}, "unknown task in budget.default of profile own 'pge'"),
    "method's settings": (
        {"settings": {"gial": {}}},
        "unknown method in settings of profile own 'gial'; did you mean 'gail'",
    ),
    "method's budget": (
        {"budget": {"gprl": {}}},
        "unknown method in budget of profile own 'gprl'; did you mean 'gpril'",
    ),
    "method's seconds": ({"seconds": {"gprl": 1.0}}, "unknown method in seconds of profile own 'gprl'"),
    "method's place": ({"settings": {"mine.py:Mine": {}}}, "give the `name` that its class has"),
}


@pytest.mark.parametrize("case", STRAY)
def test_tables_for_what_cannot_be_are_refused(case: str) -> None:
    tables, said = STRAY[case]
    with pytest.raises(InputError) as refused:
        plan(Request(OWN.model_copy(update=tables), (EXPERIMENTS["compare"],)))
    assert said in str(refused.value)


def test_tables_for_other_runs_are_left_alone_with_a_line() -> None:
    tables = {"mine": {"a": 1}, "gail-2": {}, "bc": {"Own-v0": {}, "some.where:Own-v0": {}, "PegInsertion-v0": {}}}
    request = Request(OWN.model_copy(update={"settings": tables}), (EXPERIMENTS["compare"],))
    assert plan(request).notices == [
        "ignored unknown tables in profile own: "
        "settings.mine, settings.gail-2, settings.bc.Own-v0, settings.bc.some.where:Own-v0"
    ]
