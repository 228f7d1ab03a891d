"""From a built run to trained weights: state, step, loop."""
