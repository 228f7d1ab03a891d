"""The modes of `main.py --mode=X`, one file each."""
