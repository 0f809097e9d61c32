"""What runs inside the writer's transaction, one file per subject. Runs on the writer's thread only."""
