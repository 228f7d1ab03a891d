"""The label that neither losses nor scores count."""

# Equal to that of input_pipeline, which knows nothing of this package.
IGNORED = 255
