"""Training: matcher, losses, optimiser, schedule and the loop."""
