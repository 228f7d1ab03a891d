"""Scripts that an export copies beside the weights; nothing here imports them."""
