"""From requests to trials: everything resolved, every combination once, ids that mean something."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import envs
from benchmarks.errors import InputError
from benchmarks.paper import Experiment, Variant
from benchmarks.planning import ablations, experiments, profiles, trials
from benchmarks.planning.estimate import Estimator
from benchmarks.planning.trials import PlannedTrial, Request, parse_changes
from benchmarks.records.schema import Trial
from methods import registry
from methods.action_inference import infer_actions
from methods.bc import BehaviouralCloning
from methods.bc import Settings as BcSettings
from methods.conformance.context import PlainContext
from methods.conformance.point_task import demonstrate
from methods.interface import Budget, MethodError
from tests.benchmarks.fakes import METHOD

QUICK = profiles.load("quick")
COMPARE = experiments.EXPERIMENTS["compare"]
PLACEBO = experiments.EXPERIMENTS["placebo"]


def request(*chosen: Experiment, **changes: object) -> Request:
    return dataclasses.replace(Request(QUICK, chosen or (COMPARE,)), **changes)  # type: ignore[arg-type]


def plan(asked: Request) -> list[PlannedTrial]:
    return trials.plan(asked).trials


def notices(asked: Request) -> list[str]:
    return trials.plan(asked).notices


def labels(planned: list[PlannedTrial]) -> list[str]:
    return list(dict.fromkeys(item.row.label for item in planned))


def test_the_default_compares_three_methods_on_two_tasks() -> None:
    planned = plan(request())
    assert labels(planned) == ["GPRIL", "GAIL", "BC"]
    assert list(dict.fromkeys(item.trial.task for item in planned)) == ["ClipInsertion-v0", "PegInsertion-v0"]
    assert len({item.row.trial for item in planned}) == len(planned) == 2 * 3 * QUICK.suite.seeds


def test_a_grid_has_every_combination_once() -> None:
    planned = plan(request(methods=("bc",), tasks=("peg",), demonstrations=(5, 10), seeds=3))
    assert [(t.trial.demonstrations.episodes, t.trial.seed) for t in planned] == [
        (n, s) for n in (5, 10) for s in range(3)
    ]
    assert [item.row.trial for item in planned] == [item.trial.id for item in planned]


def test_seeds_count_from_the_first_that_is_asked_for() -> None:
    planned = plan(request(methods=("bc",), tasks=("peg",), demonstrations=(5,), seeds=2, first_seed=7))
    assert [(t.trial.seed, t.trial.demonstrations.draw_seed) for t in planned] == [(7, 7), (8, 8)]


def test_every_setting_is_spelled_out_and_changed_ones_are_in_the_label() -> None:
    changes = parse_changes(["bc.l2=0.5", "bc.l2_grid=[0, 1]", "budget.policy_updates=77", "evaluation.rollouts=3"])
    (item,) = plan(request(methods=("bc",), tasks=("peg",), seeds=1, changes=changes))
    settings = item.trial.settings
    assert set(settings) == {field.name for field in dataclasses.fields(BcSettings)}
    assert (settings["l2"], settings["l2_grid"]) == (0.5, [0.0, 1.0])
    assert item.trial.budget.policy_updates == 77 and item.trial.evaluation.rollouts == 3
    suffix = " (l2=0.5, l2_grid=[0, 1], budget.policy_updates=77, evaluation.rollouts=3)"
    assert item.row.label == f"BC{suffix}" and (item.row.variant, item.row.base) == (f"bc{suffix}", "bc")


def test_text_may_hold_what_separates_settings() -> None:
    assert parse_changes(["mine.path=data/a=b,c"]) == {"mine": {"path": "data/a=b,c"}}


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("l2=0.5", "write it as METHOD.SETTING=VALUE"),
        ("bc.l2=0.5,bc.decay=true", "it changes one setting; repeat --set"),
        ("bc.l2=0.1", "--set bc.l2 is given twice"),
    ],
)
def test_changes_of_another_form_are_refused_with_the_right_one(assignment: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_changes(["bc.l2=0.1", assignment])


def test_a_profile_may_have_settings_of_a_method_of_ones_own() -> None:
    profile = QUICK.model_copy(update={"settings": {"linear": {"episodes": 5}}})
    (notice,) = notices(request(profile=profile))
    assert "ignored unknown tables in profile quick: settings.linear" in notice
    assert notices(request(profile=profile, methods=(METHOD,), tasks=("peg",))) == []
    mine = plan(request(profile=profile, methods=(METHOD,), tasks=("peg",), seeds=1))
    assert mine[0].trial.settings["episodes"] == 5


def test_ids_tell_apart_whatever_can_change_the_outcome() -> None:
    (item,) = plan(request(methods=("bc",), tasks=("peg",), seeds=1))
    trial = item.trial
    others = [
        trial.model_copy(update=update)
        for update in (
            {"seed": 1},
            {"device": "cuda"},
            {"settings": {**trial.settings, "l2": 0.3}},
            {"budget": trial.budget.model_copy(update={"policy_updates": 1})},
            {"evaluation": trial.evaluation.model_copy(update={"first_seed": 2})},
            {"demonstrations": trial.demonstrations.model_copy(update={"every": 2})},
        )
    ]
    assert len({trial.id, *(other.id for other in others)}) == 7
    assert Trial.model_validate_json(trial.model_dump_json()).id == trial.id
    assert plan(request(methods=("bc",), tasks=("peg",), seeds=1))[0].row.trial == trial.id


def test_a_setting_declared_neutral_keeps_the_ids_of_earlier_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = plan(request(methods=("bc",), tasks=("peg",), seeds=1))
    more = dataclasses.make_dataclass(
        "More",
        [("later", int, dataclasses.field(default=3, metadata={"neutral": True}))],
        bases=(BcSettings,),
        frozen=True,
    )
    monkeypatch.setattr(BehaviouralCloning, "Settings", more)
    (after,) = plan(request(methods=("bc",), tasks=("peg",), seeds=1))
    assert after.row.trial == before.row.trial
    (changed,) = plan(request(methods=("bc",), tasks=("peg",), seeds=1, changes={"bc": {"later": 4}}))
    assert changed.row.trial != before.row.trial and changed.trial.settings["later"] == 4
    (default,) = plan(request(methods=("bc",), tasks=("peg",), seeds=1, changes={"bc": {"later": 3}}))
    assert default.row.trial == before.row.trial


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, b"x"])
def test_settings_that_are_no_json_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    settings = dataclasses.make_dataclass("Odd", [("place", Any, dataclasses.field(default_factory=lambda: value))])
    monkeypatch.setattr(BehaviouralCloning, "Settings", settings)
    monkeypatch.setattr(BehaviouralCloning, "requires_actions", classmethod(lambda cls, settings: True))
    with pytest.raises(InputError, match=r"bc\.place is a .*; settings are stored as JSON"):
        plan(request(profile=QUICK.model_copy(update={"settings": {}}), methods=("bc",), tasks=("peg",), seeds=1))


def test_a_method_that_cannot_say_what_it_needs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BehaviouralCloning, "requires_actions", classmethod(lambda cls, settings: settings.depth))
    with pytest.raises(InputError, match=r"bc: requires_actions failed \(AttributeError: .*depth'\)"):
        plan(request(methods=("bc",), tasks=("peg",), seeds=1))


def test_labels_that_a_change_makes_the_same_trials_are_pointed_out() -> None:
    sweep = request(experiments.EXPERIMENTS["bc-l2"], seeds=2, demonstrations=(10, 25))
    assert notices(sweep) == []
    changed = dataclasses.replace(sweep, changes={"bc": {"l2": 0.5}})
    (notice,) = notices(changed)
    assert notice.startswith("bc-l2, clip: 'BC, L2 0 (l2=0.5)' and 'BC, L2 0.0001 (l2=0.5)' and ")
    assert notice.endswith(" are the same trials")


def test_the_placebo_changes_gprils_control_alone() -> None:
    planned = plan(request(PLACEBO, tasks=("peg",), seeds=1))
    controls = {item.row.label: item.trial.settings.get("control") for item in planned}
    assert controls == {
        "GPRIL": "none",
        "GPRIL, shuffled targets": "shuffled",
        "GPRIL, self-imitation": "self",
        "BC": None,
    }
    base = {**planned[0].trial.settings, "control": None}
    assert all({**item.trial.settings, "control": None} == base for item in planned[:3])


@pytest.mark.parametrize("experiment", ablations.ABLATIONS, ids=lambda experiment: experiment.name)
def test_an_ablation_changes_its_base_by_what_it_says(experiment: Experiment) -> None:
    first = {item.row.variant: item for item in reversed(plan(request(experiment, seeds=1, demonstrations=(10,))))}
    for variant in experiment.variants:
        base = first.get(variant.base)
        if base is None:
            continue
        preset = QUICK.presets[variant.preset].settings if variant.preset else {}
        mine, theirs = first[variant.key].trial.settings, base.trial.settings
        changed = {key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)}  # neutral defaults are absent
        assert changed <= set(variant.settings) | set(preset)


def test_variants_have_one_meaning() -> None:
    """Claims, figures and styles find a variant by its key, so a key stands for one variant in all experiments."""
    everywhere = [variant for experiment in experiments.EXPERIMENTS.values() for variant in experiment.variants]
    by_key = {variant.key: variant for variant in everywhere}
    for variant in everywhere:
        assert by_key[variant.key] == variant and (not variant.base or variant.base in by_key)
        assert variant.label.startswith(registry.resolve(variant.method).display_name)
    for experiment in experiments.EXPERIMENTS.values():
        keys = {variant.key for variant in experiment.variants}
        for claim in experiment.claims:
            assert set(claim.variants) <= keys, claim.text
            assert claim.task in ("", *(envs.TASKS[task] for task in experiment.tasks)), claim.text


def test_a_preset_of_the_profile_serves_the_variants_that_ask_for_it() -> None:
    figure = experiments.EXPERIMENTS["fig1d"]
    with_presets = plan(request(figure, seeds=1, methods=("gail",), demonstrations=(10,)))
    without = plan(
        request(
            figure, seeds=1, methods=("gail",), demonstrations=(10,), profile=QUICK.model_copy(update={"presets": {}})
        )
    )
    (states, alike, plain), (bare, _, same) = ([item.trial for item in planned] for planned in (with_presets, without))
    assert plain == same and states.settings["kl"] == 0.05 and states.budget.environment_steps == 500_000
    assert bare.settings["kl"] == plain.settings["kl"] and bare.budget == plain.budget
    assert (alike.settings["kl"], alike.budget, alike.settings["warm_start"]) == (0.05, states.budget, 0)
    assert alike.settings["use_actions"] and not alike.demonstrations.states_alone, "it differs in the actions alone"
    assert not bare.settings["use_actions"] and bare.demonstrations.states_alone, "what the figure is about stays"
    changed = plan(request(figure, seeds=1, methods=("gail",), changes={"gail": {"kl": 0.5}}))
    assert {item.trial.settings["kl"] for item in changed} == {0.5}
    misspelt = QUICK.model_copy(update={"presets": {"gail-tunes": QUICK.presets["gail-tuned"]}})
    with pytest.raises(InputError, match="gail-tuned"):
        plan(request(profile=misspelt))


def test_every_seed_draws_its_own_demonstrations_from_the_profiles_pool() -> None:
    tuning, quick = (profiles.load(name) for name in ("tuning", "quick"))
    planned = plan(request(profile=tuning, methods=("bc", "gpril"), tasks=("peg",), demonstrations=(50,)))
    choices = [item.trial.demonstrations for item in planned]
    assert {(choice.start, choice.stop) for choice in choices} == {(50, 100)}
    assert [item.trial.seed for item in planned] == [100, 101, 102, 103, 104] * 2
    assert [choice.draw_seed for choice in choices] == [100, 101, 102, 103, 104] * 2, "the same for every method"
    compared = plan(request(profile=quick, methods=("bc",), tasks=("peg",), seeds=1))
    assert [(c.start, c.stop) for c in (item.trial.demonstrations for item in compared)] == [(0, 50)]
    with pytest.raises(InputError, match=r"--demos 51: .* has 100 demonstrations, of which profile tuning uses 50"):
        plan(request(profile=tuning, methods=("bc",), demonstrations=(51,)))


def test_without_a_pool_all_seeds_learn_from_the_first_episodes() -> None:
    profile = QUICK.model_copy(update={"suite": QUICK.suite.model_copy(update={"pool": None})})
    planned = plan(request(profile=profile, methods=("bc",), tasks=("peg",), demonstrations=(100,)))
    choices = {item.trial.demonstrations for item in planned}
    assert [(c.start, c.stop, c.draw_seed, c.episodes) for c in choices] == [(0, None, None, 100)]


def test_experiments_share_their_trials() -> None:
    planned = plan(request(COMPARE, PLACEBO, seeds=1))
    shared = {item.row.trial for item in planned if item.row.experiment == "compare"}
    shared &= {item.row.trial for item in planned if item.row.experiment == "placebo"}
    assert len(shared) == 4, "gpril and bc on both tasks"


def test_a_figure_has_the_papers_seeds_where_the_profile_says_so() -> None:
    standard, quick = profiles.load("standard"), profiles.load("quick")
    figure = experiments.EXPERIMENTS["fig1b"]
    for profile, asked, seeds in ((standard, None, 8), (standard, 3, 3), (quick, None, 5)):
        planned = plan(request(figure, profile=profile, seeds=asked, methods=("bc",), demonstrations=(10,)))
        assert [item.trial.seed for item in planned if item.row.variant == "bc"] == list(range(seeds))


def test_a_variant_may_have_a_budget_of_its_own() -> None:
    figure = experiments.EXPERIMENTS["fig1c"]
    planned = plan(request(figure, profile=profiles.load("standard"), seeds=1, methods=("gail",)))
    steps = {item.row.label: item.trial.budget.environment_steps for item in planned}
    assert steps["GAIL, 40k environment steps"] == 40_000 and steps["GAIL"] == 160_000
    changed = plan(request(figure, seeds=1, methods=("gail",), changes={"budget": {"environment_steps": 70_000}}))
    assert {item.trial.budget.environment_steps for item in changed} == {70_000}


def test_the_papers_figures_share_their_trials() -> None:
    names = ("fig1b", "fig1c", "fig1d", "fig2c", "fig2d", "fig2e")
    planned = plan(request(*(experiments.EXPERIMENTS[name] for name in names), profile=profiles.load("standard")))
    trials = {name: {item.row.trial for item in planned if item.row.experiment == name} for name in names}
    for other in ("fig2d", "fig2e"):
        assert len(trials["fig2c"] & trials[other]) == 3 * 5, "with 25 demonstrations, and half of the seeds"
    assert len(trials["fig1b"] & trials["fig1d"]) == 3 * 4 * 8, "the three methods as they are"
    assert len(trials["fig1b"] & trials["fig1c"]) == 2 * 8, "GPRIL and GAIL as they are, with 10 demonstrations"


def test_methods_and_tasks_narrow_an_experiment() -> None:
    planned = plan(request(PLACEBO, methods=("bc", "gail"), tasks=("PegInsertion-v0",), seeds=1))
    assert labels(planned) == ["BC"] and {item.trial.task for item in planned} == {"PegInsertion-v0"}
    with pytest.raises(InputError, match="compares gpril, bc; --methods leaves none"):
        plan(request(PLACEBO, methods=("gail",)))
    clip_only = dataclasses.replace(PLACEBO, tasks=("clip",))
    with pytest.raises(InputError, match=r"about ClipInsertion-v0; --tasks asks for others"):
        plan(request(clip_only, tasks=("peg",)))


def test_demonstration_options_of_a_variant_reach_the_trial() -> None:
    states = Experiment(
        "states",
        "",
        (
            Variant("tenth", "every tenth", "gpril", {"beta_pi": 0.0, "warm_start": 0}, every=10, states_alone=True),
            Variant("final", "final", "gpril", {"beta_pi": 0.0, "warm_start": 0}, final_only=True),
        ),
        tasks=("peg",),
        demonstrations=(25,),
    )
    tenth, final = (item.trial.demonstrations for item in plan(request(states, seeds=1)))
    assert (tenth.every, tenth.states_alone, tenth.episodes) == (10, True, 25)
    assert final.final_only
    needing = dataclasses.replace(states, variants=(Variant("bc", "BC", "bc", states_alone=True),))
    with pytest.raises(InputError, match="needs the demonstrated actions"):
        plan(request(needing))


def test_methods_that_need_actions_are_refused_where_a_task_shows_none() -> None:
    needs, inferred = (
        "physical-fixed: its demonstrations hold no actions, and",
        "infer actions with --actions inferred, or ",
    )
    changed, out = (
        r"change its settings with --set \(docs/faq.md says which of ours\), or ",
        "leave it out with --methods$",
    )
    for method, message in {
        "bc": f"bc needs them; {inferred}{out}",
        "gail": f"gail with these settings needs them; {inferred}{changed}{out}",
        "dagger": f"dagger needs them; {out}",  # it queries a demonstrator
    }.items():
        with pytest.raises(InputError, match=f"^{needs} {message}"):
            plan(request(methods=(method,), tasks=("physical-fixed",)))
        with pytest.raises(InputError, match=f"states only: {message.replace('them', 'the demonstrated actions')}"):
            plan(request(methods=(method,), tasks=("physical-fixed",), actions="none"))
    placebo = dataclasses.replace(PLACEBO, tasks=("physical-fixed",))
    with pytest.raises(InputError, match="infer actions with --experiment compare --actions inferred, or"):
        plan(request(placebo, methods=("bc",)))
    planned = plan(request(experiments.EXPERIMENTS["fig2f"]))
    assert {item.trial.task for item in planned} == {envs.TASKS["physical-fixed"], envs.TASKS["physical-varying"]}
    assert {item.trial.demonstrations.episodes for item in planned} == {20}


@pytest.mark.parametrize("shown", [{}, {"every": 3}, {"final_only": True}])
def test_inferring_is_offered_exactly_where_it_is_not_refused(shown: dict[str, Any], tmp_path: Path) -> None:
    demonstrations = demonstrate(2, seed=0).subset(**shown)
    refused = nullcontext() if not shown else pytest.raises(MethodError, match="needs every state")
    with refused:
        infer_actions(demonstrations, PlainContext(Budget(200, 1), 0, tmp_path))
    assert trials._shows_every_state(demonstrations) == (not shown)


def test_inferring_is_not_offered_where_states_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trials.load_task(envs.TASKS["physical-fixed"])
    monkeypatch.setattr(trials, "load_task", lambda task: dataclasses.replace(whole, time_step=2 * whole.time_step))
    with pytest.raises(InputError, match="and bc needs them; leave it out"):
        plan(request(methods=("bc",), tasks=("physical-fixed",)))


def test_the_field_has_every_method_and_each_way_of_learning_from_states() -> None:
    """What is compared follows from what methods say they need, so a new one joins by itself."""
    field, states, physical = experiments.FIELD
    planned = plan(request(field, states, physical, profile=profiles.load("field"), seeds=1))
    of = {each.name: [item for item in planned if item.row.experiment == each.name] for each in experiments.FIELD}
    needing = {name for name in registry.BUILT_IN if registry.resolve(name).needs_actions}
    assert {item.trial.method for item in of["field"]} == needing
    assert {item.trial.method for item in of["field-states"]} >= set(registry.BUILT_IN) - needing | {"gpril", "gail"}
    assert not any(item.trial.demonstrations.states_alone for item in of["field"])
    assert all(item.trial.demonstrations.states_alone for item in of["field-states"] + of["field-physical"])
    inferring = {item.trial.method for item in of["field-states"] if item.trial.demonstrations.inference_steps}
    assert inferring == {"gpril", "dac", "gail", "act", "diffusion"}
    own_way = [item for item in of["field-states"] if item.row.variant == "gpril/states"]
    assert own_way[0].trial.settings["beta_pi"] == 0.0 and not own_way[0].trial.demonstrations.inference_steps
    assert {item.trial.demonstrations.episodes for item in planned} == {10, 25}
    assert all(item.trial.evaluation.rollouts == 100 for item in planned)
    assert {item.trial.task for item in of["field-physical"]} == {envs.TASKS["physical-hard"]}


def test_an_ablation_of_the_field_changes_something_and_shares_what_it_does_not_change() -> None:
    """Each change makes trials of its own; a method as tuned has the same trials as in the comparison."""
    profile = profiles.load("field")
    compared = {item.trial.id for item in plan(request(experiments.FIELD[0], profile=profile))}
    planned = plan(request(experiments.FIELD_ABLATION, profile=profile))
    assert len({item.trial.id for item in planned}) == len(planned)
    for item in planned:
        assert (item.trial.id in compared) == (not item.row.base)
    controls = {"bc", "knn", "dagger"}  # BC is the control of DAgger, and nothing is left of the others
    needing = {name for name in registry.BUILT_IN if registry.resolve(name).needs_actions}
    assert {item.trial.method for item in planned} == needing - controls


def test_methods_without_a_chance_are_tried_on_fewer_tasks_and_never_with_fewer_seeds() -> None:
    for each in experiments.EXPERIMENTS.values():
        assert set(each.fewer_tasks) <= {variant.key for variant in each.variants}
        assert all(set(tasks) < set(each.tasks) for tasks in each.fewer_tasks.values())
    for each in experiments.FIELD[:2]:
        cells: dict[tuple[str, str, int], set[int]] = {}
        for item in plan(request(each, profile=profiles.load("field"))):
            trial = item.trial
            cells.setdefault((item.row.variant, trial.task, trial.demonstrations.episodes), set()).add(trial.seed)
        assert set(map(len, cells.values())) == {5}
        tried = {key: {task for variant, task, _ in cells if variant == key} for key, *_ in cells}
        fewer = {key for key, tasks in tried.items() if len(tasks) < 4}
        assert fewer == set(each.fewer_tasks) and all(len(tried[key]) == 2 for key in fewer)
    with pytest.raises(InputError, match="'field-states' has none of the chosen methods on clip-hard"):
        plan(request(experiments.FIELD[1], methods=("gaifo",), tasks=("clip-hard",)))


def test_the_plan_of_computing_time_holds() -> None:
    """docs/compute-plan.md: at most 40 core-hours for the field."""
    profile = profiles.load("field")
    assert set(profile.seconds) >= set(registry.BUILT_IN) and set(profiles.load("tuning").seconds) >= set(
        registry.BUILT_IN
    )
    estimator = Estimator(profile, [])
    planned = {item.trial.id: item.trial for item in plan(request(*experiments.FIELD, profile=profile))}
    assert sum(map(estimator.seconds, planned.values())) < 40 * 3600


def test_slices_of_the_field_are_parts_of_it() -> None:
    """Run one after the other into one folder, they are the whole."""
    field, profile = experiments.FIELD[0], profiles.load("field")
    whole = [item.row for item in plan(request(field, profile=profile))]
    slices = [
        item.row
        for task in field.tasks
        for number in (10, 25)
        for methods in (("gpril", "bc"), tuple(name for name in registry.BUILT_IN if name not in ("gpril", "bc")))
        for item in plan(request(field, profile=profile, tasks=(task,), demonstrations=(number,), methods=methods))
    ]
    assert sorted(slices, key=str) == sorted(whole, key=str)
