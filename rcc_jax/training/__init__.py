"""Training: the run's fixed parts, the state, the step and the loop."""
