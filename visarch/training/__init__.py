"""How models are trained: one loop (`loop.train`) for every task (`task.Task`)."""
