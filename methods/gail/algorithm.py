"""Generative adversarial imitation learning (Ho & Ermon, 2016): `imitation`'s GAIL on sb3-contrib's TRPO.

`discriminator.py` has the discriminator and the rewards, `trpo.py` the policy optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt
from stable_baselines3.common.vec_env import VecEnv

from envs.demonstrations import Demonstrations
from methods.gail.discriminator import (
    DeferredRewards,
    DemonstratedBatches,
    Discriminator,
    Regularisation,
    RegularisedGail,
    Terminal,
)
from methods.gail.trpo import SubsampledTRPO
from methods.interface import Diverged, FitContext, Method, MethodError, State
from methods.policy import SIGMA_BOUNDS, GaussianPolicy, SigmaBounds, new_network
from methods.registry import register
from methods.sb3_policy import SharedPolicy, quiet_logger
from methods.warm_start import warm_start

SEARCH = {
    "gamma": {"choices": [0.9, 0.97, 0.99, 0.995]},
    "kl": {"low": 3e-3, "high": 3e-2, "log": True},
    "actor_steps": {"choices": [1, 3, 5]},
    "discriminator_steps": {"low": 1, "high": 20, "log": True},
    "discriminator_learning_rate": {"low": 3e-5, "high": 3e-3, "log": True},
    "gradient_penalty": {"choices": [0.0, 0.1, 1.0, 10.0]},
    "entropy": {"choices": [0.0, 1e-3, 1e-2, 0.1, 1.0]},
    "critic_learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
    "scale_rewards": {"choices": [False, True]},
}
"""What tuning may try: the paper's values with room about them, and kinds of regularisation that Orsini et al., 2021,
"What Matters for Adversarial Imitation Learning?", compare."""

LIBRARY_SCALARS = {"kl": "kl_divergence_loss", "critic_loss": "value_loss"}
"""Reported name -> name of the diagnostic in sb3-contrib's logger."""


@dataclass(frozen=True)
class Settings:
    """Settings of GAIL.

    In the paper (section 4.1, appendix B, tables b and e):
        processes: environments stepped side by side.
        batch_size: steps in each of them per iteration of TRPO.
        actor_steps: iterations of TRPO, each on fresh steps, between two updates of the discriminator. (The value is
            lost in the text of the tables; 3 is the cited implementation's default.)
        discriminator_steps: updates of the discriminator then. (Lost as well; the cited default is 1.)
        gamma: discount.
        kl: bound of the policy's mean divergence in an iteration.
        discriminator_hidden, discriminator_learning_rate: its hidden layers (tanh), and Adam's rate.
        entropy: weight of the mean entropy of the discriminator's predictions, which is maximised: the cited
            implementation's `entcoeff`. 1 keeps predictions below about 0.9. (Legible for the peg only.)
        critic_hidden, critic_learning_rate: the critic's hidden layers (tanh), and Adam's rate.
        sigma_bounds: lowest and highest sigma of the policy; see the same setting of GPRIL.
        terminal: what follows the end of an episode, see `Terminal`. The paper bootstraps regardless of termination and
            does not say from which state: "always" and "chain" are the two readings.
        use_actions: the discriminator sees pairs of state and action; false shows it states alone and needs no
            demonstrated actions.
        transitions: the discriminator sees pairs of state and next state instead, which is GAIfO; needs use_actions
            false. A departure, off by default.

    In the cited implementation (openai/baselines), where the paper is silent:
        gae_lambda: decay of generalised advantage estimation.
        discriminator_batch: rows of either kind in its update.
        critic_passes, critic_batch: passes of the critic over an iteration's steps, and rows in its update (there 128
            in each of the processes, whose gradients are averaged).
        cg_steps: steps of conjugate gradients.
        fisher_every: the Fisher matrix is estimated on every n-th step.

    Departures from the paper, all off by default:
        gradient_penalty: see `Regularisation`.
        compress: compress normalised observations logarithmically for the discriminator beyond this many standard
            deviations, as GPRIL does for its models; 0 is off.
        scale_rewards: multiply rewards by 1 - gamma, so that values are of order one, as those of an untrained critic.
            (The policy's step does not depend on the scale.)
        warm_start: updates of behavioural cloning before the first iteration, at most the budget's policy updates.
        warm_start_learning_rate, warm_start_l2, warm_start_decay: its settings, see `methods.bc.Settings`.
        warm_start_sigma: the policy's sigma after it, so that rollouts explore; 0 keeps what cloning left.
    """

    processes: Annotated[int, Ge(1)] = 16
    batch_size: Annotated[int, Ge(2)] = 256
    actor_steps: Annotated[int, Ge(1)] = 3
    discriminator_steps: Annotated[int, Ge(1)] = 1
    gamma: Annotated[float, Ge(0.0), Lt(1.0)] = 0.995
    kl: Annotated[float, Gt(0.0)] = 0.01
    discriminator_hidden: tuple[int, ...] = (150, 100)
    discriminator_learning_rate: Annotated[float, Gt(0.0)] = 1e-4
    entropy: Annotated[float, Ge(0.0)] = 1.0
    critic_hidden: tuple[int, ...] = (300, 200)
    critic_learning_rate: Annotated[float, Gt(0.0)] = 5e-3
    sigma_bounds: SigmaBounds = field(default=SIGMA_BOUNDS, metadata={"neutral": True})
    terminal: Terminal = "always"
    use_actions: bool = True
    transitions: bool = field(default=False, metadata={"neutral": True})

    gae_lambda: Annotated[float, Ge(0.0), Le(1.0)] = 0.97
    discriminator_batch: Annotated[int, Ge(1)] = 4096
    critic_passes: Annotated[int, Ge(1)] = 5
    critic_batch: Annotated[int, Ge(1)] = 2048
    cg_steps: Annotated[int, Ge(1)] = 10
    fisher_every: Annotated[int, Ge(1)] = 5

    gradient_penalty: Annotated[float, Ge(0.0)] = 0.0
    compress: Annotated[float, Ge(0.0)] = 0.0
    scale_rewards: bool = False
    warm_start: Annotated[int, Ge(0)] = 0
    warm_start_learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    warm_start_l2: Annotated[float, Ge(0.0)] = 1e-4
    warm_start_decay: bool = False
    warm_start_sigma: Annotated[float, Ge(0.0)] = 0.0


@register
class Gail(Method):
    """GAIL; see `Settings` for what follows the paper.

    Episodes differ in length, of which `imitation` warns: positive rewards then favour long episodes and negative ones
    short episodes. The setting `terminal` deals with that, so the library is told to allow it.
    """

    name: ClassVar[str] = "gail"
    display_name = "GAIL"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "adversarial imitation (Ho & Ermon, 2016) through imitation's GAIL and sb3-contrib's TRPO"
    small: ClassVar[Mapping[str, Any]] = {"processes": 4, "batch_size": 64, "critic_batch": 128}

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        return settings.use_actions or settings.warm_start > 0

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        s, steps = self.settings, context.budget.environment_steps
        if s.transitions and s.use_actions:
            raise MethodError(
                f"{self.name}.transitions and {self.name}.use_actions exclude each other; set one to false"
            )
        if steps < s.processes * s.batch_size:
            raise MethodError(
                f"a budget of {steps} environment steps is less than one iteration of {s.processes} x {s.batch_size}; "
                f"raise it, or lower {self.name}.processes or {self.name}.batch_size"
            )
        return _Training(s, demonstrations, context).run()


@dataclass(frozen=True)
class GaifoSettings(Settings):
    """Settings of GAIfO: those of GAIL with another input of the discriminator."""

    use_actions: bool = False
    transitions: bool = True


@register
class Gaifo(Gail):
    """GAIfO (Torabi, Warnell & Stone, 2019, "Generative Adversarial Imitation from Observation"): GAIL whose
    discriminator sees state and next state, and no action. Optimiser and regularisation are those of our GAIL."""

    name: ClassVar[str] = "gaifo"
    display_name = "GAIfO"
    Settings: ClassVar[type] = GaifoSettings
    needs_actions: ClassVar[bool] = False
    summary: ClassVar[str] = "GAIL from states alone, judging state and next state (Torabi et al., 2019)"


class _Training:
    """One run: a warm start, then iterations of TRPO with updates of the discriminator in between."""

    def __init__(self, settings: Settings, demonstrations: Demonstrations, context: FitContext) -> None:
        self.settings = settings
        self.demonstrations = demonstrations
        self.context = context
        self.batches = DemonstratedBatches(
            demonstrations,
            context.task.action_size,
            settings.use_actions,
            settings.discriminator_batch,
            context.seeds.generator("demonstrated batches"),
            settings.transitions,
        )
        self.network = new_network(demonstrations, context, settings.sigma_bounds)
        self.policy = GaussianPolicy(self.network)
        self.iterations = 0
        self.gradient_steps = 0

    def run(self) -> GaussianPolicy:
        s = self.settings
        venv = self.context.make_vector_env(s.processes)
        try:
            trpo = self._generator(venv)
            trainer = self._trainer(venv, trpo)
            state = self.context.resume() or {"warm_start": None}
            if "trainer" in state:
                self._resume(state, trainer)
            else:
                self.gradient_steps = warm_start(self.policy, self.demonstrations, self.context, s, state["warm_start"])
                if s.warm_start_sigma:
                    self.network.set_sigma(s.warm_start_sigma)
            iteration = s.processes * s.batch_size
            iterations = self.context.budget.environment_steps // iteration
            critic_steps = s.critic_passes * math.ceil(iteration / s.critic_batch)
            while self.iterations < iterations:
                trainer.train_gen(iteration)
                self.iterations += 1
                self.gradient_steps += 1 + critic_steps
                self._report(trainer, trpo)
                if self.iterations % s.actor_steps == 0:
                    for _ in range(s.discriminator_steps):
                        scalars = trainer.train_disc()
                    self.gradient_steps += s.discriminator_steps
                    self.context.report(
                        self.gradient_steps, **{f"discriminator_{name}": value for name, value in scalars.items()}
                    )
                progress = self.iterations / iterations
                self.context.checkpoint(self.policy, progress, self.gradient_steps, lambda: self._state(trainer))
        finally:
            venv.close()
        return self.policy

    def _state(self, trainer: RegularisedGail) -> State:
        """Everything that changes during the iterations."""
        return {
            "trainer": trainer.get_state(),
            "batches": self.batches.rng.bit_generator.state,
            "iterations": self.iterations,
            "gradient_steps": self.gradient_steps,
        }

    def _resume(self, state: State, trainer: RegularisedGail) -> None:
        trainer.set_state(state["trainer"])
        self.batches.rng.bit_generator.state = state["batches"]
        self.iterations, self.gradient_steps = state["iterations"], state["gradient_steps"]

    def _generator(self, venv: VecEnv) -> SubsampledTRPO:
        s = self.settings
        return SubsampledTRPO(
            SharedPolicy,
            venv,
            learning_rate=s.critic_learning_rate,
            n_steps=s.batch_size,
            batch_size=s.critic_batch,
            gamma=s.gamma,
            gae_lambda=s.gae_lambda,
            cg_max_steps=s.cg_steps,
            n_critic_updates=s.critic_passes,
            target_kl=s.kl,
            fisher_every=s.fisher_every,
            chained=s.terminal == "chain",
            policy_kwargs={"network": self.network, "critic_hidden": s.critic_hidden},
            seed=self.context.seeds.integer("gail"),  # seeds all global generators and the environments
            device=self.context.device,
        )

    def _trainer(self, venv: VecEnv, trpo: SubsampledTRPO) -> RegularisedGail:
        s = self.settings
        trainer = RegularisedGail(
            demonstrations=self.batches,
            demo_batch_size=s.discriminator_batch,
            venv=venv,
            gen_algo=trpo,
            reward_net=Discriminator(
                venv.observation_space,
                venv.action_space,
                self.network,
                s.discriminator_hidden,
                s.use_actions,
                s.compress,
                s.transitions,
            ),
            regularisation=Regularisation(s.entropy, s.gradient_penalty),
            disc_opt_kwargs={"lr": s.discriminator_learning_rate},
            log_dir=self.context.scratch,
            custom_logger=quiet_logger(self.context.scratch),
            allow_variable_horizon=True,
        )
        scale = 1.0 - s.gamma if s.scale_rewards else 1.0
        environments = DeferredRewards(trainer.venv_buffering, trainer.reward_train.predict, s.terminal, s.gamma, scale)
        trpo.set_env(environments)
        trpo.rollout_buffer.rewards_of = environments.rewards
        return trainer

    def _report(self, trainer: RegularisedGail, trpo: SubsampledTRPO) -> None:
        """Report an iteration of TRPO; the library's own diagnostics are read from its logger."""
        kept = trainer.logger.default_logger.name_to_value
        scalars = {name: float(kept[f"mean/gen/train/{place}"]) for name, place in LIBRARY_SCALARS.items()}
        with torch.no_grad():
            observations = torch.as_tensor(trpo.rollout_buffer.observations, device=trpo.device)
            scalars["policy_sigma"] = float(self.network(observations)[1].mean())
        if not all(map(math.isfinite, scalars.values())):
            raise Diverged(f"after {trpo.num_timesteps} environment steps: {scalars}")
        self.context.report(self.gradient_steps, **scalars)
        trainer.logger.dump(trpo.num_timesteps)  # clears the logger
