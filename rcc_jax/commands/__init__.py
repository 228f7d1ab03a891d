"""What `main.py --mode=X` does: one file per mode."""
