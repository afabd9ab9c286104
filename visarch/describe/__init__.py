"""What networks are made of: their steps, measured, as a table and as a drawing."""
