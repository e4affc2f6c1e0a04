"""What several papers share. Each module says what it needs; only some import torch."""
