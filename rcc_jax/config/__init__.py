"""What a configuration may say, read before JAX: fields, checks, guesses."""
