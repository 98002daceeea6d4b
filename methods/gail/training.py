"""The training loop of the adversarial methods: TRPO on rewards from a discriminator, which is updated in between."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, Lt
from stable_baselines3.common.vec_env import VecEnv

from envs.demonstrations import Demonstrations
from methods.gail.discriminator import AdversarialTrainer, DeferredRewards, Regularisation, Terminal
from methods.gail.trpo import SubsampledTRPO
from methods.interface import Diverged, FitContext, MethodError, State
from methods.policy import SIGMA_BOUNDS, GaussianPolicy, SigmaBounds, new_network
from methods.sb3_policy import SharedPolicy, quiet_logger
from methods.warm_start import warm_start

LIBRARY_SCALARS = {"kl": "kl_divergence_loss", "critic_loss": "value_loss"}
"""Reported name -> name of the diagnostic in sb3-contrib's logger."""


@dataclass(frozen=True)
class AdversarialSettings:
    """Settings that GAIL and AIRL share.

    In the paper (section 4.1, appendix B, tables b and e):
        processes: environments stepped in parallel.
        batch_size: steps in each environment per iteration of TRPO.
        actor_steps: iterations of TRPO, each on fresh steps, before the discriminator is updated. (The value is lost in
            the text of the tables; 3 is the cited implementation's default.)
        discriminator_steps: updates of the discriminator after them. (Lost as well; the cited default is 1.)
        gamma: discount.
        kl: bound of the policy's mean divergence in an iteration.
        discriminator_hidden: units of the discriminator's hidden layers (tanh).
        discriminator_learning_rate: Adam's learning rate of the discriminator.
        entropy: weight of the mean entropy of the discriminator's predictions, which is maximised: the cited
            implementation's `entcoeff`. 1 keeps predictions below about 0.9. (Legible for the peg only.)
        critic_hidden: units of the critic's hidden layers (tanh).
        critic_learning_rate: Adam's learning rate of the critic.
        sigma_bounds: lowest and highest sigma of the policy; see the same setting of GPRIL.
        terminal: what follows the end of an episode, see `Terminal`. The paper bootstraps regardless of termination and
            does not say from which state: "always" and "chain" are the two readings.
        use_actions: the discriminator sees pairs of state and action; if false, it sees states only and no
            demonstrated actions are needed.

    In the cited implementation (openai/baselines), where the paper is silent:
        gae_lambda: decay of generalised advantage estimation.
        discriminator_batch: rows of either kind per update of the discriminator.
        critic_passes: passes of the critic over an iteration's steps.
        critic_batch: rows per update of the critic (there 128 in each of the processes, whose gradients are averaged).
        cg_steps: steps of conjugate gradients.
        fisher_every: the Fisher matrix is estimated on every n-th step.

    Departures from the paper, all off by default:
        gradient_penalty: weight of the squared difference from 1 of the gradient's norm between demonstrated and the
            policy's samples; 0 is off.
        compress: compress normalised observations logarithmically for the discriminator beyond this many standard
            deviations, as GPRIL does for its models; 0 is off.
        scale_rewards: multiply rewards by 1 - gamma, so that values are of order one, like an untrained critic's.
            (The policy's step does not depend on the scale.)
        warm_start: updates of behavioural cloning before the first iteration, at most the budget's policy updates.
        warm_start_learning_rate: Adam's learning rate in the warm start.
        warm_start_l2: weight of half the sum of squared parameters in the warm start.
        warm_start_decay: whether the learning rate of the warm start falls linearly to 0.
        warm_start_sigma: the policy's sigma after the warm start, so that rollouts explore; 0 keeps the cloned sigma.
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


class Training(ABC):
    """One run: a warm start, then iterations of TRPO with updates of the discriminator in between."""

    def __init__(
        self, name: str, settings: AdversarialSettings, demonstrations: Demonstrations, context: FitContext
    ) -> None:
        """Make everything but environments.

        Args:
            name: of the method, for messages.
            settings: of the method.
            demonstrations: what the expert showed.
            context: the trial's.

        Raises:
            MethodError: the budget is too small, or the demonstrations do not suit the settings.
        """
        iteration = settings.processes * settings.batch_size
        left = context.budget.environment_steps - context.environment_steps  # inferring actions may have taken some
        if left < iteration:
            raise MethodError(
                f"a budget of {left} environment steps is less than one iteration of "
                f"{settings.processes} x {settings.batch_size}; raise it, or lower {name}.processes or "
                f"{name}.batch_size"
            )
        self.settings = settings
        self.demonstrations = demonstrations
        self.context = context
        self.rng = context.seeds.generator("demonstrated batches")
        self.batches = self.demonstrated_batches()
        self.network = new_network(demonstrations, context, settings.sigma_bounds)
        self.policy = GaussianPolicy(self.network)
        self.planned_iterations = left // iteration
        self.iterations = 0
        self.gradient_steps = 0

    @abstractmethod
    def demonstrated_batches(self) -> Iterable[Mapping[str, Any]]:
        """Endless batches of demonstrated transitions for the discriminator, drawn by `rng`."""

    @abstractmethod
    def adversary(self, venv: VecEnv, **options: Any) -> AdversarialTrainer:
        """The method's trainer on these environments, with what is passed to all of them."""

    @property
    def ends(self) -> Terminal:
        """What `DeferredRewards` does where an episode ends."""
        return self.settings.terminal

    def run(self) -> GaussianPolicy:
        """Train until what is left of the budget of environment steps is spent, rounded down to whole iterations.

        Raises:
            Diverged: a diagnostic is not finite.
        """
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
            critic_steps = s.critic_passes * math.ceil(iteration / s.critic_batch)
            while self.iterations < self.planned_iterations:
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
                progress = self.iterations / self.planned_iterations
                self.context.checkpoint(self.policy, progress, self.gradient_steps, lambda: self._state(trainer))
        finally:
            venv.close()
        return self.policy

    def _state(self, trainer: AdversarialTrainer) -> State:
        """Everything that changes during the iterations."""
        return {
            "trainer": trainer.get_state(),
            "batches": self.rng.bit_generator.state,
            "iterations": self.iterations,
            "gradient_steps": self.gradient_steps,
        }

    def _resume(self, state: State, trainer: AdversarialTrainer) -> None:
        trainer.set_state(state["trainer"])
        self.rng.bit_generator.state = state["batches"]
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

    def _trainer(self, venv: VecEnv, trpo: SubsampledTRPO) -> AdversarialTrainer:
        s = self.settings
        trainer = self.adversary(
            venv,
            demonstrations=self.batches,
            demo_batch_size=s.discriminator_batch,
            gen_algo=trpo,
            regularisation=Regularisation(s.entropy, s.gradient_penalty),
            disc_opt_kwargs={"lr": s.discriminator_learning_rate},
            log_dir=self.context.scratch,
            custom_logger=quiet_logger(self.context.scratch),
            allow_variable_horizon=True,
        )
        scale = 1.0 - s.gamma if s.scale_rewards else 1.0
        environments = DeferredRewards(trainer.venv_buffering, trainer.rewards, self.ends, s.gamma, scale)
        trpo.set_env(environments)
        trpo.rollout_buffer.rewards_of = environments.rewards
        return trainer

    def _report(self, trainer: AdversarialTrainer, trpo: SubsampledTRPO) -> None:
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
