"""The learning rate as a pure function of the step, so resuming needs no scheduler state."""

import math

from eovseg.training.config import TrainConfig

# Fractions of the steps at which the released configuration divides the rate by ten.
RELEASED_MILESTONES = (163_889 / 200_000, 187_546 / 200_000)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Learning rate of optimiser step `step` (0 is the first).

    "step": ×0.1 at each milestone (the paper's). "cosine": from the full rate at the end of the warm-up to
    `final_factor` times it at the last step. "constant": the full rate until the last `decay` steps, in which it falls
    linearly to `final_factor` times it, so the length of a run need not be known in advance. All schedules rise
    linearly from `warmup_factor` during the warm-up.
    """
    if step < config.warmup:
        done = step / config.warmup
        factor = config.warmup_factor * (1 - done) + done
    else:
        factor = 1.0
    if config.schedule == "step":
        factor *= 0.1 ** sum(step >= milestone for milestone in milestones(config))
    elif config.schedule == "constant" and config.decay:
        left = min(1.0, (config.steps - 1 - step) / config.decay)
        factor *= config.final_factor + (1 - config.final_factor) * left
    elif config.schedule == "cosine" and step >= config.warmup:
        progress = min(1.0, (step - config.warmup) / max(1, config.steps - 1 - config.warmup))
        factor = config.final_factor + (1 - config.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * factor


def milestones(config: TrainConfig) -> tuple[int, ...]:
    """The steps at which the rate is divided by ten."""
    if config.milestones is not None:
        return config.milestones
    return tuple(round(share * config.steps) for share in RELEASED_MILESTONES)
