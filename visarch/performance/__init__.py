"""What makes training and inference fast: all decisions about speed, and nothing else."""
