"""Robot insertion tasks for imitation learning, after sections 4.1 to 4.3 of Schroecker et al. (ICLR 2019).

Importing this package registers the tasks with Gymnasium and nothing else: MuJoCo is loaded by `gymnasium.make`.
"""

from envs.interrupts import end_quietly_while_importing

end_quietly_while_importing()

from gymnasium.envs.registration import register, registry  # noqa: E402

TASKS = {
    "clip": "ClipInsertion-v0",
    "peg": "PegInsertion-v0",
    "physical-fixed": "PhysicalPegInsertionFixed-v0",
    "physical-varying": "PhysicalPegInsertionVarying-v0",
    "clip-hard": "ClipInsertionHard-v0",
    "peg-hard": "PegInsertionHard-v0",
    "physical-hard": "PhysicalPegInsertionHard-v0",
}
"""Short name -> Gymnasium id."""
PAPER_TASKS = {name: TASKS[name] for name in ("clip", "peg")}
"""The paper's simulated tasks, sections 4.1 and 4.2."""
WITH_ACTIONS = {name: TASKS[name] for name in ("clip", "peg", "clip-hard", "peg-hard")}
"""Those demonstrated with actions; the others are taught by hand, which shows states alone."""

_SINGLE = {
    "clip": "envs.insertion.clip:ClipInsertionEnv",
    "peg": "envs.insertion.peg:PegInsertionEnv",
    "physical-fixed": "envs.insertion.physical:PhysicalPegInsertionFixedEnv",
    "physical-varying": "envs.insertion.physical:PhysicalPegInsertionVaryingEnv",
    "clip-hard": "envs.insertion.hard:ClipInsertionHardEnv",
    "peg-hard": "envs.insertion.hard:PegInsertionHardEnv",
    "physical-hard": "envs.insertion.hard:PhysicalPegInsertionHardEnv",
}
_VECTOR = {
    "clip": "envs.insertion.vector:ClipInsertionVectorEnv",
    "peg": "envs.insertion.vector:PegInsertionVectorEnv",
    "physical-fixed": "envs.insertion.physical:PhysicalPegInsertionFixedVectorEnv",
    "physical-varying": "envs.insertion.physical:PhysicalPegInsertionVaryingVectorEnv",
    "clip-hard": "envs.insertion.hard:ClipInsertionHardVectorEnv",
    "peg-hard": "envs.insertion.hard:PegInsertionHardVectorEnv",
    "physical-hard": "envs.insertion.hard:PhysicalPegInsertionHardVectorEnv",
}


def register_tasks() -> None:
    """Register every task of TASKS with Gymnasium; may be called more than once.

    The environments check their own input and end their own episodes (section 4.1: after 50 s), so Gymnasium's
    wrappers for that are left out. There is no `gymnasium.envs` plug-in, which would run in every program that imports
    Gymnasium: `import envs`, or name a task as "envs:ClipInsertion-v0".
    """
    for name, task in TASKS.items():
        if task not in registry:
            register(
                id=task,
                entry_point=_SINGLE[name],
                vector_entry_point=_VECTOR[name],
                order_enforce=False,
                disable_env_checker=True,
            )


register_tasks()
