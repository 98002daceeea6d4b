"""Profiles are complete and valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import InputError
from benchmarks.planning import profiles
from benchmarks.planning.experiments import EXPERIMENTS
from benchmarks.planning.trials import Request, plan
from benchmarks.records.schema import BudgetChoice
from methods import registry


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
    assert tuning.settings == quick.settings
    assert tuning.budget == {**quick.budget, "gaifo": profiles.load("field").budget["gaifo"]}
    seen: dict[str, set[tuple[str, int]]] = {}
    for profile in (quick, tuning):
        seen[profile.name] = {
            place
            for trial in (item.trial for item in plan(Request(profile, (EXPERIMENTS["compare"],))).trials)
            for place in (
                ("seed", trial.seed),
                *(("demonstration", trial.demonstrations.start + i) for i in range(trial.demonstrations.episodes)),
                *(("rollout", trial.evaluation.first_seed + i) for i in range(trial.evaluation.rollouts)),
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
    "a budget of no method": (
        'extends = "quick"\n[budget]\npolicy_updates = 50',
        "budget.policy_updates = 50: a table [budget.METHOD] or [budget.default] is needed",
    ),
    "settings of no method": ('extends = "quick"\n[settings]\nkl = 1', "settings.kl = 1: a table [settings.METHOD]"),
    "a value in a table's place": ('extends = "quick"\nbudget = 3', "budget = 3: a table [budget.METHOD] or"),
    "a value in the suite's place": ('extends = "quick"\nsuite = 3', "suite = 3: a table [suite] is needed"),
    "a preset without settings": ('extends = "quick"\n[presets]\nx = 1', "presets.x = 1: a table [presets.NAME.set"),
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
